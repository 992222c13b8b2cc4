"""The study as a picture: what labels say of each build against what a judge without labels says, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Judges that are drawn, one panel each, with their titles.
_PANELS = (("agreement", "share of other answers"), ("loss", "what the original loses (compress)"))

_WIDE, _HIGH, _LEFT, _TOP, _GAP = 320, 320, 56, 36, 64
_TICKS = (-1, 0, 0.3, 1, 3, 10, 30, 100)
#: Of builds that a judge gets right at the margin and of those that it gets wrong (Okabe and Ito's palette).
_COLOURS = (("#0072B2", False), ("#D55E00", True))


def scatter(builds: Sequence[tuple[float, dict[str, float]]], margin: float) -> str:
    """Draw it.

    Args:
        builds: The true drop of each build and what each judge says, both in points.
        margin: The drop allowed, in points, above 0; two lines show it.
    """
    width, height = _LEFT + 2 * _WIDE + _GAP + 16, _TOP + _HIGH + 48
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12" role="img" aria-label="True drop against the drop that is told without labels">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, (judge, title) in enumerate(_PANELS):
        left = _LEFT + number * (_WIDE + _GAP)
        points = [(drop, told[judge]) for drop, told in builds if judge in told]
        parts += _panel(left, title, points, margin)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(left: int, title: str, points: Sequence[tuple[float, float]], margin: float) -> list[str]:
    bottom = _TOP + _HIGH
    parts = [
        f'<text x="{left}" y="{_TOP - 14}" font-weight="bold">{title}</text>',
        f'<rect x="{left}" y="{_TOP}" width="{_WIDE}" height="{_HIGH}" fill="none" stroke="#999"/>',
    ]
    for tick in _TICKS:
        x, y = left + _place(tick) * _WIDE, bottom - _place(tick) * _HIGH
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    x, y = left + _place(margin) * _WIDE, bottom - _place(margin) * _HIGH
    parts.append(f'<path d="M{x:.1f} {_TOP}V{bottom}M{left} {y:.1f}H{left + _WIDE}" stroke="#333"/>')
    for colour, wrong in _COLOURS:
        dots = "".join(
            f"M{left + _place(drop) * _WIDE:.0f} {bottom - _place(told) * _HIGH:.0f}h0"
            for drop, told in points
            if ((drop > margin) != (told > margin)) == wrong
        )
        parts.append(
            f'<path d="{dots}" stroke="{colour}" stroke-width="4" stroke-linecap="round" stroke-opacity="0.5"/>'
        )
    parts.append(
        f'<text x="{left + _WIDE / 2}" y="{bottom + 36}" text-anchor="middle">true drop, points (above: told)</text>'
    )
    return parts


def _place(points: float) -> float:
    """Return the place, from 0 to 1, along an axis that is linear near 0 and logarithmic beyond."""
    low, high = math.asinh(-1 / 0.3), math.asinh(100 / 0.3)
    return (math.asinh(max(-1.0, min(100.0, points)) / 0.3) - low) / (high - low)
