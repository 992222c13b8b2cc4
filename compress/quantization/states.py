"""Inputs that hold the first state of a recurrent operator: a network without a past starts at zeros.

GRU, LSTM and RNN take it at input 5, and LSTM its cell at input 6, as ``[directions, batch, hidden]``; left out, it is
zeros by their definition (ONNX operators, opset 22).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnx import TensorProto

from compress.onnx_graph.graph import Graph

_STATES = {"GRU": (5,), "RNN": (5,), "LSTM": (5, 6)}
_BATCH_AXIS = 1


def state_inputs(graph: Graph) -> Mapping[str, Callable[[int], tuple[int, ...]]]:
    """Return the graph inputs that only recurrent operators read, as a first state.

    Returns:
        Function from a batch size to the shape, by the input's name; only float32 inputs whose other axes are known.
    """
    state_shapes: dict[str, Callable[[int], tuple[int, ...]]] = {}
    for name in graph.inputs:
        shape = graph.shape(name)
        if shape is None or len(shape) != 3 or graph.element_type(name) != TensorProto.FLOAT:
            continue
        readers = graph.consumers.get(name, [])
        only_states = readers and all(
            name not in node.input[: _STATES[node.op_type][0]] if node.op_type in _STATES else False
            for node in readers
        )
        directions, _, hidden = shape
        if only_states and isinstance(directions, int) and isinstance(hidden, int):
            state_shapes[name] = _sized(directions, shape[_BATCH_AXIS], hidden)
    return state_shapes


def _sized(directions: int, fixed: int | str | None, hidden: int) -> Callable[[int], tuple[int, ...]]:
    return lambda batch: (directions, fixed if isinstance(fixed, int) else batch, hidden)
