"""Latency of a network on hardware that is not at hand, estimated layer by layer.

A layer cannot run faster than its arithmetic at the processor's peak, nor than its bytes at the memory's
bandwidth: the roofline of Williams, Waterman and Patterson (Communications of the ACM 52(4), 2009). Real kernels
reach a fraction of either, and launching one costs a fixed time:

    latency = Σ over layers of  max(2 · MACs / (peak · efficiency), bytes / (bandwidth · efficiency)) + launch

The efficiencies are one number per class of operators. They were chosen by hand on 61 published TensorRT latencies
of NVIDIA GPUs (ResNet-18/34/50, SSD-MobileNet, BERT-large, ViT-B/16, YOLOv8n; Jetson Xavier NX to H100; batch 1
to 2048; fp32, fp16, int8). On those very points the estimate is off by a factor of 1.20 in the median and 1.59 for
nine in ten; 59 of 61 are within a factor of 2, which is the stated interval. The worst are ViT-B/16 on a T4 at
batch 1 (0.42 of the measured latency) and BERT-large on an L40S at batch 1 (2.1). Examples, estimate over
measured: ResNet-50 int8 at batch 1 on a T4 0.77, an A100 0.8, a Jetson AGX Orin 1.2; at batch 2048 on an A100
1.4; YOLOv8n on a Jetson Orin Nano Super 0.56 (int8) to 0.69 (fp16). The launch overheads of some targets come
from points among these, so none of this is a validation. Recurrent layers and processors other than NVIDIA's GPUs
were not compared with anything; for the latter the interval is a factor of 3. Until both are fitted, on points
kept apart for the purpose, the interval and its level of 0.8 are a judgement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from compress.errors import TargetError
from compress.onnx_graph.layers import Layer
from compress.onnx_graph.operators import Kind
from compress.target import PEAK_OF, Target

Bound = Literal["compute", "memory", "launch"]

#: Fraction of the peak rate that layers of each class reach. Other classes have no MACs.
EFFICIENCY: Mapping[Kind, float] = {
    "convolution": 0.45,
    "depthwise convolution": 0.05,
    "matrix multiplication": 0.6,
    "recurrence": 0.1,
}

#: Fraction of the memory's bandwidth that is reached.
BANDWIDTH_EFFICIENCY = 0.8

#: The interval: the latency within this factor either way, for TensorRT and for other back ends, …
INTERVAL_FACTOR_TENSORRT, INTERVAL_FACTOR_OTHER = 2.0, 3.0

#: … and the fraction of networks that are expected to be inside.
INTERVAL_LEVEL = 0.8

#: Where a target lacks a precision, the layer runs in the next wider one.
_WIDER = {"fp4": "fp8", "fp8": "fp16", "int4": "int8", "int8": "fp16", "fp16": "fp32", "bf16": "fp32"}


@dataclass(frozen=True)
class LayerEstimate:
    """One layer's share.

    Attributes:
        layer: What runs.
        precision: In which it is taken to run: the layer's, or the next wider one that the target has.
        compute_ms: Of its arithmetic, milliseconds.
        memory_ms: Of its bytes, milliseconds.
        launch_ms: Of launching it, milliseconds.
    """

    layer: Layer
    precision: str
    compute_ms: float
    memory_ms: float
    launch_ms: float

    @property
    def ms(self) -> float:
        """Arithmetic and memory traffic overlap; the launch does not."""
        return max(self.compute_ms, self.memory_ms) + self.launch_ms

    @property
    def bound(self) -> Bound:
        """What takes longest: reducing anything else gains little."""
        times: dict[Bound, float] = {
            "compute": self.compute_ms,
            "memory": self.memory_ms,
            "launch": self.launch_ms,
        }
        return max(times, key=times.__getitem__)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "name": self.layer.name,
            "operator": self.layer.label,
            "kind": self.layer.kind,
            "outputs": [list(shape) for shape in self.layer.outputs],
            "precision": self.precision,
            "parameters": self.layer.parameters,
            "macs": self.layer.macs,
            "bytes": self.layer.bytes,
            "ms": self.ms,
            "bound": self.bound,
            "source": "estimated",
        }


@dataclass(frozen=True)
class Estimate:
    """A network's latency as the roofline estimates it; never a measurement.

    Attributes:
        target: Name of the target.
        batch: Samples that run together.
        layers: Share of each layer, in order.
        interval_factor: The latency is expected within this factor either way.
        level: Fraction of networks expected inside that interval.
        source: Always ``estimated``.
    """

    target: str
    batch: int
    layers: tuple[LayerEstimate, ...]
    interval_factor: float
    level: float = INTERVAL_LEVEL
    source: Literal["estimated"] = field(default="estimated", init=False)

    @property
    def total_ms(self) -> float:
        """Latency of one batch, milliseconds."""
        return sum(share.ms for share in self.layers)

    @property
    def low_ms(self) -> float:
        """Lower end of the interval, milliseconds."""
        return self.total_ms / self.interval_factor

    @property
    def high_ms(self) -> float:
        """Upper end of the interval, milliseconds."""
        return self.total_ms * self.interval_factor

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
        """As JSON holds it, without the layers."""
        return {
            "source": self.source,
            "target": self.target,
            "batch": self.batch,
            "latency_ms": self.total_ms,
            "interval_ms": [self.low_ms, self.high_ms],
            "interval_level": self.level,
            "interval_basis": "a judgement, not a fit: see compress.profiling.roofline",
            "ms_by_bound": self.ms_by_bound(),
            "uncounted": list(self.uncounted),
        }


def estimate(layers: Iterable[Layer], target: Target, batch: int) -> Estimate:
    """Estimate the latency of a network on a target.

    Args:
        layers: As :func:`compress.onnx_graph.layers.layers` reads them at this batch size.
        target: Where they would run.
        batch: Samples that run together.

    Raises:
        TargetError: The target has no bandwidth or no peak rate.
    """
    if target.bandwidth_gb_s <= 0 or target.peaks.fp32_tflops <= 0:
        raise TargetError(
            f"bandwidth and peak rates of {target.name}",
            f"{target.bandwidth_gb_s:g} GB/s and {target.peaks.fp32_tflops:g} TFLOPS",
            "give a target that has them (`compress targets`)",
        )
    shares = tuple(_share(layer, target) for layer in layers)
    factor = INTERVAL_FACTOR_TENSORRT if target.backend == "tensorrt" else INTERVAL_FACTOR_OTHER
    return Estimate(target.name, batch, shares, factor)


def _share(layer: Layer, target: Target) -> LayerEstimate:
    precision, tera_per_second = peak(layer.precision, target)
    operations = 2 * layer.macs
    return LayerEstimate(
        layer,
        precision,
        compute_ms=operations / (tera_per_second * EFFICIENCY.get(layer.kind, 1.0)) / 1e9,
        memory_ms=layer.bytes / (target.bandwidth_gb_s * BANDWIDTH_EFFICIENCY) / 1e6,
        launch_ms=target.launch_overhead_us * layer.steps / 1e3,
    )


def peak(precision: str, target: Target) -> tuple[str, float]:
    """The precision in which the target would run it, and its rate there in 10¹² operations per second."""
    while precision in _WIDER:
        rate = target.peaks.at(precision) if precision in PEAK_OF else None
        if rate:
            return precision, rate
        precision = _WIDER[precision]
    # TensorRT multiplies fp32 matrices in TF32 where the GPU has it: from Ampere on, as bf16 and at half its rate.
    tf32 = (target.peaks.bf16_tflops or 0.0) / 2 if target.backend == "tensorrt" else 0.0
    return "fp32", max(target.peaks.fp32_tflops, tf32)
