"""Latency of one layer over its widths: a staircase, since kernels work on whole blocks of channels.

On an x86 processor a convolution to 97 channels takes as long as one to 112. So a width is worth having only where no
larger one is as fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.pruning.probes import Point

#: Widths closer in time than this share are one tread: what is measured varies by a few percent.
NOISE = 0.03

#: Shares of full width at which both widths of a layer are reduced together.
_CORNERS = (0.25, 0.5, 0.75)


def widths(full: int, most: int = 16) -> tuple[int, ...]:
    """Return the widths to measure, ascending: at most ``most`` multiples of a power of two, and the full width."""
    if full <= 1:
        return (full,)
    step = 1
    while -(-full // step) > most:
        step *= 2
    return (*range(step, full, step), full)


def steps(sizes: Sequence[int], times: Sequence[float], noise: float = NOISE) -> tuple[int, ...]:
    """Return the widths at which the target gets faster, ascending: no larger width is as fast.

    Args:
        sizes: Measured widths, ascending.
        times: Time of each width, in the same order.
        noise: Share by which a width has to be faster than the next larger step to be one.
    """
    chosen_sizes: list[int] = []
    last = float("inf")
    for size, time in zip(reversed(sizes), reversed(times), strict=True):
        if time < (1 - noise) * last:
            chosen_sizes.append(size)
            last = time
    return tuple(reversed(chosen_sizes))


@dataclass(frozen=True)
class Staircase:
    """Latency of one layer at any width: measured along both axes, and corrected where both are reduced.

    With a(i) the time at i inputs and all outputs, b(o) at o outputs and all inputs, t of the whole layer:
    time(i, o) = a(i) · b(o) / t · c(i, o). c is interpolated between quarters of the widths, and 1 where either is
    full. Between measured widths the next larger one counts.

    Attributes:
        inputs: Widths that were measured, ascending; only the full one where inputs and outputs are tied.
        outputs: Widths of the outputs that were measured, likewise.
        input_ms: Milliseconds at each width of inputs, all outputs kept.
        output_ms: Milliseconds at each width of outputs, all inputs kept.
        corners: Values of c at a quarter, a half, three quarters and all of both, ``[inputs][outputs]``.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_ms: tuple[float, ...]
    output_ms: tuple[float, ...]
    corners: tuple[tuple[float, ...], ...]

    @property
    def full_ms(self) -> float:
        """Latency at full width, in milliseconds."""
        return self.output_ms[-1]

    def ms(self, inputs: int, outputs: int) -> float:
        """Return the latency at these widths, in milliseconds."""
        read, written = _at(self.inputs, self.input_ms, inputs), _at(self.outputs, self.output_ms, outputs)
        return read * written / self.full_ms * self._correction(inputs, outputs)

    def _correction(self, inputs: int, outputs: int) -> float:
        down, across = _knots(self.inputs), _knots(self.outputs)
        return float(np.interp(inputs, down, [np.interp(outputs, across, row) for row in self.corners]))

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold, with the steps along both axes."""
        return {
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "input_ms": list(self.input_ms),
            "output_ms": list(self.output_ms),
            "corners": [list(row) for row in self.corners],
            "input_steps": list(steps(self.inputs, self.input_ms)),
            "output_steps": list(steps(self.outputs, self.output_ms)),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Staircase:
        """Read back what :meth:`to_dict` returned."""
        along = {name: tuple(data[name]) for name in ("inputs", "outputs", "input_ms", "output_ms")}
        return cls(**along, corners=tuple(tuple(row) for row in data["corners"]))


def points(inputs: Sequence[int], outputs: Sequence[int], *, tied: bool) -> tuple[Point, ...]:
    """Return the points at which to measure a layer of these widths, each once, for :func:`staircase`."""
    if tied:
        return tuple((width, width) for width in outputs)
    along = [*((width, outputs[-1]) for width in inputs), *((inputs[-1], width) for width in outputs)]
    inner = [(one, other) for one in _knots(inputs)[:-1] for other in _knots(outputs)[:-1]]
    return tuple(dict.fromkeys([*along, *inner]))


def staircase(
    inputs: Sequence[int], outputs: Sequence[int], times: Mapping[Point, float], *, tied: bool
) -> Staircase:
    """Make the staircase from times at :func:`points`.

    Args:
        inputs: Widths that were measured, ascending; only the full one where inputs and outputs are tied.
        outputs: Widths of the outputs that were measured, likewise.
        times: Milliseconds at each point, above 0.
        tied: Whether every output has an input of its own.
    """
    written = tuple(times[width if tied else inputs[-1], width] for width in outputs)
    read = written[-1:] if tied else tuple(times[width, outputs[-1]] for width in inputs)
    down, across = _knots(inputs), _knots(outputs)
    corners = np.ones((len(down), len(across)))
    for row, one in enumerate(down[:-1]):
        for column, other in enumerate(across[:-1]):
            expected = read[inputs.index(one)] * written[outputs.index(other)] / written[-1]
            corners[row, column] = times[one, other] / expected
    return Staircase(tuple(inputs), tuple(outputs), read, written, tuple(map(tuple, corners.tolist())))


def _knots(sizes: Sequence[int]) -> list[int]:
    """Return the measured widths nearest to the quarters of the full one, and the full one; each once, ascending."""
    near = [min(sizes, key=lambda size: abs(size - share * sizes[-1])) for share in _CORNERS]
    return sorted({*near, sizes[-1]})


def _at(sizes: Sequence[int], times: Sequence[float], width: float) -> float:
    return times[min(int(np.searchsorted(sizes, width)), len(sizes) - 1)]
