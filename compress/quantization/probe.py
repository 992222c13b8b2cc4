"""Sessions that show tensors inside a network while it runs on samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import Graph
from compress.onnx_graph.sessions import open_session, part
from compress.quantization.batches import Batch, bounded, thinned

#: Values of one sample's output that are compared at most.
_COMPARED = 1 << 12

_TINY = float(np.finfo(np.float32).tiny)


class Probe:
    """A session that returns inner tensors of a network; later nodes are not computed.

    Args:
        model: Model in float or with Q/DQ; it is not modified.
        tensors: Names of tensors; inputs of the graph are returned unchanged.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str]) -> None:
        graph = Graph(model)
        self._tensors = tuple(tensors)
        self._computed = [name for name in dict.fromkeys(tensors) if name not in graph.inputs]
        self._session = None
        if self._computed:
            self._session = open_session(part(graph, self._computed))
            self._inputs = {value.name for value in self._session.get_inputs()}

    def run(self, batch: Batch) -> list[NDArray[Any]]:
        """Return the tensors for one batch, in the order of ``tensors``."""
        seen = dict(batch)
        if self._session is not None:
            fed = {name: values for name, values in batch.items() if name in self._inputs}
            seen.update(zip(self._computed, self._session.run(self._computed, fed), strict=True))
        return [np.asarray(seen[name]) for name in self._tensors]


class OutputError:
    """Error of a model's outputs against a reference's: squared error over squared deviation from the mean.

    Of large outputs only some values are compared, the same for every sample; those of the reference are held in
    memory.

    Args:
        reference: Float model.
        batches: Batches of samples.
        wanted: Results of :func:`compared` for the reference's outputs, one for each run, where it ran on these samples
            already; None runs it here.
    """

    def __init__(
        self,
        reference: onnx.ModelProto,
        batches: Sequence[Batch],
        wanted: Iterable[Sequence[NDArray[Any]]] | None = None,
    ) -> None:
        self._graph = Graph(reference)
        self.names = float_outputs(self._graph)
        self._batches = batches
        parts = self._run(reference) if wanted is None else wanted
        self._wanted = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        self._spread = [
            max(float(np.square(values - values.mean(dtype=np.float64), dtype=np.float64).sum()), _TINY)
            for values in self._wanted
        ]

    def of(self, model: onnx.ModelProto) -> float:
        """Return the largest error over the float outputs, ≥ 0; infinite where one is NaN or infinity."""
        return self.of_parts(self._run(model))

    def of_parts(self, found: Iterable[Sequence[NDArray[Any]]]) -> float:
        """Return the error of outputs computed elsewhere, in :func:`compared`'s form and the samples' order."""
        errors = np.zeros(len(self.names))
        starts = [0] * len(self.names)
        for outputs in found:
            for index, ours in enumerate(outputs):
                right = self._wanted[index][starts[index] : starts[index] + len(ours)]
                errors[index] += float(np.square(ours.astype(np.float64) - right).sum())
                starts[index] += len(ours)
        relative = errors / self._spread
        return float(np.where(np.isfinite(relative), relative, np.inf).max(initial=0.0))

    def _run(self, model: onnx.ModelProto) -> Iterable[list[NDArray[Any]]]:
        probe = Probe(model, self.names)
        for batch in bounded(self._batches, self._graph, self.names):
            yield compared(probe.run(batch))


def float_outputs(graph: Graph) -> list[str]:
    """Return the outputs that are compared."""
    return [name for name in graph.outputs if graph.is_float32(name)]


def compared(outputs: Iterable[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the compared values of each output, [values], since samples differ in length."""
    return [thinned(values, _COMPARED).ravel().copy() for values in outputs]
