"""The choice of nodes to compute once and store: those of constants alone whose results take no more room."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from compress.onnx_graph.graph import SMALL, Graph, subgraphs
from compress.onnx_graph.operators import operator_of
from compress.onnx_graph.sessions import open_session, part
from compress.onnx_graph.weights import size_of_tensor

#: Bytes by which a result may outgrow all that it is computed from; a larger one is not even computed.
MOST_GROWTH = 1 << 20

#: Types of tensors that are folded.
FOLDED_TYPES = frozenset(
    {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BOOL}
    | {TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64}
    | {TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}
)


class Folding:
    """The nodes to fold among those that depend on constants alone.

    Args:
        graph: Graph with inferred shapes.
        nodes: Nodes that :func:`constant_nodes` returned.
        store_twice: Whether weights may be stored twice; see :func:`compress.onnx_graph.constants.fold_constants`.

    Attributes:
        folded: ``id`` of each node that vanishes; its results that other nodes read have to be stored.
    """

    def __init__(self, graph: Graph, nodes: list[onnx.NodeProto], store_twice: bool) -> None:
        self._graph = graph
        self._twice = store_twice
        self._sizes = _sizes(graph, nodes)
        self.folded = set[int]()
        for group in _groups(nodes, graph):
            self._decide(group)

    def _decide(self, group: list[onnx.NodeProto]) -> None:
        """Fold the nodes of a group together where that takes no more room, or else one by one."""
        ids = {id(node) for node in group}
        outer = [name for node in group for name in node.output if name and not self._only_read_by(name, ids)]
        if self._growth(outer, group) <= 0:
            self.folded |= ids
            return
        for node in reversed(group):  # whoever reads a node's results has been decided about
            read = [name for name in node.output if name and not self._only_read_by(name, self.folded)]
            if not read:
                self.folded.add(id(node))  # its readers went, and it goes with them
                continue
            needed = self._twice and any(self._is_weight(name) for name in read)
            if self._growth(read, self._behind(node, group)) <= (MOST_GROWTH if needed else SMALL):
                self.folded.add(id(node))

    def _growth(self, constant_names: Iterable[str], nodes: list[onnx.NodeProto]) -> int:
        """Return the bytes to store, less those of constants that only vanishing nodes read."""
        ids = {id(node) for node in nodes}
        read = {name for node in nodes for name in node.input if name in self._graph.initializers}
        goes = [name for name in read if self._twice or self._only_read_by(name, ids)]
        return sum(self._sizes[name] for name in constant_names) - sum(self._sizes[name] for name in goes)

    def _behind(self, node: onnx.NodeProto, group: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Return the node, and the nodes of its group that would then have no other reader."""
        behind, ids = [node], {id(node)}
        for other in reversed(group[: next(at for at, member in enumerate(group) if member is node)]):
            read = [name for name in other.output if name]
            reached = any(
                id(reader) in ids for name in read for reader in self._graph.consumers.get(name, [])
            )
            if reached and (self._twice or all(self._only_read_by(name, ids) for name in read)):
                behind.append(other)
                ids.add(id(other))
        return behind

    def _only_read_by(self, name: str, ids: set[int]) -> bool:
        readers = self._graph.consumers.get(name, [])
        return name not in self._graph.outputs and all(id(node) in ids for node in readers)

    def _is_weight(self, name: str) -> bool:
        """Whether a layer reads a tensor as its weight."""
        return any(
            (operator_of(reader).multiplies_matrices or operator_of(reader).kind == "data movement")
            and name in (reader.input[at] for at in operator_of(reader).weights if at < len(reader.input))
            for reader in self._graph.consumers.get(name, [])
        )


def constant_nodes(graph: Graph) -> list[onnx.NodeProto]:
    """Return the nodes that depend on constants alone and whose results can be stored, in graph order."""
    constant_sizes = {name: size_of_tensor(tensor) for name, tensor in graph.initializers.items()}
    nodes = []
    for node in graph.nodes:
        if not all(name in constant_sizes for name in node.input if name) or not _can_fold(node, graph):
            continue
        bound = MOST_GROWTH + sum(constant_sizes[name] for name in node.input if name)
        size = sum(_declared_size(name, graph) or 0 for name in node.output if name)
        if size <= bound:
            nodes.append(node)
            constant_sizes.update(
                (name, _declared_size(name, graph) or bound) for name in node.output if name
            )
    return nodes


def values_of_constants(graph: Graph, made: list[str]) -> dict[str, NDArray[Any]]:
    """Return the values of tensors that depend on constants alone, by name."""
    if not made:
        return {}
    session = open_session(part(graph, made), optimized=False)
    return dict(zip(made, session.run(made, {}), strict=True))


def is_standard(node: onnx.NodeProto, operator: str) -> bool:
    """Whether a node is an operator of ONNX's own."""
    return bool(node.op_type == operator and node.domain in ("", "ai.onnx"))


def _can_fold(node: onnx.NodeProto, graph: Graph) -> bool:
    output_names = [name for name in node.output if name]
    facts = operator_of(node)
    return (
        not facts.random  # its values are new in every run
        and facts.quantization != "pair"  # folded, a quantization would be undone
        and node.domain in ("", "ai.onnx")
        and not any(subgraphs(node))
        and all(graph.element_type(name) in FOLDED_TYPES for name in output_names)
        # An output that is an initialiser is legal, and several compilers still refuse it.
        and not set(output_names) & set(graph.outputs)
    )


def _declared_size(name: str, graph: Graph) -> int | None:
    """Return the size of a tensor in bytes; None where its shape is unknown."""
    shape = graph.shape(name)
    if shape is None:
        return None
    sizes = [size for size in shape if isinstance(size, int)]
    width = onnx.helper.tensor_dtype_to_np_dtype(graph.element_type(name)).itemsize
    return math.prod(sizes) * int(width) if len(sizes) == len(shape) else None


def _sizes(graph: Graph, nodes: list[onnx.NodeProto]) -> dict[str, int]:
    """Return the bytes of every constant and of every result of the nodes; computed where shapes are unknown."""
    sizes = {name: size_of_tensor(tensor) for name, tensor in graph.initializers.items()}
    output_names = [name for node in nodes for name in node.output if name]
    declared = {name: _declared_size(name, graph) for name in output_names}
    unknown = [name for name in output_names if declared[name] is None]
    computed = {name: values.nbytes for name, values in values_of_constants(graph, unknown).items()}
    sizes.update({name: declared[name] or computed.get(name, 0) for name in output_names})
    return sizes


def _groups(nodes: list[onnx.NodeProto], graph: Graph) -> Iterator[list[onnx.NodeProto]]:
    """Group nodes joined by results and constants that are not small, each group in graph order."""
    leader = {id(node): id(node) for node in nodes}

    def first(one: int) -> int:
        while leader[one] != one:
            leader[one] = one = leader[leader[one]]
        return one

    for name in {name for node in nodes for name in (*node.input, *node.output) if name}:
        tensor = graph.initializers.get(name)
        if tensor is not None and size_of_tensor(tensor) <= SMALL:
            continue
        made_by = graph.producers.get(name)
        around = [*([made_by] if made_by is not None else []), *graph.consumers.get(name, [])]
        joined = [id(node) for node in around if id(node) in leader]
        for one in joined[1:]:
            leader[first(one)] = first(joined[0])
    groups: dict[int, list[onnx.NodeProto]] = {}
    for node in nodes:
        groups.setdefault(first(id(node)), []).append(node)
    yield from groups.values()
