"""The layers of an engine: where values are stored, and which operators run as one layer.

The rules are those of TensorRT's and ONNX Runtime's graph optimizers, as far as both share them:

* reshapes are views, and what depends on constants alone is computed once;
* DequantizeLinear is part of the layer after it, QuantizeLinear of the layer before it, and a dequantized
  tensor stays in its narrow type across operators that only move values (`Working with Quantized Types
  <https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html>`_);
* a convolution or matrix multiplication takes the elementwise operators that follow, one residual Add among
  them;
* a chain of elementwise operators is one layer;
* query·key, softmax and the product with the values are one layer;
* a matrix multiplication takes transposed and scaled operands as they are (strides and alpha of a GEMM).

Fusion stops where a value is needed elsewhere too, and at a Q/DQ pair, which fixes a rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import onnx

from compress.errors import NetworkError
from compress.onnx_graph.graph import attribute, tensors_read
from compress.onnx_graph.operators import (
    MATRIX_KINDS,
    Kind,
    is_known,
    kind,
    operator_of,
)
from compress.onnx_graph.shapes import ShapedGraph

#: Longest elementwise chain after which a tensor's readers come together again (SiLU 2, GELU by Erf 5).
_CHAIN = 8


class Storage(NamedTuple):
    """Storage of the values behind a tensor's name.

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
        kind: Kind of the first operator.
        nodes: Nodes of the group, in topological order.
        makes: Roots of the tensors that its operators produce.
        joined: Roots of tensors of other layers that an epilogue adds.
    """

    kind: Kind
    nodes: list[onnx.NodeProto]
    makes: set[str] = field(default_factory=set)
    joined: set[str] = field(default_factory=set)


def storages(graph: ShapedGraph) -> dict[str, Storage]:
    """Return the storage of each name's values.

    Raises:
        NetworkError: An operator, or an output of the graph, refers to a tensor that no node makes.
    """
    by_name = {name: Storage(name, graph.dtypes.get(name, 0)) for name in graph.inputs}
    for name in graph.constants:
        by_name[name] = Storage(name, graph.dtypes[name], constant=True, origins=frozenset({name}))
    strided = _read_strided(graph)
    for node in graph.nodes:
        _check_made(tensors_read(node), by_name)
        read = [by_name[name] for name in tensors_read(node)]
        for name in node.output:
            if name:
                by_name[name] = read[0] if name in strided else _storage(name, node, read, graph)
    _check_made(graph.outputs, by_name)
    return by_name


def _check_made(names: Iterable[str], storages_made: Mapping[str, Storage]) -> None:
    for name in names:
        if name not in storages_made:
            raise NetworkError(
                "a valid ONNX graph", f"'{name}', which nothing makes", "export the network again"
            )


def _read_strided(graph: ShapedGraph) -> set[str]:
    """Return the tensors that only matrix multiplications read, which take them transposed or scaled."""
    strided: set[str] = set()
    unfit = set(graph.outputs)  # names that something else reads
    for node in reversed(graph.nodes):
        if node.op_type in ("Shape", "Size"):
            continue
        rearranges = node.op_type in ("Transpose", "Split") or _scales(node, graph)
        passes = rearranges or operator_of(node).view or operator_of(node).quantization == "pair"
        if not is_known(node) or unfit.intersection(node.output) or not passes:
            if not is_known(node) or node.op_type not in ("MatMul", "Attention"):
                unfit.update(tensors_read(node))
        elif rearranges:
            strided.update(node.output)
    return strided


def _scales(node: onnx.NodeProto, graph: ShapedGraph) -> bool:
    """Whether the node multiplies a tensor by one constant number."""
    if node.op_type not in ("Mul", "Div"):
        return False
    first, second = (name in graph.constants for name in node.input)
    return second and not first and math.prod(graph.shapes[node.input[1]]) == 1


def _storage(name: str, node: onnx.NodeProto, read: list[Storage], graph: ShapedGraph) -> Storage:
    own_storage = Storage(name, graph.dtypes.get(name, 0))
    if not is_known(node) or not read:
        return own_storage
    if node.op_type == "DequantizeLinear":
        return own_storage if name in graph.outputs else read[0]._replace(dequantized=True)
    constant = node.op_type in ("Shape", "Size") or all(storage.constant for storage in read)
    # A constant that is only rearranged is stored rearranged, in the type it had.
    if operator_of(node).view or (constant and node.op_type == "Transpose"):
        return read[0]
    if constant:
        origins = frozenset().union(*(storage.origins for storage in read))
        return own_storage._replace(constant=True, origins=origins)
    data = [storage for storage in read if not storage.constant]
    if operator_of(node).commutes and all(storage.dequantized for storage in data):
        return own_storage._replace(dtype=data[0].dtype, dequantized=True)
    return own_storage


def group_nodes(graph: ShapedGraph, stored: dict[str, Storage]) -> list[Group]:
    """Group the operators that run into layers, in topological order."""
    return _Grouping(graph, stored).groups


class _Grouping:
    """Grouping that adds one operator after the other to a layer.

    An operator joins the last of the layers it reads from, or none; so no layer ever depends on a later one.
    """

    def __init__(self, graph: ShapedGraph, stored: dict[str, Storage]) -> None:
        self._graph = graph
        self._stored = stored
        self._outputs = {stored[name].root for name in graph.outputs}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        running = [node for node in graph.nodes if self._runs(node)]
        for node in running:
            for root in self._roots_read(node):
                self._readers.setdefault(root, []).append(node)
        self.groups: list[Group] = []
        self._makers: dict[str, int] = {}
        for node in running:
            self._place(node)

    def _runs(self, node: onnx.NodeProto) -> bool:
        """Whether the node runs: it is no view, and not constant."""
        outputs = {self._stored[name] for name in node.output if name}
        if all(storage.constant for storage in outputs):
            return False
        return any(storage.root in node.output for storage in outputs)

    def _place(self, node: onnx.NodeProto) -> None:
        read = self._roots_read(node)
        index = max((self._makers[root] for root in read if root in self._makers), default=-1)
        if index < 0 or not self._joins(node, self.groups[index]):
            index = len(self.groups)
            self.groups.append(Group(kind(node, self._graph.shapes.get), []))
        elif _is_elementwise(node):
            self.groups[index].joined.update(root for root in read if root not in self.groups[index].makes)
        roots = {self._stored[name].root for name in node.output if name}
        self.groups[index].nodes.append(node)
        self.groups[index].makes |= roots
        self._makers.update(dict.fromkeys(roots, index))

    def _joins(self, node: onnx.NodeProto, group: Group) -> bool:
        if node.op_type == "QuantizeLinear" and is_known(node):
            return True
        if not self._takes_over(node, group):
            return False
        if not _is_elementwise(node):
            return self._continues_attention(node, group)
        if group.kind == "elementwise":
            return True
        foreign = {root for root in self._roots_read(node) if root not in group.makes}
        one_addition = node.op_type in ("Add", "Sum") and len(foreign | group.joined) == 1
        return group.kind in MATRIX_KINDS and (not foreign or one_addition)

    def _takes_over(self, node: onnx.NodeProto, group: Group) -> bool:
        """Whether no other node needs the tensor that the node reads from the group, and nothing rounds it between."""
        for name in tensors_read(node):
            if self._stored[name].root not in group.makes:
                continue
            if self._stored[name].root != name or self._stored[name].dequantized or name in self._outputs:
                return False
            inside = (node, *group.nodes)
            outside = [
                reader for reader in self._readers[name] if all(reader is not member for member in inside)
            ]
            if not self._meets(node, outside):
                return False
        return True

    def _meets(self, node: onnx.NodeProto, readers: list[onnx.NodeProto]) -> bool:
        """Whether the elementwise chain that begins with ``node`` reaches all ``readers``."""
        for _ in range(_CHAIN):
            if not readers:
                return True
            following = self._readers.get(self._stored[node.output[0]].root, [])
            if len(following) != 1 or not _is_elementwise(following[0]):
                return False
            node = following[0]
            readers = [reader for reader in readers if reader is not node]
        return not readers

    def _continues_attention(self, node: onnx.NodeProto, group: Group) -> bool:
        """Whether the node is the Softmax over query·key, or the product of its result with the values."""
        first, last = group.nodes[0], group.nodes[-1]
        if not _is_matmul(first):
            return False
        if _is_matmul(node):
            return str(last.op_type) == "Softmax"
        if (
            node.op_type != "Softmax"
            or not is_known(node)
            or any(self._stored[name].constant for name in first.input)
        ):
            return False
        rank = len(self._graph.shapes.get(node.input[0], ()))
        result = node.output[0]
        readers = [] if result in self._outputs else self._readers.get(result, [])
        of_rows = attribute(node, "axis", -1) in (-1, rank - 1)
        probabilities = [_is_matmul(reader) and reader.input[0] == result for reader in readers]
        return of_rows and probabilities == [True]

    def _roots_read(self, node: onnx.NodeProto) -> list[str]:
        """Return the stored tensors that the node reads at run time, each once."""
        stored = (self._stored[name] for name in tensors_read(node))
        return list(dict.fromkeys(storage.root for storage in stored if not storage.constant))


def _is_matmul(node: onnx.NodeProto) -> bool:
    return is_known(node) and str(node.op_type) == "MatMul"


def _is_elementwise(node: onnx.NodeProto) -> bool:
    return is_known(node) and operator_of(node).kind == "elementwise" and not operator_of(node).quantization
