"""The speed of a decoder of text, for every form of report: one row for each set of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.reports.figures import Figure, digits, size_text
from compress.reports.tables import table

if TYPE_CHECKING:
    from compress.records.decoder_speed import DecoderSpeed
    from compress.records.latency import Interval
    from compress.reports.markup import Markup

TITLE = "Writing text, measured (95 % intervals)"

HEADINGS = (
    "texts × tokens before",
    "prompt, tokens/s",
    "first token, ms",
    "a token more, ms",
    "tokens/s",
    "of the memory's rate",
    "peak memory",
)


def figures_of(speed: DecoderSpeed) -> list[Figure]:
    """Return the figures below :data:`HEADINGS`, each with its interval where it has one."""
    share, between = speed.bandwidth_share, speed.bandwidth_share_interval
    memory = speed.peak_memory_mb
    return [
        Figure(f"{speed.batch} × {speed.context}"),
        _figure(speed.prompt_tokens_per_s, speed.prompt_tokens_per_s_interval),
        _figure(speed.first_token.p50_ms, speed.first_token.interval),
        _figure(speed.step.p50_ms, speed.step.interval),
        _figure(speed.tokens_per_s, speed.tokens_per_s_interval),
        Figure("–") if share is None or between is None else _figure(share, between, 100, " %"),
        Figure("–" if memory is None else f"{digits(memory)} MiB"),
    ]


def conditions_text(speeds: Sequence[DecoderSpeed]) -> str:
    """Return what all of them have in common, in one line.

    Args:
        speeds: Speeds of one build, at least one.
    """
    first = speeds[0]
    parts = [
        f"keys and values take {size_text(first.cache_bytes_per_token)} a token of a text",
        f"a step reads {size_text(first.bytes_per_step)} behind {first.context} tokens",
        f"{first.threads} threads" if first.threads else "as many threads as the runtime chooses",
    ]
    if first.bandwidth is not None:
        parts.append(
            f"memory was read at {digits(first.bandwidth.gb_s)} GB/s ({digits(first.bandwidth.interval.low)} to "
            f"{digits(first.bandwidth.interval.high)}, {first.bandwidth.threads} threads, in the same run)"
        )
    return "; ".join(parts)


def section(speeds: Sequence[DecoderSpeed]) -> Markup:
    """Return the table for the HTML report.

    Args:
        speeds: Speeds of one build, at least one.
    """
    rows = [[figure.stacked() for figure in figures_of(speed)] for speed in speeds]
    return table(f"{TITLE}: {conditions_text(speeds)}", HEADINGS, rows)


def _figure(value: float, interval: Interval, scale: float = 1.0, unit: str = "") -> Figure:
    low, high = (digits(scale * end) for end in (interval.low, interval.high))
    return Figure(f"{digits(scale * value)}{unit}", f"{low} to {high}")
