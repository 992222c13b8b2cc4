"""The smallest run of nodes of a network that still shows a fault, found by halving.

First the end: the fewest nodes from the beginning that show it. Then the beginning: the fewest nodes before that end,
whose inputs are fed the tensors that the nodes before them made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import Graph
from compress.onnx_graph.sessions import open_session, part

Arrays = Mapping[str, NDArray[Any]]

#: Tells whether a network shows the fault; it gets the network and the values of its inputs.
Shows = Callable[[onnx.ModelProto, Arrays], bool]


@dataclass(frozen=True)
class Reduced:
    """A part of a network that shows a fault.

    Attributes:
        model: The part, a network of its own.
        inputs: Values of its inputs, by name.
        nodes: Names of its nodes, in order.
        tries: Number of parts that were tried.
    """

    model: onnx.ModelProto
    inputs: Arrays
    nodes: tuple[str, ...]
    tries: int


def reduced(model: onnx.ModelProto, feeds: Arrays, shows: Shows) -> Reduced | None:
    """Halve a network until no smaller run of its nodes shows the fault.

    Args:
        model: Network with inferred types.
        feeds: Values of its inputs.
        shows: Function that tells whether a part shows the fault.

    Returns:
        The smallest part that was found; None where the whole network does not show the fault. Where the fault comes
        and goes with the size, it is one of several.
    """
    search = _Search(Graph(model), feeds, shows)
    count = len(search.places)
    if not count or not search.shown(0, count):
        return None
    end = _least(1, count, lambda middle: search.shown(0, middle))
    size = _least(1, end, lambda middle: search.shown(end - middle, end))
    start = end - size
    alone = [search.places[end - 1]]
    smaller, inputs = search.cut(start, end, alone if search.shown(start, end, alone) else None)
    return Reduced(
        smaller, inputs, tuple(node.name or node.op_type for node in smaller.graph.node), search.tries
    )


def _least(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the least number from ``low`` to ``high`` for which a condition holds; it holds for ``high``."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return high


class _Search:
    """Cuts of a network at the float tensors that its nodes make.

    Attributes:
        places: Names of these tensors, in the order of the nodes; a cut is between two of them.
        tries: Number of parts that were tried.
    """

    def __init__(self, graph: Graph, feeds: Arrays, shows: Shows) -> None:
        self._graph, self._shows = graph, shows
        self.places = [name for node in graph.nodes for name in node.output if graph.is_float32(name)]
        self.tries = 0
        with_all_places = part(graph, self.places)
        values = open_session(with_all_places).run(self.places, _of(feeds, with_all_places))
        self._values = dict(feeds) | dict(zip(self.places, values, strict=True))

    def cut(
        self, start: int, end: int, outputs: Sequence[str] | None = None
    ) -> tuple[onnx.ModelProto, Arrays]:
        """Return the part that makes tensors from those before ``start``, and the values of its inputs.

        Args:
            start: Position of the first tensor that is made.
            end: Position after the last one.
            outputs: Tensors that the part returns; None for those that none of its nodes reads.
        """
        outputs_of_cut = list(outputs or self._unread(start, end))
        model = part(self._graph, outputs_of_cut, self.places[:start])
        del model.graph.output[:]
        model.graph.output.extend(self._graph.typed(name) for name in outputs_of_cut)
        return model, _of(self._values, model)

    def shown(self, start: int, end: int, outputs: Sequence[str] | None = None) -> bool:
        """Whether the part shows the fault; see :meth:`cut`."""
        self.tries += 1
        return self._shows(*self.cut(start, end, outputs))

    def _unread(self, start: int, end: int) -> list[str]:
        """Return the tensors between two cuts that no node up to the last of them reads."""
        positions, consumers = self._graph.positions, self._graph.consumers
        last = positions[self.places[end - 1]]
        return [
            name
            for name in self.places[start:end]
            if name in self._graph.outputs
            or all(positions[next(filter(None, node.output))] > last for node in consumers.get(name, []))
        ]


def _of(values: Arrays, model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {value.name: values[value.name] for value in model.graph.input}
