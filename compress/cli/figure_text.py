"""Figures as a terminal shows them: short, each with its unit and its doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.reports.figures import digits

if TYPE_CHECKING:
    from compress.records.profile import Accuracy, Drop, Latency


def accuracy_text(accuracy: Accuracy | None) -> str:
    """Format the mean with half the width of its interval."""
    if accuracy is None:
        return "–"
    half = (accuracy.interval.high - accuracy.interval.low) / 2
    if accuracy.in_percent:
        return f"{100 * accuracy.mean:.2f} ±{100 * half:.2f}%"
    return f"{accuracy.mean:.4g} ± {half:.2g}"


def drop_text(drop: Drop) -> str:
    """Format the accuracy drop and its interval."""
    low, high, level = drop.interval.low, drop.interval.high, round(100 * drop.interval.level)
    return f"drop: {drop.points:.2f} {drop.unit}, {low:.2f} to {high:.2f} ({level} % interval)"


def latency_text(latency: Latency) -> str:
    """Format the median in milliseconds; an estimate is marked and has its interval."""
    if latency.source == "estimated":
        low, high = digits(latency.interval.low), digits(latency.interval.high)
        return f"ESTIMATED {digits(latency.p50_ms)} ms ({low}–{high})"
    return f"{digits(latency.p50_ms)} ms"
