"""The times of a run's builds, made comparable for one table.

Each build was timed in turns with fp32, and the machine was faster at one time than at another: its milliseconds and
those of another build do not compare, while their ratios to fp32 do. So what a table shows is the ratio times one
figure of fp32, its median over all its turns of the run; no column then contradicts another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compress.records.profile import Interval, Latency, Profile
from compress.search.run_directory import Candidate


def at(profile: Profile, like: Latency) -> Latency | None:
    """Return a build's latency under the condition of another one; None where it was not timed so.

    Args:
        profile: Profile of the build.
        like: Latency whose batch size and period are looked for.
    """
    condition = like.batch, like.period_ms
    return next(
        (latency for latency in profile.latency if (latency.batch, latency.period_ms) == condition), None
    )


def condition_text(latency: Latency) -> str:
    """Describe the batch size, and the time from call to call where calls are paced."""
    paced = "" if latency.period_ms is None else f", a call every {latency.period_ms:.3g} ms"
    return f"batch {latency.batch}{paced}"


def aligned(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates with comparable milliseconds; estimates, and runs without turns, are unchanged.

    Args:
        candidates: All candidates that were tried, the original first.
    """
    first = candidates[0].profile if candidates else None
    if first is None:
        return list(candidates)
    fp32_ms = {
        (latency.batch, latency.period_ms): figure
        for latency in first.latency
        if (figure := _fp32_ms(candidates, latency)) is not None
    }
    return [_scaled(entry, fp32_ms, original=position == 0) for position, entry in enumerate(candidates)]


def _fp32_ms(candidates: Sequence[Candidate], like: Latency) -> float | None:
    """Return the median over the run of fp32's time in turns with each build."""
    seen = [
        latency.reference_ms
        for entry in candidates
        if entry.profile is not None
        and (latency := at(entry.profile, like)) is not None
        and latency.reference_ms is not None
    ]
    return float(np.median(seen)) if seen else None


def _scaled(entry: Candidate, fp32_ms: dict[tuple[int, float | None], float], *, original: bool) -> Candidate:
    if entry.profile is None:
        return entry
    latency = tuple(
        _shown(timed, fp32_ms.get((timed.batch, timed.period_ms)), original=original)
        for timed in entry.profile.latency
    )
    return replace(entry, profile=replace(entry.profile, latency=latency))


def _shown(latency: Latency, fp32_ms: float | None, *, original: bool) -> Latency:
    if fp32_ms is None or (latency.ratio is None and not original):
        return latency
    # fp32 with the settings that it ships with may be slower than what ratios refer to at this batch size.
    ratio = latency.settings_cost or 1.0 if latency.ratio is None else latency.ratio
    scale = ratio * fp32_ms / latency.p50_ms
    between = latency.ratio_interval
    ends = (latency.interval.low * scale, latency.interval.high * scale)
    if between is not None:
        ends = (between.low * fp32_ms, between.high * fp32_ms)
    return replace(
        latency,
        p50_ms=ratio * fp32_ms,
        interval=Interval(*ends, latency.interval.level),
        p90_ms=None if latency.p90_ms is None else latency.p90_ms * scale,
        p99_ms=None if latency.p99_ms is None else latency.p99_ms * scale,
    )
