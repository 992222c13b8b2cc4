"""The costs of a build besides time: size on disk, peak memory, energy, and the share that runs in int8."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from compress.gate.policy import GatePolicy
from compress.gate.verdict import Check, Verdict, finite, judge_bounds
from compress.records.coverage import Coverage


def judge_size(candidate_bytes: int, baseline_bytes: int, policy: GatePolicy) -> Check:
    """Check the growth of the artifact, in percent; exact."""
    growth, margin = _growth(candidate_bytes, baseline_bytes), policy.max_size_growth_percent
    detail = f"{candidate_bytes} against {baseline_bytes} bytes, {growth:+.1f} % (margin {margin:g})"
    figures = {
        "candidate_bytes": candidate_bytes,
        "baseline_bytes": baseline_bytes,
        "growth_percent": finite(growth),
        "margin_percent": margin,
    }
    return Check("size", judge_bounds(growth, growth, margin), detail, figures)


def judge_memory(candidate_mb: Sequence[float], baseline_mb: Sequence[float], policy: GatePolicy) -> Check:
    """Check the growth of the peak memory, bounded by the extremes of all runs.

    Args:
        candidate_mb: Peak memory of each run of the candidate in MiB, at least one.
        baseline_mb: Peak memory of each run of the baseline in MiB, at least one.
        policy: Policy with the margin.
    """
    shown = f"peak {max(candidate_mb):.1f} against {max(baseline_mb):.1f} MiB"
    return _judge_growth("memory", "mb", candidate_mb, baseline_mb, policy.max_memory_growth_percent, shown)


def judge_energy(candidate_mj: Sequence[float], baseline_mj: Sequence[float], policy: GatePolicy) -> Check:
    """Check the growth of the energy of a call, bounded by the extremes of all runs.

    Args:
        candidate_mj: Energy of a call in millijoules, for each run in turn with the baseline; at least one.
        baseline_mj: Energy of a call of the baseline in millijoules, for each run; at least one.
        policy: Policy with the margin.
    """
    shown = f"{median(candidate_mj):.3g} against {median(baseline_mj):.3g} mJ a call"
    return _judge_growth("energy", "mj", candidate_mj, baseline_mj, policy.max_energy_growth_percent, shown)


def judge_coverage(candidate: Coverage | None, baseline: Coverage | None, policy: GatePolicy) -> Check:
    """Check the fall of the share of multiply-accumulates in int8 kernels, in percentage points; exact.

    Args:
        candidate: Coverage of the candidate; None where its runtime does not tell it.
        baseline: Coverage of the baseline, likewise.
        policy: Policy with the margin.
    """
    shares = [None if coverage is None else coverage.int8_mac_share for coverage in (candidate, baseline)]
    if shares[0] is None or shares[1] is None:
        return Check("coverage", Verdict.SKIPPED, "the runtime does not tell what runs in int8")
    ours, theirs = 100 * float(shares[0]), 100 * float(shares[1])
    margin = policy.max_coverage_fall_points
    detail = f"{ours:.1f} against {theirs:.1f} % of multiply-accumulates in int8 (margin {margin:g} points)"
    figures = {"candidate_percent": ours, "baseline_percent": theirs, "margin_points": margin}
    fall = round(theirs - ours, 9)  # 50 % less 49 % is one point, and not a hair more
    return Check("coverage", judge_bounds(fall, fall, margin), detail, figures)


def _judge_growth(
    check: str, unit: str, candidate: Sequence[float], baseline: Sequence[float], margin: float, shown: str
) -> Check:
    """Check the growth of a figure, bounded by the extremes of all runs; ``shown`` tells the figures in words."""
    low, high = _extremes(candidate, baseline)
    detail = f"{shown}, growth between {low:+.1f} and {high:+.1f} % (margin {margin:g})"
    figures = {
        f"candidate_{unit}": list(candidate),
        f"baseline_{unit}": list(baseline),
        "low_percent": finite(low),
        "high_percent": finite(high),
        "margin_percent": margin,
    }
    return Check(check, judge_bounds(low, high, margin), detail, figures)


def _extremes(candidate: Sequence[float], baseline: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest growth, in percent, between any two of the figures."""
    return _growth(min(candidate), max(baseline)), _growth(max(candidate), min(baseline))


def _growth(candidate: float, baseline: float) -> float:
    """Return the growth in percent; infinite for a baseline of 0."""
    if baseline <= 0:
        return 0.0 if candidate <= 0 else float("inf")
    return 100 * (candidate - baseline) / baseline
