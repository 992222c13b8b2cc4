"""Rounding to groups by ONNX Runtime's own kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress.quantization.weights.grouped import GroupedWeight
from compress.quantization.weights.packing import unpacked
from compress.quantization.weights.settings import Settings


def round_blocks(weight: NDArray[np.float32], settings: Settings) -> GroupedWeight:
    """Round by the kernels behind ``MatMulNBitsQuantizer``.

    Args:
        weight: Weight, float32 [outputs, inputs].
        settings: Settings with bits, group size and symmetry.
    """
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        DefaultWeightOnlyQuantizer,
    )

    quantizer = DefaultWeightOnlyQuantizer(
        DefaultWeightOnlyQuantConfig(
            block_size=settings.group_size, is_symmetric=settings.symmetric, bits=settings.bits
        )
    )
    packed, scales, zero_points = quantizer.qbits_block_quant(np.ascontiguousarray(weight.T))
    outputs, groups = packed.shape[:2]
    zero_points = zero_points.reshape(outputs, -1)  # releases before 1.23 give one long row
    return GroupedWeight(
        integers=unpacked(packed, settings.bits, settings.group_size),
        scales=scales.reshape(outputs, groups),
        zero_points=None if settings.symmetric else unpacked(zero_points, settings.bits, groups),
        input_scales=None,
        inputs=weight.shape[1],
        bits=settings.bits,
    )
