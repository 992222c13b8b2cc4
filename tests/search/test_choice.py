from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.recipe import Recipe, Step
from compress.records.profile import Interval
from compress.search.decision import Limits, choose, pareto_front, settings_notes
from compress.search.run_directory import Candidate
from tests.records import candidate

FP32 = candidate("fp32", size=4000, p50_ms=4.0)
INSIDE = (0.0, 0.2, 0.5)


def names_and_verdicts(candidates: list[Candidate], **limits: object) -> tuple[str | None, dict[str, str]]:
    choice = choose(candidates, Limits(**limits))  # type: ignore[arg-type]
    return choice.candidate and choice.candidate.recipe.name, choice.verdicts


def test_fastest_inside_the_margin_is_shipped() -> None:
    fast = candidate("fast", ratio=0.4, drop=INSIDE)
    faster = candidate("faster", ratio=0.3, drop=INSIDE)
    name, verdicts = names_and_verdicts([FP32, fast, faster])
    assert name == "faster"
    assert verdicts["fast"] == "slower than faster"


@pytest.mark.parametrize(
    ("drop", "told"),
    [
        ((0.1, 0.2, 0.5), "drops 0.20 points (at most 0.50 "),
        ((-0.4, -0.001, 0.3), "drops 0.00 points (at most 0.30 "),
        ((-0.4, -0.05, 0.3), "gains 0.05 points (drops at most 0.30 "),
    ],
)
def test_the_reason_tells_a_gain_from_a_drop(drop: tuple[float, float, float], told: str) -> None:
    choice = choose([FP32, candidate("fast", ratio=0.4, drop=drop)], Limits())
    assert told in choice.reason


def test_tie_within_noise_goes_to_the_faster_over_all_batch_sizes() -> None:
    lucky = candidate("lucky", ratio=0.50, drop=INSIDE)
    better = candidate("better", ratio=0.51, drop=INSIDE)
    assert lucky.profile is not None
    slow_batch = replace(lucky.profile.latency[1], ratio=0.8)
    lucky = replace(lucky, profile=replace(lucky.profile, latency=(lucky.profile.latency[0], slow_batch)))
    name, verdicts = names_and_verdicts([FP32, lucky, better])
    assert name == "better"
    assert "within noise" in verdicts["lucky"]


def test_point_estimate_inside_the_margin_is_not_enough() -> None:
    lucky = candidate("lucky", ratio=0.3, drop=(-0.5, 0.4, 1.3))
    name, verdicts = names_and_verdicts([FP32, lucky])
    assert name == "fp32"
    assert verdicts["lucky"].startswith("drop undecided")


def test_outside_the_margin_is_told_with_its_drop() -> None:
    _, verdicts = names_and_verdicts([FP32, candidate("bad", ratio=0.3, drop=(4.0, 5.0, 6.0))])
    assert verdicts["bad"] == "drops 5.00 points, outside the margin of 1"


@pytest.mark.parametrize(
    ("drop", "told"),
    [
        ((-0.5, 0.03, 1.0004), "up to 1.0004 with 95 % confidence; the margin is 1"),
        ((-0.5, 0.03, 1.004), "up to 1.004 with 95 % confidence; the margin is 1"),
        ((-0.5, 0.03, 1.2), "up to 1.20 with 95 % confidence; the margin is 1"),
        ((1.0003, 1.0004, 1.0005), "drops 1.0004 points, outside the margin of 1"),
    ],
)
def test_what_is_above_the_margin_is_seen_to_be_above_it(drop: tuple[float, float, float], told: str) -> None:
    _, verdicts = names_and_verdicts([FP32, candidate("close", ratio=0.3, drop=drop)])
    assert told in verdicts["close"]


@pytest.mark.parametrize("ratio", [0.99, 1.0, 1.3])
def test_never_ships_what_is_not_proven_faster(ratio: float) -> None:
    name, verdicts = names_and_verdicts([FP32, candidate("int8", ratio=ratio, drop=INSIDE)])
    assert name == "fp32"
    assert verdicts["int8"].startswith("not faster than fp32")


def estimated(name: str, *ratios: float) -> Candidate:
    entry = candidate(name, ratio=1.0, drop=INSIDE)
    assert entry.profile is not None
    latency = tuple(
        replace(figure, source="estimated", ratio=ratio, ratio_interval=None)
        for figure, ratio in zip(entry.profile.latency, ratios, strict=True)
    )
    return replace(entry, profile=replace(entry.profile, latency=latency))


def test_estimates_are_decided_by_their_ratio() -> None:
    assert names_and_verdicts([FP32, estimated("int8", 0.9, 0.7)])[0] == "int8"
    assert names_and_verdicts([FP32, estimated("int8", 1.01, 0.7)])[0] == "fp32"


def test_estimates_within_five_percent_are_a_tie() -> None:
    close = [FP32, estimated("a", 0.90, 0.8), estimated("b", 0.92, 0.5)]
    assert names_and_verdicts(close)[0] == "b"
    apart = [FP32, estimated("a", 0.80, 0.8), estimated("b", 0.92, 0.5)]
    assert names_and_verdicts(apart)[0] == "a"


def test_faster_at_one_batch_size_and_slower_at_the_other_is_not_shipped() -> None:
    entry = candidate("int8", ratio=0.8, drop=INSIDE)
    assert entry.profile is not None
    slow = replace(entry.profile.latency[1], ratio=1.2, ratio_interval=Interval(1.1, 1.3, 0.95))
    entry = replace(entry, profile=replace(entry.profile, latency=(entry.profile.latency[0], slow)))
    name, verdicts = names_and_verdicts([FP32, entry])
    assert name == "fp32"
    assert verdicts["int8"] == "slower than fp32 at batch 32 (1.20× its time)"


def test_for_throughput_the_largest_batch_decides_alone() -> None:
    batched = candidate("batched", ratio=0.4, drop=INSIDE)
    assert batched.profile is not None
    slower = replace(batched.profile.latency[0], ratio=1.2, ratio_interval=Interval(1.15, 1.25, 0.95))
    batched = replace(batched, profile=replace(batched.profile, latency=(slower, batched.profile.latency[1])))
    assert names_and_verdicts([FP32, batched], objective="throughput")[0] == "batched"
    name, verdicts = names_and_verdicts([FP32, batched])
    assert (name, verdicts["batched"]) == ("fp32", "not faster than fp32 (1.20× its time)")


def test_fp32_says_why_it_is_shipped() -> None:
    failed = Candidate(Recipe("int8", (Step("quantize"),)), rejected="failed: no such operator")
    choice = choose([FP32, failed], Limits())
    assert choice.candidate is FP32
    assert "failed: no such operator" in choice.reason


def test_limits_can_leave_nothing() -> None:
    choice = choose([FP32], Limits(max_latency_ms=1.0))
    assert choice.candidate is None
    assert "--max-latency 1 ms" in choice.reason
    assert choose([FP32], Limits(max_size_mb=0.001)).candidate is None


def test_smallest_is_shipped_where_size_is_asked_for() -> None:
    small = candidate("small", ratio=1.0, drop=INSIDE, size=1000)
    fast = candidate("fast", ratio=0.5, drop=INSIDE, size=2000)
    assert names_and_verdicts([FP32, small, fast], objective="size")[0] == "small"
    slow = candidate("slow", ratio=1.5, drop=INSIDE, size=500)
    assert names_and_verdicts([FP32, slow, fast], objective="size")[0] == "fast"


@given(
    st.lists(
        st.tuples(st.floats(0.1, 3), st.floats(-1, 5)),
        min_size=1,
        max_size=6,
    )
)
def test_front_holds_exactly_what_nothing_dominates(points: list[tuple[float, float]]) -> None:
    candidates = [
        candidate(f"c{index}", ratio=ratio, drop=(drop - 0.1, drop, drop + 0.1))
        for index, (ratio, drop) in enumerate(points)
    ]
    front = set(pareto_front(candidates))
    for index, (ratio, drop) in enumerate(points):
        dominated = any(r <= ratio and d <= drop and (r, d) != (ratio, drop) for r, d in points)
        assert (f"c{index}" in front) == (not dominated)


@given(st.floats(0.1, 3), st.floats(-2, 3), st.floats(0, 2))
def test_what_is_shipped_is_inside_the_limits(ratio: float, drop: float, width: float) -> None:
    entry = candidate("int8", ratio=ratio, drop=(drop - width, drop, drop + width))
    choice = choose([FP32, entry], Limits(max_drop=1.0))
    assert choice.candidate is not None
    if choice.candidate is entry:
        assert drop + width <= 1.0
        assert ratio + 0.02 < 1


def test_what_session_options_cost_is_told_by_the_name_of_the_build() -> None:
    entry = candidate("int8-per-channel", ratio=0.5)
    assert entry.profile is not None
    slow = tuple(replace(each, settings_cost=12.345) for each in entry.profile.latency)
    notes = settings_notes(replace(entry, profile=replace(entry.profile, latency=slow)))
    assert len(notes) == len(slow)
    assert all(note.startswith("int8-per-channel: ") and "12.35×" in note for note in notes)
    assert all(len(note) <= 90 for note in notes)
