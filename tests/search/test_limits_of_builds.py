"""Limits and objectives besides time and size, and what is told where no build meets them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compress.records.profile import Interval
from compress.search.decision import choose
from compress.search.limits import Limits, cost_of, energy_of
from compress.search.run_directory import Candidate
from compress.target.price import Price
from tests.records import candidate
from tests.search.choices import FP32, INSIDE, estimated, names_and_verdicts, verdict, with_profile

USD = Price("USD", per_hour=3.6)


def spending(entry: Candidate, mj: float, *, width: float = 0.1, batch: int = 1) -> Candidate:
    between = Interval(mj - width, mj + width, 0.9)
    return with_profile(
        entry, energy_mj=mj, energy_interval=between, energy_batch=batch, power_w=mj / 2, peak_memory_mb=100.0
    )


THRIFTY = spending(candidate("thrifty", ratio=0.9, drop=INSIDE), 5.0)
FAST = spending(candidate("fast", ratio=0.5, drop=INSIDE), 8.0)
ORIGINAL = spending(FP32, 20.0)


def test_the_least_energy_is_shipped_though_another_build_is_faster() -> None:
    choice = choose([ORIGINAL, FAST, THRIFTY], Limits(objective="energy"))
    assert choice.candidate is THRIFTY
    assert choice.verdicts["fast"] == "takes more energy than thrifty"
    assert "and 5 mJ a sample at batch 1 (fp32: 20)" in choice.reason


def test_energies_whose_intervals_overlap_are_ranked_by_time() -> None:
    near = spending(FAST, 5.2, width=0.5)
    assert names_and_verdicts([ORIGINAL, near, THRIFTY], objective="energy") == (
        "fast",
        {
            "fp32": "takes more energy than fast",
            "fast": "shipped",
            "thrifty": "takes as much energy as fast within noise, and slower",
        },
    )


def test_energy_is_told_of_a_sample() -> None:
    profile = spending(FAST, 64.0, batch=32).profile
    assert profile is not None
    figure = energy_of(profile)
    assert figure is not None
    assert figure.value == 2.0


def test_a_build_whose_energy_is_unknown_is_not_compared_by_it() -> None:
    unknown = candidate("unknown", ratio=0.2, drop=INSIDE)
    chosen, verdicts = names_and_verdicts([ORIGINAL, unknown, THRIFTY], objective="energy")
    assert chosen == "thrifty"
    assert verdicts["unknown"] == "its energy was not measured, and --objective energy needs it"


def test_a_build_slower_than_fp32_is_not_shipped_for_its_energy() -> None:
    slow = spending(candidate("slow", ratio=1.5, drop=INSIDE), 1.0)
    assert names_and_verdicts([ORIGINAL, slow], objective="energy")[0] == "fp32"


def test_cost_is_the_price_of_the_time_and_of_the_energy() -> None:
    profile, original = FAST.profile, ORIGINAL.profile
    assert profile is not None
    assert original is not None
    # At batch 32 fp32 takes 80 ms, and the build half: 1.25 ms a sample.
    by_time = cost_of(profile, USD, original)
    assert by_time is not None
    assert by_time.value == pytest.approx(1.25)
    by_both = cost_of(profile, replace(USD, per_kwh=0.9), original)
    assert by_both is not None
    assert by_both.value == pytest.approx(1.25 + 0.9 * 8.0 / 3600)
    assert (
        cost_of(candidate("x", ratio=0.5, drop=INSIDE).profile, replace(USD, per_kwh=0.9), original) is None
    )  # type: ignore[arg-type]


def test_the_least_money_is_shipped_and_told_in_its_currency() -> None:
    choice = choose([ORIGINAL, FAST, THRIFTY], Limits(objective="cost", price=USD))
    assert choice.candidate is FAST
    assert "and costs 1.25 USD per million samples at batch 32 (fp32: 2.5)" in choice.reason
    assert choice.verdicts["thrifty"] == "costs more than fast"


def test_money_of_an_estimated_time_is_told_as_an_estimate() -> None:
    build = estimated("fast", 0.5, 0.5)
    reason = choose([estimated("fp32", 1.0, 1.0), build], Limits(objective="cost", price=USD)).reason
    assert "costs by estimate" in reason


def test_memory_and_power_are_limits() -> None:
    assert verdict(FAST, max_memory_mb=104.0) == "105 MB at its peak, over --max-memory 104 MB"  # 100 MiB
    assert verdict(FAST, max_power_w=3.5) == "4 W, over --max-power 3.5 W"
    unknown = candidate("unknown", ratio=0.5, drop=INSIDE)
    assert verdict(unknown, max_power_w=3.5) == "its power was not measured, and --max-power limits it"


def test_the_nearest_build_is_named_with_what_each_limit_lacks() -> None:
    small = with_profile(candidate("small", ratio=0.5, drop=INSIDE), artifact_bytes=3_000_000)
    large = with_profile(candidate("large", ratio=0.25, drop=INSIDE), artifact_bytes=9_000_000)
    original = with_profile(FP32, artifact_bytes=12_000_000)
    choice = choose([original, small, large], Limits(max_latency_ms=1.6, max_size_mb=2.0))
    assert choice.candidate is None
    assert choice.reason == (
        "no build is inside the limits; nearest is small: 2 ms, over --max-latency 1.6 ms (0.4 ms too much); and "
        "3 MB, over --max-size 2 MB (1 MB too much)"
    )


def test_a_margin_of_nothing_has_a_nearest_build_too() -> None:
    near, far = (
        candidate(name, ratio=0.5, drop=drop) for name, drop in (("near", (0, 0.1, 0.3)), ("far", (2, 3, 4)))
    )
    choice = choose([FP32, far, near], Limits(max_drop=0.0, max_latency_ms=2.0))
    assert "nearest is near: drop undecided: 0.10 points, up to 0.30" in choice.reason


def test_what_alone_is_inside_the_limits_need_not_beat_fp32() -> None:
    slow = with_profile(candidate("small", ratio=1.2, drop=INSIDE), artifact_bytes=1_000_000)
    original = with_profile(FP32, artifact_bytes=12_000_000)
    assert names_and_verdicts([original, slow])[0] == "fp32"
    assert names_and_verdicts([original, slow], max_size_mb=2.0)[0] == "small"
