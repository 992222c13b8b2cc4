"""A network as the layers an engine runs: shapes, precision, parameters, MACs and bytes of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from compress.onnx_graph.fusion import Group, Storage, group_nodes, storages
from compress.onnx_graph.graph import attribute, tensors_read
from compress.onnx_graph.macs import Shape
from compress.onnx_graph.operators import (
    Kind,
    is_known,
    macs,
    operator_of,
    steps,
)
from compress.onnx_graph.shapes import ShapedGraph, shaped

#: Name and width in bits of each element type; narrow types are packed.
_TYPES: Mapping[int, tuple[str, int]] = {
    TensorProto.FLOAT: ("fp32", 32),
    TensorProto.DOUBLE: ("fp64", 64),
    TensorProto.FLOAT16: ("fp16", 16),
    TensorProto.BFLOAT16: ("bf16", 16),
    TensorProto.FLOAT8E4M3FN: ("fp8", 8),
    TensorProto.FLOAT8E4M3FNUZ: ("fp8", 8),
    TensorProto.FLOAT8E5M2: ("fp8", 8),
    TensorProto.FLOAT8E5M2FNUZ: ("fp8", 8),
    TensorProto.FLOAT4E2M1: ("fp4", 4),
    TensorProto.INT8: ("int8", 8),
    TensorProto.UINT8: ("int8", 8),
    TensorProto.INT4: ("int4", 4),
    TensorProto.UINT4: ("int4", 4),
    TensorProto.INT16: ("int16", 16),
    TensorProto.UINT16: ("int16", 16),
    TensorProto.INT32: ("int32", 32),
    TensorProto.UINT32: ("int32", 32),
    TensorProto.INT64: ("int64", 64),
    TensorProto.UINT64: ("int64", 64),
    TensorProto.BOOL: ("bool", 8),
}

#: Indices and sizes: never learned, and negligible to read.
_INDEX_TYPES = frozenset({TensorProto.INT64, TensorProto.BOOL})


@dataclass(frozen=True)
class Layer:
    """Operators that an engine runs as one layer, and the cost of one run.

    Attributes:
        name: Name of its first node, or of its first output where the node has none.
        op: Operator that the layer is built around.
        kind: Class of operators it belongs to.
        fused: Operators absorbed into it, in graph order; the DequantizeLinear of its inputs first.
        inputs: Shapes of the tensors it reads at run time, batch included.
        outputs: Shapes of the tensors it writes.
        precision: Precision in which it computes: ``fp32``, ``fp16``, ``bf16``, ``int8``, ``fp8``, …
        parameters: Number of learned values. A tensor that several layers share counts at the first of them.
        weight_bytes: Size of the constants it reads, in bytes as stored.
        activation_bytes: Size of the activations it reads and writes, in bytes as stored.
        macs: Multiply-accumulate operations.
        steps: Number of sequential runs: the time steps of a recurrence, otherwise 1.
        counted: Whether the cost is known; where the operator, or a shape that depends on data, is unknown, ``macs`` is
            0 and the bytes are of the known tensors only.
    """

    name: str
    op: str
    kind: Kind
    fused: tuple[str, ...]
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    precision: str
    parameters: int
    weight_bytes: int
    activation_bytes: int
    macs: int
    steps: int = 1
    counted: bool = True

    @property
    def label(self) -> str:
        """Name of the layer's arithmetic, as engines print it: ``Conv+Add+Relu``."""
        silent = ("QuantizeLinear", "DequantizeLinear", "Cast")
        return "+".join([self.op, *(op for op in self.fused if op not in silent)])

    @property
    def bytes(self) -> int:
        """Number of bytes moved between memory and arithmetic if nothing stays in a cache."""
        return self.weight_bytes + self.activation_bytes


@dataclass(frozen=True)
class Totals:
    """Sums of the costs of layers.

    Attributes:
        layers: Number of layers.
        parameters: Number of learned values.
        macs: Multiply-accumulate operations of one run.
        weight_bytes: Size of constants read in one run, in bytes.
        activation_bytes: Size of activations read and written in one run, in bytes.
        uncounted: Names of operators whose cost is unknown and not in the sums.
    """

    layers: int
    parameters: int
    macs: int
    weight_bytes: int
    activation_bytes: int
    uncounted: tuple[str, ...]


def layers(
    model: onnx.ModelProto, batch: int = 1, shapes: Mapping[str, Sequence[int]] | None = None
) -> list[Layer]:
    """Return the layers that an engine runs for one batch, in order.

    Args:
        model: Valid ONNX model, with or without Q/DQ; it is not changed.
        batch: Size of axis 0 of the inputs that leave it open.
        shapes: Shapes of inputs by name, for inputs with other open axes.

    Raises:
        NetworkError: An axis is left open, a shape does not fit its input, or the graph is inconsistent.
    """
    graph = shaped(model, batch, shapes)
    stored = storages(graph)
    groups = group_nodes(graph, stored)
    needed = {stored[name].root for name in graph.outputs}
    needed.update(root for group in groups for root in _reads(group, stored))
    seen: set[str] = set()
    return [_layer(group, graph, stored, needed, seen) for group in groups]


def totals(of: Iterable[Layer]) -> Totals:
    """Sum the costs of layers."""
    all_layers = list(of)
    return Totals(
        layers=len(all_layers),
        parameters=sum(layer.parameters for layer in all_layers),
        macs=sum(layer.macs for layer in all_layers),
        weight_bytes=sum(layer.weight_bytes for layer in all_layers),
        activation_bytes=sum(layer.activation_bytes for layer in all_layers),
        uncounted=tuple(sorted({layer.op for layer in all_layers if not layer.counted})),
    )


def _layer(
    group: Group, graph: ShapedGraph, stored: Mapping[str, Storage], needed: set[str], seen: set[str]
) -> Layer:
    first = group.nodes[0]
    reads = _reads(group, stored)
    writes = [root for root in _made(group, stored) if root in needed] or _made(group, stored)[-1:]
    counts = [macs(node, graph.shapes.get) for node in group.nodes]
    dequantized = dict.fromkeys(
        stored[name].root for node in group.nodes for name in tensors_read(node) if stored[name].dequantized
    )
    return Layer(
        name=first.name or first.output[0],
        op=first.op_type,
        kind=group.kind,
        fused=(*["DequantizeLinear"] * len(dequantized), *(node.op_type for node in group.nodes[1:])),
        inputs=tuple(graph.shapes[name] for name in reads.values() if name in graph.shapes),
        outputs=tuple(graph.shapes[root] for root in writes if root in graph.shapes),
        precision=_precision(group, graph, stored, writes),
        parameters=_parameters(group, graph, stored, seen),
        weight_bytes=_weight_bytes(group, graph, stored),
        activation_bytes=_activation_bytes(group, graph, stored, list(reads), writes),
        macs=sum(count or 0 for count in counts),
        steps=steps(first, graph.shapes.get),
        counted=None not in counts and all(root in graph.shapes for root in (*reads, *writes)),
    )


def _reads(group: Group, stored: Mapping[str, Storage]) -> dict[str, str]:
    """Return the stored tensors from outside the group, each with the name it is first read by."""
    names_by_root: dict[str, str] = {}
    for node in group.nodes:
        for name in tensors_read(node):
            if not stored[name].constant and stored[name].root not in group.makes:
                names_by_root.setdefault(stored[name].root, name)
    return names_by_root


def _made(group: Group, stored: Mapping[str, Storage]) -> list[str]:
    return [stored[name].root for node in group.nodes for name in node.output if name]


def _precision(group: Group, graph: ShapedGraph, stored: Mapping[str, Storage], writes: Sequence[str]) -> str:
    """Return the precision of the arithmetic: narrow only where every operand is stored narrow."""
    first = group.nodes[0]
    facts = operator_of(first)
    if facts.operands is not None and is_known(first):
        names = [first.input[position] for position in facts.operands if position < len(first.input)]
        operands = [stored[name] for name in names if name]
        if facts.quantization == "integers" or all(operand.dequantized for operand in operands):
            return _widest(operand.dtype for operand in operands)
        return _name(graph.dtypes.get(first.output[0], 0))
    reads = [stored[name] for name in _reads(group, stored).values()]
    narrow = all(read.dequantized for read in reads) and all(
        0 < _bits(stored[root].dtype) <= 8 for root in writes
    )
    if facts.keeps_precision and reads and narrow:
        return _widest(read.dtype for read in reads)
    changes_type = group.kind == "elementwise" and first.op_type != "QuantizeLinear"
    source = first.output[0] if changes_type or not first.input else first.input[0]
    return _name(graph.dtypes.get(source, 0))


def _parameters(group: Group, graph: ShapedGraph, stored: Mapping[str, Storage], seen: set[str]) -> int:
    """Return the number of learned values that no earlier layer has counted; ``seen`` is extended."""
    count = 0
    for node, position, constant in _constants_read(group, stored):
        if position in operator_of(node).auxiliary:
            continue
        for origin in constant.origins - seen:
            if graph.shapes[origin] and graph.dtypes[origin] not in _INDEX_TYPES:
                packed = node.op_type == "MatMulNBits" and position == 1
                count += (
                    attribute(node, "K") * attribute(node, "N") if packed else math.prod(graph.shapes[origin])
                )
        seen |= constant.origins
    return count


def _weight_bytes(group: Group, graph: ShapedGraph, stored: Mapping[str, Storage]) -> int:
    sizes: dict[str, int] = {}
    for node, position, constant in _constants_read(group, stored):
        if constant.dtype not in _INDEX_TYPES:
            size = _size(constant.root, constant.dtype, graph)
            partial = operator_of(node).reads_part and position == 0
            sizes[constant.root] = (
                min(size, _size(node.output[0], constant.dtype, graph)) if partial else size
            )
    return sum(sizes.values())


def _activation_bytes(
    group: Group,
    graph: ShapedGraph,
    stored: Mapping[str, Storage],
    reads: Iterable[str],
    writes: Iterable[str],
) -> int:
    read = sum(_size(root, stored[root].dtype, graph) for root in reads)
    written = sum(_size(root, stored[root].dtype, graph) for root in writes)
    return min(read, written) + written if operator_of(group.nodes[0]).reads_part else read + written


def _constants_read(
    group: Group, stored: Mapping[str, Storage]
) -> Iterator[tuple[onnx.NodeProto, int, Storage]]:
    """Yield each constant operand in the group: its node, its position among the inputs, its storage."""
    for node in group.nodes:
        for position, name in enumerate(node.input):
            if name and stored[name].constant:
                yield node, position, stored[name]


def _size(name: str, dtype: int, graph: ShapedGraph) -> int:
    """Return the bytes in memory; 0 where the shape depends on data."""
    return -(-math.prod(graph.shapes[name]) * _bits(dtype) // 8) if name in graph.shapes else 0


def _name(dtype: int) -> str:
    return _TYPES.get(dtype, ("unknown", 0))[0]


def _bits(dtype: int) -> int:
    return _TYPES.get(dtype, ("unknown", 0))[1]


def _widest(dtypes: Iterable[int]) -> str:
    return _name(max(dtypes, key=_bits, default=0))
