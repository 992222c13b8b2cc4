"""How an engine reads a graph: where values are stored, and which operators run as one layer.

The rules are those of TensorRT's and ONNX Runtime's graph optimizers, as far as both share them:

* reshapes are views, and what depends on constants alone is computed once;
* DequantizeLinear is part of the layer after it, QuantizeLinear of the layer before it, and a dequantized
  tensor stays in its narrow type across operators that only move values (`Working with Quantized Types
  <https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html>`_);
* a convolution or matrix multiplication takes the elementwise operators that follow, one residual Add among
  them;
* a chain of elementwise operators is one layer.

Fusion stops where a value is needed elsewhere too, and at a Q/DQ pair, which fixes a rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import onnx

from compress.onnx_graph.graph import tensors_read
from compress.onnx_graph.operators import (
    COMMUTE_WITH_QUANTIZATION,
    MATRIX_KINDS,
    POINTWISE,
    VIEWS,
    Kind,
    is_known,
    kind,
)
from compress.onnx_graph.shapes import ShapedGraph

#: Longest elementwise chain after which a tensor's readers come together again (SiLU 2, GELU by Erf 5).
_CHAIN = 8


class Storage(NamedTuple):
    """Where the values of a tensor's name are.

    Attributes:
        root: Name of the tensor that is stored; names behind views and DequantizeLinear share it.
        dtype: Element type in memory, as ``onnx.TensorProto`` numbers them.
        dequantized: Whether the name stands behind a DequantizeLinear.
        constant: Whether the values are known before the first run.
        origins: The file's own constants that a constant is computed from.
    """

    root: str
    dtype: int
    dequantized: bool = False
    constant: bool = False
    origins: frozenset[str] = frozenset()


@dataclass
class Group:
    """Operators that run as one layer, the one that names it first.

    Attributes:
        kind: Of the first operator.
        nodes: In topological order.
        makes: Roots of the tensors that its operators produce.
        joined: Roots of tensors of other layers that an epilogue adds.
    """

    kind: Kind
    nodes: list[onnx.NodeProto]
    makes: set[str] = field(default_factory=set)
    joined: set[str] = field(default_factory=set)


def storages(graph: ShapedGraph) -> dict[str, Storage]:
    """Where each name's values are stored."""
    found = {name: Storage(name, graph.dtypes.get(name, 0)) for name in graph.inputs}
    for name in graph.constants:
        found[name] = Storage(name, graph.dtypes[name], constant=True, origins=frozenset({name}))
    for node in graph.nodes:
        read = [found[name] for name in tensors_read(node) if name in found]
        for name in node.output:
            if name:
                found[name] = _storage(name, node, read, graph)
    return found


def _storage(name: str, node: onnx.NodeProto, read: list[Storage], graph: ShapedGraph) -> Storage:
    own = Storage(name, graph.dtypes.get(name, 0))
    if not is_known(node) or not read:
        return own
    if node.op_type == "DequantizeLinear":
        return own if name in graph.outputs else read[0]._replace(dequantized=True)
    constant = node.op_type in ("Shape", "Size") or all(each.constant for each in read)
    # A constant that is only rearranged is stored rearranged, in the type it had.
    if node.op_type in VIEWS or (constant and node.op_type == "Transpose"):
        return read[0]
    if constant:
        origins = frozenset().union(*(each.origins for each in read))
        return own._replace(constant=True, origins=origins)
    data = [each for each in read if not each.constant or each.dequantized]
    if node.op_type in COMMUTE_WITH_QUANTIZATION and all(each.dequantized for each in data):
        return own._replace(dtype=data[0].dtype, dequantized=True)
    return own


def group_nodes(graph: ShapedGraph, stored: dict[str, Storage]) -> list[Group]:
    """The operators that run, grouped into layers; the order is topological.

    A node joins the last of the groups it reads from, so no group ever depends on a later one.
    """
    consumers = _consumers(graph, stored)
    outputs = {stored[name].root for name in graph.outputs if name in stored}
    groups: list[Group] = []
    makers: dict[str, int] = {}
    for node in graph.nodes:
        if not _runs(node, graph, stored):
            continue
        read = _roots_read(node, stored)
        latest = max((makers[root] for root in read if root in makers), default=None)
        group = groups[latest] if latest is not None else None
        if group is None or not _joins(node, group, stored, consumers, outputs):
            latest = len(groups)
            group = Group(kind(node, graph.shapes.get), [])
            groups.append(group)
        elif node.op_type != "QuantizeLinear":
            group.joined.update(root for root in read if root not in group.makes)
        assert latest is not None  # it is the index of the group, found or made
        group.nodes.append(node)
        made = {stored[name].root for name in node.output if name}
        group.makes |= made
        makers.update(dict.fromkeys(made, latest))
    return groups


def _runs(node: onnx.NodeProto, graph: ShapedGraph, stored: dict[str, Storage]) -> bool:
    """Whether the node does something at run time: no view, nothing constant, no DQ but a graph's output."""
    made = [stored[name] for name in node.output if name]
    if all(each.constant for each in made):
        return False
    if node.op_type == "DequantizeLinear" and is_known(node):
        return node.output[0] in graph.outputs
    return node.op_type not in VIEWS or not is_known(node)


def _joins(
    node: onnx.NodeProto,
    group: Group,
    stored: dict[str, Storage],
    consumers: dict[str, list[onnx.NodeProto]],
    outputs: set[str],
) -> bool:
    if node.op_type == "QuantizeLinear" and is_known(node):
        return True
    if not _is_elementwise(node) or group.kind not in (*MATRIX_KINDS, "elementwise"):
        return False
    from_group = [name for name in tensors_read(node) if name in stored and stored[name].root in group.makes]
    for name in from_group:
        read_directly = stored[name].root == name and not stored[name].dequantized
        if not read_directly or name in outputs:
            return False
        outside = [
            reader for reader in consumers[name] if all(reader is not own for own in (node, *group.nodes))
        ]
        if not _meets(node, outside, consumers, stored):
            return False
    if group.kind == "elementwise":
        return True
    foreign = {root for root in _roots_read(node, stored) if root not in group.makes}
    return not foreign or (node.op_type in ("Add", "Sum") and len(foreign | group.joined) == 1)


def _meets(
    node: onnx.NodeProto,
    readers: list[onnx.NodeProto],
    consumers: dict[str, list[onnx.NodeProto]],
    stored: dict[str, Storage],
) -> bool:
    """Whether the elementwise chain that begins with ``node`` comes to every one of ``readers``."""
    for _ in range(_CHAIN):
        if not readers:
            return True
        following = consumers.get(stored[node.output[0]].root, [])
        if len(following) != 1 or not _is_elementwise(following[0]):
            return False
        node = following[0]
        readers = [reader for reader in readers if reader is not node]
    return not readers


def _is_elementwise(node: onnx.NodeProto) -> bool:
    return is_known(node) and node.op_type in POINTWISE - {"QuantizeLinear", "DequantizeLinear"}


def _consumers(graph: ShapedGraph, stored: dict[str, Storage]) -> dict[str, list[onnx.NodeProto]]:
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if _runs(node, graph, stored):
            for root in _roots_read(node, stored):
                found.setdefault(root, []).append(node)
    return found


def _roots_read(node: onnx.NodeProto, stored: dict[str, Storage]) -> list[str]:
    """Stored tensors that the node reads at run time, each once."""
    return list(dict.fromkeys(_varying(node, stored)))


def _varying(node: onnx.NodeProto, stored: dict[str, Storage]) -> Iterator[str]:
    for name in tensors_read(node):
        if name in stored and not stored[name].constant:
            yield stored[name].root
