"""The figures of a run as comma-separated values: a row for each build and batch size, numbers without units."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from compress.core.plain_text import plain
from compress.records.profile import Latency, Profile
from compress.reports.run import Run

#: Columns; times are in milliseconds, sizes in bytes, memory in MiB. A drop has the unit of its own column.
COLUMNS = (
    "build",
    "verdict",
    "metric",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "drop",
    "drop_low",
    "drop_high",
    "drop_unit",
    "batch",
    "period_ms",
    "source",
    "p50_ms",
    "p50_low_ms",
    "p50_high_ms",
    "p90_ms",
    "p99_ms",
    "ratio_to_fp32",
    "ratio_low",
    "ratio_high",
    "samples_per_s",
    "bytes",
    "peak_memory_mib",
    "energy_mj",
    "energy_batch",
    "power_w",
    "artifact_sha256",
)

_Value = str | int | float | None

#: Spreadsheets take a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@")


def figures_csv(run: Run) -> str:
    """Return the figures of every build that was tried; empty cells where there is no figure."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in run.candidates:
        begin = [_text(entry.recipe.name), _text(run.choice.verdicts[entry.recipe.name])]
        if entry.profile is None:
            writer.writerow([*begin, *[""] * (len(COLUMNS) - len(begin))])
            continue
        for latency in entry.profile.latency:
            writer.writerow(
                ["" if value is None else value for value in [*begin, *_figures(entry.profile, latency)]]
            )
    return written.getvalue()


def _figures(profile: Profile, latency: Latency) -> Iterator[_Value]:
    accuracy = profile.accuracy
    if accuracy is None:
        yield from (None,) * 8
    else:
        yield from (_text(accuracy.metric), accuracy.mean, accuracy.interval.low, accuracy.interval.high)
        drop = accuracy.drop
        if drop is None:
            yield from (None,) * 4
        else:
            yield from (drop.points, drop.interval.low, drop.interval.high, drop.unit)
    yield from (latency.batch, latency.period_ms, latency.source, latency.p50_ms)
    yield from (latency.interval.low, latency.interval.high, latency.p90_ms, latency.p99_ms, latency.ratio)
    between = latency.ratio_interval
    yield from (None, None) if between is None else (between.low, between.high)
    yield from (
        latency.throughput_per_s,
        profile.artifact_bytes,
        profile.peak_memory_mb,
        profile.energy_mj,
        profile.energy_batch,
        profile.power_w,
        profile.artifact_sha256,
    )


def _text(text: str) -> str:
    shown = plain(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
