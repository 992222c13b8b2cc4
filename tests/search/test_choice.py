from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.recipe import Recipe, Step
from compress.records.profile import Interval, Latency, Profile
from compress.search.decision import (
    Limits,
    choose,
    judged_latency,
    lowest_ratio,
    pareto_front,
    settings_notes,
)
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
    assert verdicts == {"fp32": "slower than faster", "fast": "slower than faster", "faster": "shipped"}


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


def with_profile(entry: Candidate, **changes: object) -> Candidate:
    assert entry.profile is not None
    return replace(entry, profile=replace(entry.profile, **changes))  # type: ignore[arg-type]


def with_latency(entry: Candidate, index: int, **changes: object) -> Candidate:
    assert entry.profile is not None
    latency = [*entry.profile.latency]
    latency[index] = replace(latency[index], **changes)  # type: ignore[arg-type]
    return with_profile(entry, latency=tuple(latency))


def with_accuracy(entry: Candidate, **changes: object) -> Candidate:
    assert entry.profile is not None
    return with_profile(entry, accuracy=replace(entry.profile.accuracy, **changes))  # type: ignore[type-var]


def verdict(entry: Candidate, **limits: object) -> str:
    return names_and_verdicts([FP32, entry], **limits)[1][entry.recipe.name]


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
    assert none.reason == (
        "no build is inside the limits: fp32 4 ms, over --max-latency 1 ms; fast 2 ms, over --max-latency 1 ms"
    )


def test_the_reason_of_fp32_lists_what_spoke_against_the_others() -> None:
    assert choose([FP32], Limits()).reason == "shipped: fp32, since nothing beat it (nothing else was tried)"
    others = [Candidate(Recipe("a", ()), rejected="failed: no memory"), Candidate(Recipe("b", ()))]
    choice = choose([FP32, *others], Limits())
    assert choice.reason == "shipped: fp32, since nothing beat it (a: failed: no memory; b: not built)"


def test_a_network_without_data_is_decided_by_its_time() -> None:
    entry = with_profile(candidate("int8", ratio=0.5), accuracy=None)
    choice = choose([with_profile(FP32, accuracy=None), entry], Limits())
    assert choice.reason == "shipped: int8, which takes 0.50× the time of fp32 at batch 1"
    assert choice.front == ("int8",)


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


def test_few_samples_of_values_decide_nothing() -> None:
    entry = with_accuracy(candidate("int8", ratio=0.5, drop=INSIDE), right_or_wrong=False, samples=29)
    assert verdict(entry) == "drop undecided: 29 samples, and top-1 is decided on 30 or more"
    assert verdict(with_accuracy(entry, samples=30)) == "shipped"


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


def test_a_drop_whose_lower_end_is_the_margin_may_still_be_inside() -> None:
    assert verdict(candidate("int8", ratio=0.5, drop=(1.0, 1.2, 1.4))).startswith(
        "drop undecided: 1.20 points"
    )


def test_limits_are_reached_and_not_exceeded() -> None:
    entry = candidate("int8", ratio=0.5, drop=INSIDE, size=3_000_000)
    small = with_profile(FP32, artifact_bytes=1)
    name, _ = names_and_verdicts([small, entry], max_latency_ms=2.0, max_size_mb=3.0)
    assert name == "int8"
    _, verdicts = names_and_verdicts([small, with_profile(entry, artifact_bytes=3_000_001)], max_size_mb=3.0)
    assert verdicts["int8"] == "3.000001 MB, over --max-size 3 MB"
    _, verdicts = names_and_verdicts([small, with_profile(entry, artifact_bytes=12_340_000)], max_size_mb=3.0)
    assert verdicts["int8"] == "12.3 MB, over --max-size 3 MB"


def test_a_time_above_the_limit_is_seen_to_be_above_it() -> None:
    entry = candidate("int8", ratio=0.5, drop=INSIDE, p50_ms=4.00004)
    assert verdict(entry, max_latency_ms=4.0) == "4.00004 ms, over --max-latency 4 ms"
    assert verdict(entry, max_latency_ms=3.0) == "4 ms, over --max-latency 3 ms"


def test_the_latency_limit_is_of_the_first_batch_size() -> None:
    entry = with_latency(candidate("int8", ratio=0.5, drop=INSIDE), 1, p50_ms=99.0)
    assert verdict(entry, max_latency_ms=10.0) == "shipped"


def test_an_interval_that_ends_at_fp32_is_not_faster_and_not_slower() -> None:
    entry = candidate("int8", ratio=0.5, drop=INSIDE)
    to_one, from_one = Interval(0.9, 1.0, 0.95), Interval(1.0, 1.1, 0.95)
    assert (
        verdict(with_latency(entry, 0, ratio=0.95, ratio_interval=to_one))
        == "not faster than fp32 (0.95× its time)"
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


def test_what_was_not_timed_at_every_size_is_not_shipped() -> None:
    original = with_profile(FP32, latency=(*latencies(FP32), replace(latencies(FP32)[1], batch=64)))
    cut = with_profile(
        candidate("int8", ratio=0.5, drop=INSIDE), latency=latencies(candidate("int8", ratio=0.5))[:1]
    )
    name, verdicts = names_and_verdicts([original, cut])
    assert name == "fp32"
    assert verdicts["int8"] == "slower than another build at batch 1, and so not timed at batch 32"


def latencies(entry: Candidate) -> tuple[Latency, ...]:
    assert entry.profile is not None
    return entry.profile.latency


def test_what_beats_an_original_that_does_not_run_needs_no_other_size() -> None:
    """Without a profile of the original nothing says where else it was timed."""
    failed = Candidate(Recipe("fp32", ()), rejected="failed: no such operator")
    entry = with_profile(
        candidate("int8", ratio=0.5, drop=INSIDE), latency=latencies(candidate("int8", ratio=0.5))[:1]
    )
    assert names_and_verdicts([failed, entry]) == (
        "int8",
        {"fp32": "failed: no such operator", "int8": "shipped"},
    )


def test_builds_whose_intervals_touch_are_a_tie() -> None:
    first = candidate("first", ratio=0.5, drop=INSIDE)
    other = with_latency(
        candidate("other", ratio=0.3, drop=INSIDE), 0, ratio=0.6, ratio_interval=Interval(0.52, 0.7, 0.95)
    )
    assert latencies(first)[0].ratio_interval == Interval(0.48, 0.52, 0.95)
    assert names_and_verdicts([FP32, first, other])[0] == "other"
    apart = with_latency(other, 0, ratio_interval=Interval(0.521, 0.7, 0.95))
    assert names_and_verdicts([FP32, first, apart])[0] == "first"


def test_ties_of_throughput_are_of_the_last_batch_size() -> None:
    """At the first size the two are far apart, at the last within noise of each other."""
    first = with_latency(
        candidate("first", ratio=0.50, drop=INSIDE), 0, ratio=0.9, ratio_interval=Interval(0.88, 0.92, 0.95)
    )
    other = with_latency(
        candidate("other", ratio=0.51, drop=INSIDE), 0, ratio=0.2, ratio_interval=Interval(0.18, 0.22, 0.95)
    )
    name, verdicts = names_and_verdicts([FP32, first, other], objective="throughput")
    assert name == "other"
    assert verdicts["first"] == "as fast as other within noise, and slower over both batch sizes"
    slow = with_latency(other, 1, ratio=0.6, ratio_interval=Interval(0.58, 0.62, 0.95))
    name, verdicts = names_and_verdicts([FP32, first, slow], objective="throughput")
    assert (name, verdicts["other"]) == ("first", "slower than first")


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


def test_the_last_of_the_sizes_back_to_back_decides_throughput() -> None:
    profile = candidate("int8", ratio=0.5).profile
    assert profile is not None
    batch = [replace(profile.latency[0], batch=batch) for batch in (1, 8, 16, 32)]
    paced = replace(batch[0], period_ms=33.3)
    judged: Profile = replace(profile, latency=(paced, *batch, paced))
    assert judged_latency(judged, "throughput") is batch[3]
    assert judged_latency(judged, "latency") is judged_latency(judged, "size") is batch[0]


def test_the_ratio_to_beat_is_the_lowest_that_a_build_inside_the_limits_is_sure_of() -> None:
    fast, faster = candidate("fast", ratio=0.5, drop=INSIDE), candidate("faster", ratio=0.4, drop=INSIDE)
    lossy = candidate("lossy", ratio=0.1, drop=(4.0, 5.0, 6.0))
    assert lowest_ratio([FP32, fast, faster, lossy], Limits()) == pytest.approx(0.42)
    assert lowest_ratio([FP32, faster, fast], Limits()) == pytest.approx(0.42)
    assert lowest_ratio([FP32, lossy], Limits()) is None
    assert lowest_ratio([FP32, fast], Limits(objective="size")) is None
    assert lowest_ratio([FP32, estimated("guess", 0.3, 0.3)], Limits()) is None
    batched = with_latency(fast, 1, ratio=0.2, ratio_interval=Interval(0.1, 0.3, 0.95))
    assert lowest_ratio([FP32, batched], Limits(objective="throughput")) == 0.3


def test_the_ratio_to_beat_is_no_original_s_and_of_a_build_timed_at_every_size() -> None:
    original = with_latency(FP32, 0, ratio=1.0, ratio_interval=Interval(0.1, 0.2, 0.95))
    original = with_latency(original, 1, ratio=1.0, ratio_interval=Interval(0.1, 0.2, 0.95))
    assert lowest_ratio([original], Limits()) is None
    fast = candidate("fast", ratio=0.5, drop=INSIDE)
    assert lowest_ratio([FP32, with_profile(fast, latency=latencies(fast)[:1])], Limits()) is None


def test_session_options_are_told_where_they_cost_more_than_a_twentieth() -> None:
    entry = candidate("int8", ratio=0.5)
    told = with_latency(with_latency(entry, 0, settings_cost=1.05), 1, settings_cost=1.06)
    assert settings_notes(told) == (
        "int8: its session options take 1.06× the time of the fastest at batch 32",
    )
    assert settings_notes(with_latency(told, 1, period_ms=33.3)) == ()
    assert settings_notes(entry) == ()
    assert settings_notes(None) == ()
    assert settings_notes(Candidate(Recipe("int8", ()), rejected="failed")) == ()


def test_the_front_is_of_the_first_batch_size() -> None:
    first = with_latency(candidate("first", ratio=0.5, drop=INSIDE), 1, ratio=0.9)
    other = with_latency(candidate("other", ratio=0.6, drop=INSIDE), 1, ratio=0.1)
    assert pareto_front([first, other]) == ("first",)


def test_the_original_takes_its_own_time_on_the_front() -> None:
    slow = candidate("slow", ratio=1.5, drop=INSIDE)
    assert pareto_front([FP32, slow]) == ("fp32",)
    assert pareto_front([FP32, candidate("fast", ratio=0.9, drop=INSIDE)]) == ("fast", "fp32")
