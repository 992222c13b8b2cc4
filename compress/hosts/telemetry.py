"""Power, clocks and temperatures of a GPU while it works, whichever of the vendor's tools tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, median

#: A clock that falls by more than this while the GPU is busy was taken back.
_FALL = 0.1
_BUSY_PERCENT = 50


@dataclass(frozen=True)
class Sample:
    """One line of such a tool; None for missing values.

    Attributes:
        power_mw: Power of the module or the card, in milliwatts.
        gpu_percent: Load of the GPU, in percent.
        gpu_mhz: Clock of the GPU, in MHz.
        temperature_c: Temperature of the hottest zone, in °C.
    """

    power_mw: int | None
    gpu_percent: int | None
    gpu_mhz: int | None
    temperature_c: float | None

    @property
    def empty(self) -> bool:
        """Whether the line has no values."""
        return self == Sample(None, None, None, None)


def busy(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return the samples in which the GPU worked.

    Where no sample tells the GPU's load, those count whose power lies in the upper half of what was seen.
    """
    if any(sample.gpu_percent is not None for sample in samples):
        return tuple(sample for sample in samples if (sample.gpu_percent or 0) >= _BUSY_PERCENT)
    powers = [sample.power_mw for sample in samples if sample.power_mw is not None]
    if not powers:
        return ()
    middle = (min(powers) + max(powers)) / 2
    return tuple(sample for sample in samples if sample.power_mw is not None and sample.power_mw >= middle)


def power_w(samples: Sequence[Sample]) -> float | None:
    """Return the mean power in watts while the GPU was busy; None where it is unknown.

    While an engine is loaded, and after its last call, the GPU rests: those lines do not count.
    """
    powers = [sample.power_mw for sample in busy(samples) if sample.power_mw is not None]
    return fmean(powers) / 1e3 if powers else None


def throttled(samples: Sequence[Sample]) -> str | None:
    """Return a warning where the GPU's clock was lowered while it was busy; else None.

    A clock that rises to its height while the work begins has not been lowered.
    """
    working = busy(samples)
    clocks = [sample.gpu_mhz for sample in working if sample.gpu_mhz]
    highest, lowest = _deepest_fall(clocks)
    if lowest > (1 - _FALL) * highest:
        return None
    hottest = max(
        (sample.temperature_c for sample in working if sample.temperature_c is not None), default=None
    )
    heat = f" at up to {hottest:g} °C" if hottest is not None else ""
    return f"the GPU's clock fell from {highest} to {lowest} MHz (median {median(clocks):g}){heat}: cool the board"


def _deepest_fall(clocks: Sequence[int]) -> tuple[int, int]:
    """Return the two clocks, the first seen before the second, between which it fell most; (0, 1) without any."""
    before = accumulate(clocks, max)
    return min(zip(before, clocks, strict=True), key=lambda pair: pair[1] / pair[0], default=(0, 1))
