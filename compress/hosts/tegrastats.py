"""Power, clocks and temperatures of a Jetson while it works, from the lines of ``tegrastats``.

A line: ``… RAM 3012/7620MB … GR3D_FREQ 99%@[918] … gpu@51.2C tj@52.1C … VDD_IN 6120mW/5987mW …``. Each rail tells its
power now and its mean since the tool started; the first is taken. ``VDD_IN`` is the whole module; older boards call it
``POM_5V_IN`` and the larger ones tell only its parts, which are added.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

#: The unit came with JetPack 5; before, a rail is told from memory by what does not follow.
_RAIL = re.compile(r"\b(\w+) (\d+)(?:mW/\d+mW|/\d+(?= |$))")
_WHOLE = ("VDD_IN", "POM_5V_IN")
_GPU = re.compile(r"\bGR3D_FREQ (\d+)%(?:@\[?(\d+))?")
_ZONE = re.compile(r"\b\w+@(-?[\d.]+)C")
#: A clock that falls by more than this while the GPU is busy was taken back.
_FALL = 0.1
_BUSY_PERCENT = 50


@dataclass(frozen=True)
class Sample:
    """One line.

    Attributes:
        power_mw: Of the module, milliwatts; None where the board does not tell.
        gpu_percent: Load of the GPU.
        gpu_mhz: Its clock; None where the board does not tell.
        temperature_c: Of the hottest zone, °C.
    """

    power_mw: int | None
    gpu_percent: int | None
    gpu_mhz: int | None
    temperature_c: float | None


def samples(text: str) -> tuple[Sample, ...]:
    """Every line that tells anything."""
    found = (_sample(line) for line in text.splitlines())
    return tuple(each for each in found if each != Sample(None, None, None, None))


def busy(found: Sequence[Sample]) -> tuple[Sample, ...]:
    """Those in which the GPU worked."""
    return tuple(each for each in found if (each.gpu_percent or 0) >= _BUSY_PERCENT)


def power_w(found: Sequence[Sample]) -> float | None:
    """Mean power of the module in watts while the GPU was busy; None where the board does not tell.

    While an engine is loaded, and after its last call, the GPU rests: those lines do not count.
    """
    powers = [each.power_mw for each in busy(found) if each.power_mw is not None]
    return fmean(powers) / 1e3 if powers else None


def throttled(found: Sequence[Sample]) -> str | None:
    """A sentence where the GPU's clock was taken back while it was busy; None otherwise."""
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


def _sample(line: str) -> Sample:
    rails = {name: int(now) for name, now in _RAIL.findall(line)}
    whole = next((rails[name] for name in _WHOLE if name in rails), None)
    gpu = _GPU.search(line)
    zones = [float(each) for each in _ZONE.findall(line)]
    return Sample(
        power_mw=whole if whole is not None else (sum(rails.values()) or None),
        gpu_percent=int(gpu[1]) if gpu else None,
        gpu_mhz=int(gpu[2]) if gpu and gpu[2] else None,
        temperature_c=max((each for each in zones if -40 < each < 150), default=None),
    )
