"""The choice of the build that is shipped: inside the limits, proven faster, and the fastest of those."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.profiling.efficiency import pair_interval
from compress.recipe import Recipe, Step
from compress.records.profile import Interval, Latency, Profile
from compress.search.decision import (
    Limits,
    choose,
    judged_latency,
    lowest_ratio,
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


def test_fastest_inside_the_margin_is_shipped() -> None:
    fast = candidate("fast", ratio=0.4, drop=INSIDE)
    faster = candidate("faster", ratio=0.3, drop=INSIDE)
    name, verdicts = names_and_verdicts([FP32, fast, faster])
    assert name == "faster"
    assert verdicts == {"fp32": "slower than faster", "fast": "slower than faster", "faster": "shipped"}


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


@pytest.mark.parametrize("ratio", [0.99, 1.0, 1.3])
def test_never_ships_what_is_not_proven_faster(ratio: float) -> None:
    name, verdicts = names_and_verdicts([FP32, candidate("int8", ratio=ratio, drop=INSIDE)])
    assert name == "fp32"
    word = "slower than" if ratio > 1.02 else "not proven faster than"
    assert verdicts["int8"].startswith(f"{word} fp32")


def test_estimates_are_decided_by_their_ratio() -> None:
    assert names_and_verdicts([FP32, estimated("int8", 0.9, 0.7)])[0] == "int8"
    name, verdicts = names_and_verdicts([FP32, estimated("int8", 1.01, 0.7)])
    assert (name, verdicts["int8"]) == ("fp32", "not faster than fp32 (estimated 1.01× its time)")


def test_estimates_that_lie_close_are_both_told_and_left_to_the_board() -> None:
    builds = [FP32, estimated("int8", 0.70, 0.7), estimated("fp16", 0.72, 0.7), estimated("pruned", 0.9, 0.9)]
    choice = choose(builds, Limits(max_drop=1.0))
    assert choice.verdicts["fp16"] == "may be as fast as int8, which no estimate tells"
    assert choice.verdicts["pruned"] == "slower than int8"
    assert choice.reason.endswith(
        "; fp16 may be as fast, which no estimate tells: measure on the board (--host)"
    )
    apart = choose([builds[0], builds[1], builds[3]], Limits(max_drop=1.0))
    assert "--host" not in apart.reason


def test_measured_builds_leave_nothing_to_the_board() -> None:
    builds = [FP32, candidate("int8", ratio=0.70, drop=INSIDE), candidate("fp16", ratio=0.71, drop=INSIDE)]
    assert "--host" not in choose(builds, Limits(max_drop=1.0)).reason


@pytest.mark.parametrize("ratio", [0.9997, 0.96])
def test_an_estimate_that_is_close_to_the_time_of_fp32_ships_nothing(ratio: float) -> None:
    name, verdicts = names_and_verdicts([FP32, estimated("int8", ratio, 0.5)])
    assert name == "fp32"
    assert (
        verdicts["int8"] == f"not faster than fp32 beyond what an estimate can tell ({ratio:.3g}× its time)"
    )


def test_an_estimate_that_is_slower_at_another_batch_size_is_not_shipped() -> None:
    name, verdicts = names_and_verdicts([FP32, estimated("int8", 0.5, 1.2)])
    assert name == "fp32"
    assert verdicts["int8"].startswith("slower than fp32 at batch")
    assert names_and_verdicts([FP32, estimated("int8", 0.5, 1.02)])[0] == "int8"  # no more than it can tell


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
    assert (name, verdicts["batched"]) == ("fp32", "slower than fp32 (1.20× its time)")


def test_limits_can_leave_nothing() -> None:
    choice = choose([FP32], Limits(max_latency_ms=1.0))
    assert choice.candidate is None
    assert choice.verdicts["fp32"] == "4 ms, over --max-latency 1 ms"
    assert choose([FP32], Limits(max_size_mb=0.001)).candidate is None


def test_smallest_is_shipped_where_size_is_asked_for() -> None:
    small = candidate("small", ratio=1.0, drop=INSIDE, size=1000)
    fast = candidate("fast", ratio=0.5, drop=INSIDE, size=2000)
    assert names_and_verdicts([FP32, small, fast], objective="size")[0] == "small"
    slow = candidate("slow", ratio=1.5, drop=INSIDE, size=500)
    assert names_and_verdicts([FP32, slow, fast], objective="size")[0] == "fast"


@given(st.floats(0.1, 3), st.floats(-2, 3), st.floats(0, 2))
def test_what_is_shipped_is_inside_the_limits(ratio: float, drop: float, width: float) -> None:
    entry = candidate("int8", ratio=ratio, drop=(drop - width, drop, drop + width))
    choice = choose([FP32, entry], Limits(max_drop=1.0))
    assert choice.candidate is not None
    if choice.candidate is entry:
        assert drop + width <= 1.0
        assert ratio + 0.02 < 1


def test_a_network_without_data_is_decided_by_its_time() -> None:
    entry = with_profile(candidate("int8", ratio=0.5), accuracy=None)
    choice = choose([with_profile(FP32, accuracy=None), entry], Limits())
    assert choice.reason == "shipped: int8, which takes 0.50× the time of fp32 at batch 1"
    assert choice.front == ("int8",)


def test_few_samples_of_values_decide_nothing() -> None:
    entry = with_accuracy(candidate("int8", ratio=0.5, drop=INSIDE), right_or_wrong=False, samples=29)
    assert verdict(entry) == "drop undecided: 29 samples, and top-1 is decided on 30 or more"
    assert verdict(with_accuracy(entry, samples=30)) == "shipped"


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
    failed = Candidate(Recipe("fp32", ()), failure="no such operator")
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


def test_two_estimates_are_compared_by_the_interval_of_their_own_pair() -> None:
    """Where pairs of builds were published, and only for such a target."""

    def choice(ratio: float, target: str) -> str:
        int8, fp16 = (
            with_profile(replace(estimated(name, share, share), recipe=recipe), target=target)
            for name, share, recipe in (
                ("int8", 0.3, Recipe("int8", (Step("quantize"),))),
                ("fp16", 0.3 * ratio, Recipe("fp16", (Step("cast"),))),
            )
        )
        made = choose([FP32, int8, fp16], Limits())
        assert made.candidate is int8
        return made.verdicts["fp16"]

    factors = pair_interval("jetson-orin-nano-8gb", "fp16", "int8")
    assert factors is not None
    assert factors[0] < 0.8
    may, slower = "may be as fast as int8, which no estimate tells", "slower than int8"
    for ratio in (0.99 / factors[0], 1.1):
        assert choice(ratio, "jetson-orin-nano-8gb") == may
    assert choice(1.01 / factors[0], "jetson-orin-nano-8gb") == slower
    assert choice(0.99 / factors[0], "raspberry-pi-5") == slower
    assert pair_interval("a-target-of-mine", "fp16", "int8") is None
    assert pair_interval("jetson", "int8", "fp16") == pytest.approx([1 / factors[1], 1 / factors[0]])
