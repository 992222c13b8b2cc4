from __future__ import annotations

from compress.core.suggestions import closest, nearest

NAMES = ["jetson", "jetson-orin-nano-8gb", "memory_gb", "bandwidth_gb_s"]


def test_a_misspelt_name_is_found():
    assert closest("jetsn", NAMES) == "did you mean jetson?"
    assert closest("memory_mb", NAMES) == "did you mean memory_gb?"


def test_case_and_spaces_do_not_matter_and_the_known_spelling_is_returned():
    assert nearest(" JETSON ", ["Jetson"]) == ["Jetson"]


def test_a_part_of_a_name_is_found():
    assert nearest("orin-nano", NAMES) == ["jetson-orin-nano-8gb"]


def test_nothing_is_said_where_nothing_is_near():
    assert closest("zebra", NAMES) == ""
    assert closest("x", []) == ""


def test_several_are_joined_by_or_and_are_three_at_most():
    assert closest("board", ["board-a", "zebra", "boards"]) == "did you mean boards or board-a?"
    assert len(nearest("board", [f"board-{n}" for n in range(9)])) == 3
