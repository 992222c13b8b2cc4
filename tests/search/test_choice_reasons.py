"""The reasons that a choice gives: for what is shipped, and against every other build."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compress.recipe import Recipe, Step
from compress.records.profile import Interval
from compress.search.decision import (
    Limits,
    choose,
    settings_notes,
)
from compress.search.run_directory import Candidate
from tests.records import candidate
from tests.search.choices import (
    FP32,
    INSIDE,
    estimated,
    names_and_verdicts,
    verdict,
    with_accuracy,
    with_latency,
    with_profile,
)


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


def test_fp32_says_why_it_is_shipped() -> None:
    failed = Candidate(Recipe("int8", (Step("quantize"),)), failure="no such operator")
    choice = choose([FP32, failed], Limits())
    assert choice.candidate is FP32
    assert choice.verdicts["int8"] == "failed: no such operator"


def test_what_session_options_cost_is_told_by_the_name_of_the_build() -> None:
    entry = candidate("int8-per-channel", ratio=0.5)
    assert entry.profile is not None
    slow = tuple(replace(each, settings_cost=12.345) for each in entry.profile.latency)
    notes = settings_notes(replace(entry, profile=replace(entry.profile, latency=slow)))
    assert len(notes) == len(slow)
    assert all(note.startswith("int8-per-channel: ") and "12.35×" in note for note in notes)
    assert all(len(note) <= 90 for note in notes)


def test_what_was_decided_is_told_whole() -> None:
    fast, lossy = (
        candidate("fast", ratio=0.4, drop=INSIDE),
        candidate("lossy", ratio=0.3, drop=(4.0, 5.0, 6.0)),
    )
    choice = choose([FP32, fast, lossy], Limits())
    assert choice.front == ("lossy", "fast", "fp32")
    assert choice.reason == (
        "shipped: fast, which takes 0.40× the time of fp32 at batch 1, "
        "and drops 0.20 points (at most 0.50 with 95 % confidence)"
    )
    none = choose([FP32, fast], Limits(max_latency_ms=1.0))
    assert none.front == ("fast", "fp32")
    assert none.verdicts == {
        "fp32": "4 ms, over --max-latency 1 ms",
        "fast": "2 ms, over --max-latency 1 ms",
    }
    nearest = "nearest is fast: 2 ms, over --max-latency 1 ms (1 ms too much)"
    assert none.reason == f"no build is inside the limits; {nearest}"


def test_the_reason_of_fp32_is_short_and_the_verdicts_tell_what_spoke_against_the_others() -> None:
    assert choose([FP32], Limits()).reason == "shipped: fp32, since nothing else was tried"
    others = [Candidate(Recipe("a", ()), failure="no memory"), Candidate(Recipe("b", ()))]
    choice = choose([FP32, *others], Limits())
    assert choice.reason == "shipped: fp32, since nothing beat it"
    assert choice.verdicts == {"fp32": "shipped", "a": "failed: no memory", "b": "not built"}


def test_the_reason_says_that_a_time_is_an_estimate() -> None:
    reason = choose([FP32, estimated("int8", 0.9, 0.7)], Limits()).reason
    assert "int8, which takes by estimate 0.90× the time of fp32 at batch 1, and " in reason


def test_a_build_that_computes_the_same_says_so() -> None:
    entry = candidate("folded", ratio=0.5, drop=(-1.0, 0.0, 2.0))
    assert entry.profile is not None
    assert entry.profile.accuracy is not None
    assert entry.profile.accuracy.drop is not None
    same = replace(entry.profile.accuracy.drop, rounding=2e-6)
    few = with_accuracy(entry, drop=same, right_or_wrong=False)
    choice = choose([FP32, few], Limits())
    assert choice.candidate is few
    assert choice.reason.endswith("computes the same: its outputs differ by rounding (2e-06 of the largest)")


def test_the_output_that_drops_is_named() -> None:
    for drop, told in (
        ((4.0, 5.0, 6.0), "drops in 'boxes' 5.00 points, outside the margin of 1"),
        ((-0.5, 0.4, 1.3), "drop in 'boxes' undecided: 0.40 points, up to 1.30 with"),
    ):
        entry = candidate("int8", ratio=0.5, drop=drop)
        assert entry.profile is not None
        assert entry.profile.accuracy is not None
        assert entry.profile.accuracy.drop is not None
        named = replace(entry.profile.accuracy.drop, output="boxes")
        assert verdict(with_accuracy(entry, drop=named)).startswith(told)


def test_a_build_that_may_be_faster_is_not_called_slower() -> None:
    """A third faster in the middle, and the interval reaches over 1: it was not proven, which is another thing."""
    entry = candidate("int8", ratio=0.69, drop=INSIDE)
    unsure = with_latency(entry, 0, ratio=0.69, ratio_interval=Interval(0.41, 1.08, 0.95))
    assert verdict(unsure) == "not proven faster than fp32: 0.69× its time, between 0.41 and 1.08"


def test_a_drop_is_told_in_the_unit_of_its_metric() -> None:
    entry = candidate("int8", ratio=0.5, drop=(0.5, 0.9, 2.9))
    assert entry.profile is not None
    accuracy = entry.profile.accuracy
    assert accuracy is not None
    assert accuracy.drop is not None
    relative = replace(accuracy, drop=replace(accuracy.drop, relative=True))
    assert verdict(with_profile(entry, accuracy=relative)) == (
        "drop undecided: 0.90 % of the mean, up to 2.90 with 95 % confidence; the margin is 1"
    )


def test_an_interval_that_ends_at_fp32_is_not_faster_and_not_slower() -> None:
    entry = candidate("int8", ratio=0.5, drop=INSIDE)
    to_one, from_one = Interval(0.9, 1.0, 0.95), Interval(1.0, 1.1, 0.95)
    assert (
        verdict(with_latency(entry, 0, ratio=0.95, ratio_interval=to_one))
        == "not proven faster than fp32: 0.95× its time, between 0.90 and 1.00"
    )
    assert verdict(with_latency(entry, 1, ratio=1.05, ratio_interval=from_one)) == "shipped"
    smaller = with_latency(with_profile(entry, artifact_bytes=10), 0, ratio=1.05, ratio_interval=from_one)
    assert verdict(smaller, objective="size") == "shipped"


def test_a_slower_paced_call_is_told_with_its_period() -> None:
    paced = [
        with_latency(each, 1, batch=1, period_ms=33.333)
        for each in (FP32, candidate("int8", ratio=0.5, drop=INSIDE))
    ]
    slow = with_latency(paced[1], 1, ratio=1.2, ratio_interval=Interval(1.1, 1.3, 0.95))
    _, verdicts = names_and_verdicts([paced[0], slow])
    assert verdicts["int8"] == "slower than fp32 at batch 1 in calls 33.3 ms apart (1.20× its time)"


def test_a_build_as_fast_as_the_best_is_not_called_faster() -> None:
    best, twin = (
        with_latency(candidate(name, ratio=0.5, drop=INSIDE), 1, ratio=ratio)
        for name, ratio in (("best", 0.4), ("twin", 0.5))
    )
    assert names_and_verdicts([FP32, best, twin])[1]["twin"] == "slower than best"


def test_larger_ones_are_told_so_where_size_is_asked_for() -> None:
    small, large = (
        candidate(name, ratio=0.5, drop=INSIDE, size=size) for name, size in (("small", 10), ("large", 20))
    )
    assert names_and_verdicts([FP32, small, large], objective="size")[1] == {
        "fp32": "larger than small",
        "small": "shipped",
        "large": "larger than small",
    }


def test_session_options_are_told_where_they_cost_more_than_a_twentieth() -> None:
    entry = candidate("int8", ratio=0.5)
    told = with_latency(with_latency(entry, 0, settings_cost=1.05), 1, settings_cost=1.06)
    assert settings_notes(told) == (
        "int8: its session options take 1.06× the time of the fastest at batch 32",
    )
    assert settings_notes(with_latency(told, 1, period_ms=33.3)) == ()
    assert settings_notes(entry) == ()
    assert settings_notes(None) == ()
    assert settings_notes(Candidate(Recipe("int8", ()), failure="no memory")) == ()
