"""Power, clocks and temperatures of a GPU while it works, whichever of the vendor's tools tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


def busy(found: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return the samples in which the GPU worked."""
    return tuple(each for each in found if (each.gpu_percent or 0) >= _BUSY_PERCENT)


def power_w(found: Sequence[Sample]) -> float | None:
    """Return the mean power in watts while the GPU was busy; None where it is unknown.

    While an engine is loaded, and after its last call, the GPU rests: those lines do not count.
    """
    powers = [each.power_mw for each in busy(found) if each.power_mw is not None]
    return fmean(powers) / 1e3 if powers else None


def throttled(found: Sequence[Sample]) -> str | None:
    """Return a warning where the GPU's clock was lowered while it was busy; else None."""
    working = busy(found)
    clocks = [each.gpu_mhz for each in working if each.gpu_mhz]
    if len(clocks) < 2:
        return None
    highest, lowest = max(clocks), min(clocks)
    if lowest > (1 - _FALL) * highest:
        return None
    hottest = max((each.temperature_c for each in working if each.temperature_c is not None), default=None)
    told = f" at up to {hottest:g} °C" if hottest is not None else ""
    return f"the GPU's clock fell from {highest} to {lowest} MHz (median {median(clocks):g}){told}: cool the board"
