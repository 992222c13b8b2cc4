"""Nodes that float16 would break: their values lie outside its normal numbers, 2⁻¹⁴ to 65,504.

Beyond 65,504 a value becomes infinity. A tensor whose every value is below 2⁻¹⁴ keeps a few bits of them, or none on
hardware that flushes subnormal numbers to zero: a layer norm's epsilon vanishes so, and the scale of small weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.errors import DataError
from compress.onnx_graph.graph import Graph
from compress.quantization.calibration import watch

LARGEST = 65504.0
SMALLEST = 2.0**-14

#: Activations may grow this much beyond what the calibration samples show.
HEADROOM = 2.0

_SCALED = ("QuantizeLinear", "DequantizeLinear")


def outside_float16(model: onnx.ModelProto, batches: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, str]:
    """Return the nodes to keep in float32, with reasons.

    Infinities are left alone, float16 has them too: they mask attention.

    Args:
        model: Model with inferred types, whose nodes have unique names.
        batches: Batches of samples; see :func:`compress.quantization.calibration.watch`.

    Returns:
        Reason for each node, by its name.

    Raises:
        DataError: There is no batch, one does not fit, or an activation is NaN.
    """
    graph = Graph(model)
    reached = _largest_magnitudes(graph, batches)
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        for index, name in enumerate(node.input):
            constant = graph.constant(name) if name and graph.is_float32(name) else None
            if constant is not None and constant.size:
                is_scale = node.op_type in _SCALED and index == 1
                reason = _why_outside(f"its constant '{name}'", *_bounds(constant, is_scale))
                if reason:
                    reasons.setdefault(node.name, reason)
        for name in (*node.input, *node.output):
            if name in reached:
                reason = _why_outside(f"tensor '{name}'", reached[name], HEADROOM * reached[name])
                if reason:
                    reasons.setdefault(node.name, reason)
    return reasons


def _largest_magnitudes(graph: Graph, batches: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, float]:
    names = [name for node in graph.nodes for name in node.output if name and graph.is_float32(name)]
    names += [name for name in graph.inputs if graph.is_float32(name)]
    reached = dict.fromkeys(names, 0.0)
    for _, seen in watch(graph.model, names, batches):
        for name in names:
            values = seen[name]
            if np.isnan(values).any():
                raise DataError(
                    "activations without NaN",
                    f"NaN in tensor {name!r}",
                    "look for it in the samples and in the network's weights",
                )
            reached[name] = max(reached[name], _bounds(values, False)[1])
            del values
        del seen  # or the next batch's activations would be made while these are still held
    return reached


def _bounds(values: NDArray[Any], smallest_counts: bool) -> tuple[float, float]:
    """Return the magnitude that must not vanish, and the largest one, of finite values; 0 where there are none."""
    magnitude = np.abs(values[np.isfinite(values) & (values != 0)])
    if not magnitude.size:
        return 0.0, 0.0
    largest = float(magnitude.max())
    return float(magnitude.min()) if smallest_counts else largest, largest


def _why_outside(what: str, small: float, large: float) -> str | None:
    if large > LARGEST:
        return f"{what} reaches {large:.3g}, and float16 ends at 65504"
    if 0 < small < SMALLEST:
        return f"{what} is as small as {small:.3g}, where float16 has few bits left"
    return None
