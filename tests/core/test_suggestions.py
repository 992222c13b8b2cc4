from __future__ import annotations

from compress.core.suggestions import did_you_mean, nearest

NAMES = ["jetson", "jetson-orin-nano-8gb", "memory_gb", "bandwidth_gb_s"]


def test_a_misspelt_name_is_found():
    assert did_you_mean("jetsn", NAMES) == "did you mean jetson?"
    assert did_you_mean("memory_mb", NAMES) == "did you mean memory_gb?"


def test_case_and_spaces_do_not_matter_and_the_known_spelling_is_returned():
    assert nearest(" JETSON ", ["Jetson"]) == ["Jetson"]


def test_a_part_of_a_name_is_found():
    assert nearest("orin-nano", NAMES) == ["jetson-orin-nano-8gb"]


def test_nothing_is_said_where_nothing_is_near():
    assert did_you_mean("zebra", NAMES) == ""
    assert did_you_mean("x", []) == ""


def test_several_are_joined_by_or_and_are_three_at_most():
    assert did_you_mean("board", ["board-a", "zebra", "boards"]) == "did you mean boards or board-a?"
    assert len(nearest("board", [f"board-{n}" for n in range(9)])) == 3
