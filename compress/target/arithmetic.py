"""The arithmetic of a target: the rate of each precision, and its back end's form of int8."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peaks:
    """Dense peak rates, 10¹² operations per second; a multiply-add is two. None: no such arithmetic.

    Attributes:
        int8_dla_tops: Rate in int8 of all deep learning accelerators beside the GPU together.
    """

    fp32_tflops: float
    fp16_tflops: float | None = None
    bf16_tflops: float | None = None
    int8_tops: float | None = None
    fp8_tflops: float | None = None
    fp4_tflops: float | None = None
    int8_dla_tops: float | None = None

    def at(self, precision: str) -> float | None:
        """Return the rate in ``fp32``, ``fp16``, ``bf16``, ``int8``, ``fp8`` or ``fp4``."""
        rate: float | None = getattr(self, PEAK_OF[precision])
        return rate


#: Which peak each precision computes at.
PEAK_OF = {
    "fp32": "fp32_tflops",
    "fp16": "fp16_tflops",
    "bf16": "bf16_tflops",
    "int8": "int8_tops",
    "fp8": "fp8_tflops",
    "fp4": "fp4_tflops",
}


@dataclass(frozen=True)
class QuantizationFlavour:
    """Form of int8 Q/DQ that the target's back end needs.

    Attributes:
        activation: Data type of activations: ``uint8`` or ``int8``.
        weight: Data type of weights: ``int8``.
        symmetric: Whether activations have zero point 0. Weights always do.
        per_channel: Whether weights have a scale per output channel.
        reduce_range: Whether weights use seven bits, where the processor's multiply-add would saturate.
        quantize_bias: Whether the bias is int32 behind DequantizeLinear; TensorRT takes float bias only.
    """

    activation: str
    weight: str
    symmetric: bool
    per_channel: bool
    reduce_range: bool
    quantize_bias: bool


#: TensorRT parses no other: "Working with Quantized Types" in its developer guide.
TENSORRT_FLAVOUR = QuantizationFlavour(
    activation="int8",
    weight="int8",
    symmetric=True,
    per_channel=True,
    reduce_range=False,
    quantize_bias=False,
)
