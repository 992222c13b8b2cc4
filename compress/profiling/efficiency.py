"""Shares of its peak rates that a processor reaches, fitted on published latencies (``efficiency.toml``).

``benchmarks/studies/fit_estimator.py`` fits the figures on measured TensorRT latencies of NVIDIA GPUs and writes how
far off they are on networks and devices that they were not fitted to. Nothing of the kind is published for the other
processors: there the figures and the interval are a judgement, and say so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from compress.errors import CompressError
from compress.target.target import Target, load_target

if TYPE_CHECKING:
    from compress.onnx_graph.operators import Kind

#: Classes of operators that share an efficiency.
KINDS: Mapping[Kind, str] = {
    "convolution": "convolution",
    "depthwise convolution": "depthwise convolution",
    "matrix multiplication": "matrix multiplication",
    "recurrence": "recurrence",
    "elementwise": "memory bound",
    "reduction": "memory bound",
    "data movement": "data movement",
    "unknown": "memory bound",
}

#: Precisions with an efficiency of their own.
PRECISIONS = ("fp32", "fp16", "int8")

#: Whose efficiency the others have: tensor cores of one width work alike.
_LIKE = {"bf16": "fp16", "fp8": "int8", "fp4": "int8"}

#: Judged by hand: where the fit starts, and what holds where nothing was published. Launches in milliseconds.
PRIOR: Mapping[str, float] = {
    "convolution": 0.45,
    "depthwise convolution": 0.05,
    "matrix multiplication": 0.6,
    "recurrence": 0.1,
    "bandwidth": 0.8,
    "launch": 0.006,
}

#: Interval and its level where nothing was compared with a measurement.
_JUDGED_INTERVAL, _JUDGED_LEVEL = (1 / 3, 3.0), 0.8


@dataclass(frozen=True)
class Efficiency:
    """Efficiency of a target's layers relative to its peak rates.

    Attributes:
        compute: Share of the peak rate, by class of operators and precision. Convolutions may pass 1: Winograd's
            algorithm needs fewer operations than are counted.
        bandwidth: Share of the memory's bandwidth, by class of operators. It exceeds 1 where a cache keeps the data.
        launch_us: Smallest time of one layer, in microseconds.
        time_factor: Factor of the device's times over those computed from its rates.
        interval: Factors of the estimate between which the latency is expected.
        level: Share of networks expected inside the interval, in (0, 1).
        basis: Source of the interval, as a sentence.
    """

    compute: Mapping[str, Mapping[str, float]]
    bandwidth: Mapping[str, float]
    launch_us: float
    time_factor: float
    interval: tuple[float, float]
    level: float
    basis: str

    def of_peak(self, kind: Kind, precision: str) -> float:
        """Return the share of the peak rate, > 0; 1 for layers without MACs."""
        name = KINDS[kind]
        precision = _LIKE.get(precision, precision)
        return self.compute.get(name, {}).get(precision, PRIOR.get(name, 1.0))

    def of_bandwidth(self, kind: Kind) -> float:
        """Return the share of the memory's bandwidth, > 0."""
        return self.bandwidth.get(KINDS[kind], PRIOR["bandwidth"])


def efficiency(target: Target) -> Efficiency:
    """Return the efficiency fitted for the target, or a judgement where nothing was published."""
    fitted = _fitted()
    if target.backend != "tensorrt" or target.family not in fitted["validation"]:
        basis = "a judgement: no published latencies of this kind of processor were compared"
        return Efficiency({}, {}, target.launch_overhead_us, 1.0, _JUDGED_INTERVAL, _JUDGED_LEVEL, basis)
    interval = fitted["interval"]
    measured = target.name in fitted["time_factor"]
    low, high = interval["measured" if measured else "unmeasured"]
    held_out = "an architecture" if measured else "an architecture and a device"
    return Efficiency(
        compute=fitted["compute"],
        bandwidth=fitted["bandwidth"],
        launch_us=fitted["launch_us"].get(target.compute_capability, target.launch_overhead_us),
        time_factor=fitted["time_factor"].get(target.name, 1.0),
        interval=(low, high),
        level=interval["level"],
        basis=f"{fitted['points']} published latencies of NVIDIA GPUs, each of {held_out} that was not fitted to",
    )


def pair_interval(target: str, precision: str, over: str) -> tuple[float, float] | None:
    """Return the factors on the estimated ratio of two builds between which the measured one is expected.

    What is wrong in both estimates alike, such as the device's clock, cancels out: the interval is of published pairs
    of builds of an architecture that was not fitted to.

    Args:
        target: Name of the target of both builds.
        precision: Precision of the build whose time is the numerator: ``fp32``, ``fp16``, ``int8``, …
        over: Precision of the other one.

    Returns:
        Lower and upper factor; None where no such pair was published of such a target.
    """
    fitted = _fitted()
    first, second = (_LIKE.get(name, name) for name in (precision, over))
    if not _is_validated(target) or not {first, second} <= set(PRECISIONS):
        return None
    table = fitted["ratio"]
    if first == second or f"{first}/{second}" in table:
        low, high = table["same" if first == second else f"{first}/{second}"]["interval"]
        return low, high
    low, high = table[f"{second}/{first}"]["interval"]
    return 1 / high, 1 / low


@cache
def _is_validated(name: str) -> bool:
    """Whether a target is of a family whose latencies were published; a target of the user's own is of none."""
    try:
        target = load_target(name)
    except CompressError:
        return False
    return target.backend == "tensorrt" and target.family in _fitted()["validation"]


@cache
def _fitted() -> dict[str, Any]:
    return tomllib.loads((files("compress.profiling") / "efficiency.toml").read_text(encoding="utf-8"))
