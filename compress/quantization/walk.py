"""A run of a network over samples piece by piece, so that visiting every layer runs every layer only once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import Graph, tensors_read
from compress.onnx_graph.sessions import open_session, part
from compress.quantization.batches import Batch
from compress.quantization.shelf import Kept, Shelf

_NO_TENSORS = ("sequence_type", "optional_type", "map_type", "sparse_tensor_type")


class Walk:
    """A network that runs node by node, with all samples at the same node.

    Tensors that later nodes read are kept. DequantizeLinear runs again wherever its result is read, so that integers
    are kept, a quarter of the floats' size, and a weight may be changed until a piece that reads it runs.

    Args:
        model: Model in float or with Q/DQ. Values of its initialisers may change during the walk, its nodes may not.
        batches: Batches of samples; arrays are referred to, not copied.
        shelf: Shelf that keeps the activations.
    """

    def __init__(self, model: onnx.ModelProto, batches: Sequence[Batch], shelf: Shelf) -> None:
        self.graph = Graph(model)
        self._batches = batches
        self._shelf = shelf
        self._readers = _readers(self.graph)
        self._ran: frozenset[int] = frozenset()
        self._kept: dict[str, list[Kept]] = {}

    def copy(self) -> Walk:
        """Return another walk at the same node, so that this one may continue while the other stays."""
        other = Walk.__new__(Walk)
        other.__dict__.update(self.__dict__)
        other._kept = dict(self._kept)
        return other

    def to(self, tensor: str) -> None:
        """Run all nodes that a tensor needs and that have not run yet, on all batches."""
        source = self.source(tensor)
        if self._is_there(source):
            return
        piece = part(self.graph, [source], self._kept)
        nodes = [self.graph.nodes[self.graph.positions[_first(node)]] for node in piece.graph.node]
        ran = self._ran | {self.graph.positions[_first(node)] for node in nodes}
        outputs = [
            name for node in nodes if not _runs_again(node, self.graph) for name in node.output if name
        ]
        tensors_needed = [source, *(name for name in outputs if name != source and self._readers[name] - ran)]
        places_by_run = [
            [self._shelf.put(value) for value in values]
            for values in self._run(tensors_needed, self._all(), self.graph)
        ]
        self._ran = ran
        self._kept = {name: places for name, places in self._kept.items() if self._readers[name] - ran}
        for index, name in enumerate(tensors_needed):
            self._kept[name] = [values[index] for values in places_by_run]

    def values(self, tensor: str, number: int) -> NDArray[Any]:
        """Return the values of a tensor's source for one batch; it must be computed, or be an input."""
        source = self.source(tensor)
        if source in self._kept:
            return self._kept[source][number].get()
        return self._batches[number][source]

    def source(self, tensor: str) -> str:
        """Return the integers that a tensor is dequantized from, or the tensor itself."""
        node = self.graph.producers.get(tensor)
        if node is None or node.op_type != "DequantizeLinear" or node.input[0] in self.graph.initializers:
            return tensor
        return str(node.input[0])

    def grid(self, tensor: str) -> tuple[float, int]:
        """Return scale and zero point of the values of :meth:`values`; 1 and 0 where these are floats."""
        node = self.graph.producers.get(tensor)
        if node is None or self.source(tensor) == tensor:
            return 1.0, 0
        zero_point = self.graph.constant(node.input[2]) if len(node.input) > 2 else None
        scale = np.asarray(self.graph.constant(node.input[1]))
        return float(scale), 0 if zero_point is None else int(zero_point)

    def rest(
        self, tensors: Sequence[str], numbers: Sequence[int], graph: Graph | None = None
    ) -> Iterator[list[NDArray[Any]]]:
        """Compute later tensors without moving the walk.

        Args:
            tensors: Names of the tensors.
            numbers: Positions of the batches.
            graph: Graph of another model that computes the same up to here; None for the walk's own.
        """
        return self._run(tensors, numbers, graph or self.graph)

    def _run(
        self, tensors: Sequence[str], numbers: Sequence[int], graph: Graph
    ) -> Iterator[list[NDArray[Any]]]:
        computed = [name for name in tensors if not self._is_there(name)]
        read: list[str] = []
        session = None
        if computed and numbers:
            piece = part(graph, computed, self._kept)
            read = [value.name for value in piece.graph.input]
            del piece.graph.input[:]
            piece.graph.input.extend(_described(name, self._given(name, numbers[0])) for name in read)
            session = open_session(piece)
        for number in numbers:
            arrays = {name: self._given(name, number) for name in tensors if self._is_there(name)}
            if session is not None:
                feeds = {name: self._given(name, number) for name in read}
                arrays.update(zip(computed, session.run(computed, feeds), strict=True))
            yield [arrays[name] for name in tensors]

    def _given(self, name: str, number: int) -> NDArray[Any]:
        return self._kept[name][number].get() if name in self._kept else self._batches[number][name]

    def _is_there(self, name: str) -> bool:
        return name in self._kept or name in self.graph.inputs

    def _all(self) -> range:
        return range(len(self._batches))


def _readers(graph: Graph) -> dict[str, set[int]]:
    """Return the positions of each tensor's readers, through nodes that run again; -1 for the graph's caller."""
    readers_by_name: dict[str, set[int]] = {}
    for name in reversed([*graph.inputs, *graph.positions]):
        readers_by_name[name] = {-1} if name in graph.outputs else set()
    for position in reversed(range(len(graph.nodes))):
        node = graph.nodes[position]
        again = _runs_again(node, graph)
        by = set().union(*(readers_by_name[name] for name in node.output if name)) if again else {position}
        for name in tensors_read(node):
            if name in readers_by_name:
                readers_by_name[name] |= by
    return readers_by_name


def _runs_again(node: onnx.NodeProto, graph: Graph) -> bool:
    """Whether a node runs again for every piece, since it is cheap or its result cannot be kept."""
    if node.op_type == "DequantizeLinear":
        return True
    return any(name and graph.typed(name).type.WhichOneof("value") in _NO_TENSORS for name in node.output)


def _first(node: onnx.NodeProto) -> str:
    return next(str(name) for name in node.output if name)


def _described(name: str, values: NDArray[Any]) -> onnx.ValueInfoProto:
    """Return an input like these values, with open sizes, since inferred shapes can be wrong."""
    data_type = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    return onnx.helper.make_tensor_value_info(name, data_type, [None] * values.ndim)
