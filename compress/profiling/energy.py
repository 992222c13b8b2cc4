"""Energy of a call by the counter of the processor (RAPL) or GPU that runs it.

Linux shows the counters below ``/sys/class/powercap``: a directory per zone, with ``energy_uj`` that counts
microjoules and starts again at ``max_energy_range_uj`` (https://docs.kernel.org/power/powercap/powercap.html).
A processor's package is a zone at the top, ``intel-rapl:0`` on Intel and AMD alike; the zones inside it are
parts of it and are not added again. The counter takes in all that the package does, whatever else runs on it
and what it draws when idle. Since a kernel of 2020 (CVE-2020-8694) only root may read it unless the
administrator allowed more. A GPU's counter is :mod:`compress.profiling.nvml`'s.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from compress.records.profile import Interval
from compress.statistics.quantiles import quantile_interval

#: Where the kernel shows its counters.
POWERCAP = Path("/sys/class/powercap")

#: At the top, and not inside another zone; ``intel-rapl-mmio`` shows the same packages a second time.
_PACKAGE = re.compile(r"intel-rapl:\d+")

#: The counter moves about every millisecond: over so many of its steps, the last one does not matter.
_LEAST_SECONDS = 0.5

#: Runs of calls whose median is the energy of a call: the fewest that bound a median on both sides.
_RUNS = 5

#: Confidence level of the energy's interval: its upper bound alone is a 95 % one.
_LEVEL = 0.9


@dataclass(frozen=True)
class Energy:
    """Energy of one call, made again and again without a pause.

    Attributes:
        call_mj: Energy of a call, in millijoules.
        interval: Confidence interval of it, in millijoules; None where too few runs bound it.
        power_w: Mean power meanwhile, in watts.
    """

    call_mj: float
    interval: Interval | None
    power_w: float


def interval_of(runs_mj: Sequence[float]) -> Interval | None:
    """Return the interval of the median of several runs' energies, in millijoules; None for too few runs."""
    bounds = quantile_interval(np.array(runs_mj), 0.5, _LEVEL)
    return None if bounds is None else Interval(bounds.lower, bounds.upper, _LEVEL)


class Counter(Protocol):
    """Counter of energy, whichever program spends it."""

    def read(self) -> int:
        """Return the microjoules counted so far.

        Raises:
            OSError: The counter cannot be read any more.
            ValueError: The counter holds no number.
        """

    def spent(self, before: int, after: int) -> int:
        """Return the microjoules between two readings."""


@dataclass(frozen=True)
class Zone:
    """A counter of one package.

    Attributes:
        path: Directory of the zone.
        range_uj: Value at which it starts again from 0, in microjoules.
    """

    path: Path
    range_uj: int

    def read(self) -> int:
        """Return the microjoules counted so far.

        Raises:
            OSError: The counter cannot be read any more.
            ValueError: The counter holds no number.
        """
        return int((self.path / "energy_uj").read_text())

    def spent(self, before: int, after: int) -> int:
        """Return the microjoules between two readings less than one turn of the counter apart."""
        return after - before if after >= before else after - before + self.range_uj


def zones(root: Path = POWERCAP) -> tuple[Zone, ...]:
    """Return the packages whose counters can be read here; empty where none can.

    Args:
        root: Directory of the zones.
    """
    readable_zones = []
    for path in sorted(root.glob("intel-rapl:*")):
        if not _PACKAGE.fullmatch(path.name) or not _text(path / "name").startswith("package"):
            continue
        limit = _text(path / "max_energy_range_uj")
        if limit.isdigit() and _text(path / "energy_uj").isdigit():
            readable_zones.append(Zone(path, int(limit)))
    return tuple(readable_zones)


def counters(provider: str | None = None) -> tuple[Counter, ...]:
    """Return the counters of the hardware that runs a session; empty where none can be read.

    Args:
        provider: ONNX Runtime's execution provider; None, and any without an NVIDIA GPU, means the processor.
    """
    from compress.backends.providers import on_nvidia_gpu

    if not on_nvidia_gpu(provider):
        return zones(POWERCAP)
    from compress.profiling.nvml import gpu_counter

    counter = gpu_counter()
    return () if counter is None else (counter,)


def energy_mj(
    call: Callable[[], object], seconds: float = _LEAST_SECONDS, counted: Sequence[Counter] | None = None
) -> float | None:
    """Measure the energy of one call, over all counters together.

    Args:
        call: Function that makes one call; it is called repeatedly, and must be warmed up already.
        seconds: Shortest duration, in seconds.
        counted: Counters to read; None for the processor's packages.

    Returns:
        Millijoules, or None where no counter can be read, or one became unreadable meanwhile.
    """
    run = _run(call, seconds, counters() if counted is None else counted)
    return None if run is None else run[0]


def energy_of(
    call: Callable[[], object], counted: Sequence[Counter], seconds: float = _LEAST_SECONDS
) -> Energy | None:
    """Measure the energy of one call over several runs, after one that warms up.

    Args:
        call: Function that makes one call; it is called repeatedly.
        counted: Counters to read, together.
        seconds: Shortest duration of each run, in seconds.

    Returns:
        The energy; None where no counter can be read, or one became unreadable meanwhile.
    """
    _run(call, seconds, counted)
    runs = [run for _ in range(_RUNS if counted else 0) if (run := _run(call, seconds, counted)) is not None]
    if len(runs) < _RUNS:
        return None
    energies, powers = zip(*runs, strict=True)
    return Energy(float(np.median(energies)), interval_of(energies), float(np.mean(powers)))


def _run(
    call: Callable[[], object], seconds: float, counted: Sequence[Counter]
) -> tuple[float, float] | None:
    """Return the millijoules of a call and the mean watts of one run; None where they cannot be counted."""
    if not counted:
        return None
    try:
        before = [counter.read() for counter in counted]
        start = time.perf_counter()
        calls = 0
        while not calls or time.perf_counter() < start + seconds:
            call()
            calls += 1
        spent = sum(
            counter.spent(first, counter.read()) for counter, first in zip(counted, before, strict=True)
        )
    except (OSError, ValueError):
        return None
    took = time.perf_counter() - start
    return (spent / 1e3 / calls, spent / 1e6 / took) if spent else None


def _text(path: Path) -> str:
    """Return a file's text, empty where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
