"""Fusion coverage from a runtime that lists the executed layers, each with its ONNX nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from compress.errors import NetworkError
from compress.onnx_graph.layers import layers
from compress.records.coverage import Coverage

_INT8 = frozenset({"i8", "u8"})
_COMPUTE = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNSeq", "RNNCell"})
#: Arithmetic that costs little; what is in neither set only moves values or computes with shapes.
_CHEAP = frozenset(
    {
        "Eltwise",
        "Interpolate",
        "Math",
        "MVN",
        "NormalizeL2",
        "Pooling",
        "Reduce",
        "RMS",
        "Softmax",
        "Subgraph",
    }
)


@dataclass(frozen=True)
class ExecutedLayer:
    """A layer as the runtime executes it.

    Attributes:
        kind: Kind of layer, in the runtime's words ("Convolution").
        precision: Precision it computes in ("u8", "f32").
        names: Names of the ONNX nodes that were fused into it.
    """

    kind: str
    precision: str
    names: tuple[str, ...]


def executed_coverage(executed: Sequence[ExecutedLayer], model: onnx.ModelProto) -> Coverage:
    """Count the layers that run in int8.

    Args:
        executed: All layers that the runtime executes.
        model: Model that it was given; multiply-accumulates are found by the names of its nodes.
    """
    macs = _multiply_accumulates(model)
    quantizing = {node.name for node in model.graph.node if node.op_type == "QuantizeLinear"}
    counts: dict[str, Counter[str]] = {what: Counter() for what in ("int8", "compute", "cheap", "pair")}
    in_int8 = 0
    for layer in executed:
        # What a runtime splits off a node carries the node's name and a path behind it.
        names = {name.split("/")[0] for name in layer.names if name}
        held = sum((macs or {}).get(name, 0) for name in names)
        computes = layer.kind in _COMPUTE or (layer.kind == "Subgraph" and held > 0)
        if layer.kind == "FakeQuantize" or (names and names <= quantizing):
            counts["pair"][layer.kind] += 1
        elif layer.precision in _INT8 and (computes or layer.kind in _CHEAP):
            counts["int8"][layer.kind] += 1
            in_int8 += held
        elif computes or layer.kind in _CHEAP:
            counts["compute" if computes else "cheap"][layer.kind] += 1
    total = sum((macs or {}).values())
    return Coverage(
        int8=dict(sorted(counts["int8"].items())),
        float_compute=dict(sorted(counts["compute"].items())),
        float_cheap=dict(sorted(counts["cheap"].items())),
        quantize=counts["pair"].total(),
        dequantize=0,  # a multiplication, fused into the layer before it or counted among the cheap ones
        int8_mac_share=in_int8 / total if total else None,
    )


def _multiply_accumulates(model: onnx.ModelProto) -> dict[str, int] | None:
    """Return multiply-accumulates at batch 1 by the node's name; None where an axis other than the batch is open."""
    try:
        return {layer.name: layer.macs for layer in layers(model) if layer.macs}
    except NetworkError:
        return None
