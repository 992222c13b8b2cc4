"""Latency of a network on hardware that is not at hand, estimated layer by layer.

A layer cannot run faster than its arithmetic at the processor's peak, nor than its bytes at the memory's
bandwidth: the roofline of Williams, Waterman and Patterson (Communications of the ACM 52(4), 2009). Real kernels
reach a fraction of either, and launching one costs a fixed time:

    latency = time factor · Σ over layers of
              max(2 · MACs / (peak · efficiency), bytes / (bandwidth · efficiency)) + launch

For NVIDIA's GPUs under TensorRT the efficiencies of each class of operators and precision, the launch of each GPU
generation and the factor of each device were fitted on published latencies, and the interval comes from networks and
devices that were left out of the fit (:mod:`compress.profiling.efficiency`). Recurrent layers were not among them.
For other processors the figures are a judgement, the interval is a factor of 3, and ``basis`` says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from compress.errors import TargetError
from compress.onnx_graph.layers import Layer
from compress.profiling.efficiency import Efficiency, efficiency
from compress.records.layer_time import Bound, LayerTime
from compress.target.target import PEAK_OF, Target

#: Where a target lacks a precision, the layer runs in the next wider one.
_WIDER = {"fp4": "fp8", "fp8": "fp16", "int4": "int8", "int8": "fp16", "fp16": "fp32", "bf16": "fp32"}


@dataclass(frozen=True)
class LayerEstimate:
    """Estimate of one layer.

    Attributes:
        layer: The layer.
        precision: Assumed precision: the layer's, or the next wider one that the target has.
        compute_ms: Time of its arithmetic, in milliseconds.
        memory_ms: Time to read and write its bytes, in milliseconds.
        launch_ms: Time to launch it, in milliseconds.
    """

    layer: Layer
    precision: str
    compute_ms: float
    memory_ms: float
    launch_ms: float

    @property
    def ms(self) -> float:
        """Estimated time in milliseconds; arithmetic and memory traffic overlap, the launch does not."""
        return max(self.compute_ms, self.memory_ms) + self.launch_ms

    @property
    def bound(self) -> Bound:
        """Part that takes longest; reducing another one gains little."""
        times: dict[Bound, float] = {
            "compute": self.compute_ms,
            "memory": self.memory_ms,
            "launch": self.launch_ms,
        }
        return max(times, key=times.__getitem__)

    def record(self) -> LayerTime:
        """Return the layer's time as profiles record it."""
        return LayerTime(
            name=self.layer.name,
            operator=self.layer.label,
            ms=self.ms,
            source="estimated",
            precision=self.precision,
            kind=self.layer.kind,
            outputs=self.layer.outputs,
            parameters=self.layer.parameters,
            macs=self.layer.macs,
            bytes=self.layer.bytes,
            bound=self.bound,
        )


@dataclass(frozen=True)
class Estimate:
    """A network's latency as the roofline estimates it; never a measurement.

    Attributes:
        target: Name of the target.
        batch: Number of samples that run together.
        layers: Estimate of each layer, in order.
        interval: Factors of the estimate between which the latency is expected.
        level: Fraction of networks expected inside that interval.
        basis: Source of the interval, as a sentence.
        source: Always ``estimated``.
    """

    target: str
    batch: int
    layers: tuple[LayerEstimate, ...]
    interval: tuple[float, float]
    level: float
    basis: str
    source: Literal["estimated"] = field(default="estimated", init=False)

    @property
    def total_ms(self) -> float:
        """Latency of one batch, in milliseconds."""
        return sum(share.ms for share in self.layers)

    @property
    def low_ms(self) -> float:
        """Lower end of the interval of counted layers, in milliseconds."""
        return self.total_ms * self.interval[0]

    @property
    def high_ms(self) -> float:
        """Upper end of the interval of counted layers, in milliseconds."""
        return self.total_ms * self.interval[1]

    @property
    def interval_ms(self) -> tuple[float, float] | None:
        """Interval of the expected latency, in milliseconds; None where layers of unknown cost are left out."""
        return None if self.uncounted else (self.low_ms, self.high_ms)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Operators whose cost is unknown and not in the latency."""
        return tuple(sorted({share.layer.op for share in self.layers if not share.layer.counted}))

    def ms_by_bound(self) -> dict[Bound, float]:
        """Milliseconds spent in layers of each bound; they add up to the latency."""
        spent: dict[Bound, float] = {"compute": 0.0, "memory": 0.0, "launch": 0.0}
        for share in self.layers:
            spent[share.bound] += share.ms
        return spent

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold, without the layers."""
        return {
            "source": self.source,
            "target": self.target,
            "batch": self.batch,
            "latency_ms": self.total_ms,
            "interval_ms": None if self.interval_ms is None else list(self.interval_ms),
            "interval_level": self.level,
            "interval_basis": self.basis,
            "ms_by_bound": self.ms_by_bound(),
            "uncounted": list(self.uncounted),
        }


def estimate(layers: Iterable[Layer], target: Target, batch: int) -> Estimate:
    """Estimate the latency of a network on a target.

    Args:
        layers: Layers that :func:`compress.onnx_graph.layers.layers` reads at this batch size.
        target: Target that would run them.
        batch: Number of samples that run together.

    Raises:
        TargetError: The target has no bandwidth or no peak rate.
    """
    if target.bandwidth_gb_s <= 0 or target.peaks.fp32_tflops <= 0:
        raise TargetError(
            f"bandwidth and peak rates of {target.name}",
            f"{target.bandwidth_gb_s:g} GB/s and {target.peaks.fp32_tflops:g} TFLOPS",
            "give a target that has them (`compress targets`)",
        )
    reached = efficiency(target)
    shares = tuple(_share(layer, target, reached) for layer in layers)
    return Estimate(target.name, batch, shares, reached.interval, reached.level, reached.basis)


def _share(layer: Layer, target: Target, reached: Efficiency) -> LayerEstimate:
    precision, tera_per_second = peak(layer.precision, target)
    compute = 2 * layer.macs / (tera_per_second * reached.of_peak(layer.kind, precision)) / 1e9
    memory = layer.bytes / (target.bandwidth_gb_s * reached.of_bandwidth(layer.kind)) / 1e6
    return LayerEstimate(
        layer,
        precision,
        compute_ms=compute * reached.time_factor,
        memory_ms=memory * reached.time_factor,
        launch_ms=reached.launch_us * layer.steps / 1e3 * reached.time_factor,
    )


def peak(precision: str, target: Target) -> tuple[str, float]:
    """Return the precision in which the target would run a layer, and its rate there in 10¹² operations per second."""
    while precision in _WIDER:
        rate = target.peaks.at(precision) if precision in PEAK_OF else None
        if rate:
            return precision, rate
        precision = _WIDER[precision]
    # TensorRT multiplies fp32 matrices in TF32 where the GPU has it: from Ampere on, as bf16 and at half its rate.
    tf32 = (target.peaks.bf16_tflops or 0.0) / 2 if target.backend == "tensorrt" else 0.0
    return "fp32", max(target.peaks.fp32_tflops, tf32)
