"""Trials of other values in some matrices of a network, by what they do to its answers.

The matrices are inputs of the graph, so that one session runs with any of them changed. What lies before a changed
matrix stays as it is: a few sessions begin at places inside the graph, with the original's tensors there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from compress.onnx_graph.graph import Graph, tensors_read
from compress.onnx_graph.sessions import open_session, part

Array = NDArray[Any]

#: Rows of an output that are compared at once: a language model's have a value for each word.
_ROWS = 64

#: Places in the graph that a trial can begin at.
_PARTS = 10


class Trials:
    """Trials of other values for some matrices of a float network.

    Args:
        model: Prepared float network; it is not modified.
        matrices: Names of the initializers that may be changed.
        feeds: Samples, an array for each input of the network.
        watched: Names of inner tensors whose values on the samples are wanted.
        scores: Whether the first output holds scores of classes along its last axis: the loss is then the divergence of
            their probabilities, otherwise the relative squared error of all float outputs.

    Attributes:
        inputs: Values of the watched tensors, float32 [rows, last axis], of the unchanged network.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        matrices: Sequence[str],
        feeds: Sequence[Mapping[str, Array]],
        watched: Sequence[str],
        scores: bool,
    ) -> None:
        graph = Graph(model)
        self._weights = {name: np.asarray(graph.constant(name)) for name in matrices}
        self._feeds, self._scores = feeds, scores
        outputs = [name for name in graph.outputs if graph.is_float32(name)]
        self._outputs = outputs[:1] if scores else outputs
        opened = _with_inputs(model, self._weights)
        self._graph = Graph(opened)
        starts = sorted({self._first([name]) for name in matrices})
        self._alive = {start: self._alive_at(start) for start in starts[:: -(-len(starts) // _PARTS)][1:]}
        held = dict.fromkeys(name for names in self._alive.values() for name in names)
        wanted = [
            name for name in dict.fromkeys([*self._outputs, *watched, *held]) if name not in graph.inputs
        ]
        session = open_session(part(self._graph, wanted))
        self._original: list[list[Array]] = []
        self._held: list[dict[str, Array]] = []
        seen: dict[str, list[Array]] = {name: [] for name in watched}
        for feed in feeds:
            arrays = {**feed, **self._weights}
            fed = {session_input.name: arrays[session_input.name] for session_input in session.get_inputs()}
            computed = dict(feed) | dict(zip(wanted, session.run(wanted, fed), strict=True))
            self._original.append([computed[name] for name in self._outputs])
            self._held.append({name: computed[name] for name in held})
            for name, row_parts in seen.items():
                row_parts.append(np.asarray(computed[name], np.float32).reshape(-1, computed[name].shape[-1]))
        self.inputs = {name: np.concatenate(row_parts) for name, row_parts in seen.items()}
        for name, values in self._held[0].items():  # types of what a part is given, which no file says
            kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
            opened.graph.value_info.append(onnx.helper.make_tensor_value_info(name, kind, None))
        self._graph = Graph(opened)
        # All are opened now: they are small, and the files that constants lie in are then not needed any more.
        given: dict[int | None, list[str]] = {None: []}
        given.update(self._alive.items())
        self._sessions: dict[int | None, InferenceSession] = {
            start: open_session(part(self._graph, self._outputs, names)) for start, names in given.items()
        }

    def loss(self, instead: Mapping[str, Array]) -> float:
        """Return what it costs to have other values in some matrices, ≥ 0.

        Args:
            instead: Values, as the graph stores them, by the names of the initializers.
        """
        lost, count = 0.0, 0
        first = self._first(instead)
        start = max((position for position in self._alive if position <= first), default=None)
        session = self._sessions[start]
        names = [session_input.name for session_input in session.get_inputs()]
        for feed, held, original in zip(self._feeds, self._held, self._original, strict=True):
            arrays = {**feed, **held, **self._weights, **instead}
            outputs = session.run(self._outputs, {name: arrays[name] for name in names})
            if self._scores:
                token_losses = divergences(original[0], outputs[0])
                lost, count = lost + float(token_losses.sum()), count + len(token_losses)
            else:
                lost += max(map(_relative, original, outputs))
                count += 1
        return lost / count

    def _first(self, matrices: Iterable[str]) -> int:
        """Return the position of the first node that reads one of these; of the last node, where none does."""
        positions = {id(node): position for position, node in enumerate(self._graph.nodes)}
        readers = [node for name in matrices for node in self._graph.consumers.get(name, [])]
        return min((positions[id(node)] for node in readers), default=len(positions) - 1)

    def _alive_at(self, start: int) -> list[str]:
        """Return the tensors that nodes before a position make, and it or later ones read, or that are wanted."""
        later = self._graph.nodes[start:]
        read = [name for node in later for name in tensors_read(node)]
        return [
            name
            for name in dict.fromkeys([*read, *self._outputs])
            if self._graph.positions.get(name, start) < start
        ]


def divergences(original: Array, found: Array) -> NDArray[np.float64]:
    """Return the divergence of probabilities from the original's, in nats, for each row of scores.

    With d = found − original it is log Σ p·exp(d) − Σ p·d, which small differences do not cancel.

    Args:
        original: Scores of the original, float32 […, classes].
        found: Scores of the other, of the same shape.
    """
    ours, theirs = (array.reshape(-1, array.shape[-1]) for array in (original, found))
    result = np.empty(len(ours))
    for start in range(0, len(ours), _ROWS):
        some = slice(start, start + _ROWS)
        scores = ours[some] - ours[some].max(axis=1, keepdims=True)
        p = np.exp(scores)
        p /= p.sum(axis=1, keepdims=True)
        d = theirs[some] - ours[some]
        d -= (p * d).sum(
            axis=1, keepdims=True
        )  # around 0, where float32 is exact; a shift changes no probability
        result[some] = np.log1p(np.einsum("rc,rc->r", p, np.expm1(d), dtype=np.float64))
        result[some] -= np.einsum("rc,rc->r", p, d, dtype=np.float64)
    return np.maximum(result, 0.0)


def _relative(original: Array, actual: Array) -> float:
    spread = float(np.square(original - original.mean(dtype=np.float64)).sum()) or 1.0
    error = float(np.square(actual - original, dtype=np.float64).sum()) / spread
    return error if np.isfinite(error) else float("inf")


def _with_inputs(model: onnx.ModelProto, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """Return a model whose initializers of these names are inputs."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    initializers = [
        initializer for initializer in changed.graph.initializer if initializer.name not in weights
    ]
    del changed.graph.initializer[:]
    changed.graph.initializer.extend(initializers)
    for name, values in weights.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
        changed.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, values.shape))
    return changed
