"""Look at tensors inside a network while it runs on samples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from compress.onnx_graph.fold import remove_unused
from compress.onnx_graph.graph import Graph
from compress.quantization.states import state_inputs

Batch = Mapping[str, NDArray[Any]]

_TINY = float(np.finfo(np.float32).tiny)


class Probe:
    """A session that returns tensors of the network's inside; what comes behind them is not computed.

    Args:
        model: Float or with Q/DQ; it is not modified.
        tensors: Names of float32 tensors; inputs of the graph among them are handed through.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str]) -> None:
        graph = Graph(model)
        self._tensors = tuple(tensors)
        self._computed = [name for name in dict.fromkeys(tensors) if name not in graph.inputs]
        self._session = None
        if self._computed:
            cut = onnx.ModelProto()
            cut.CopyFrom(model)
            del cut.graph.output[:]
            cut.graph.output.extend(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
                for name in self._computed
            )
            remove_unused(cut)
            self._session = onnxruntime.InferenceSession(
                cut.SerializeToString(), _options(), providers=["CPUExecutionProvider"]
            )
            self._inputs = {value.name for value in self._session.get_inputs()}

    def run(self, batch: Batch) -> list[NDArray[Any]]:
        """The tensors on one batch, in the order of ``tensors``."""
        seen = dict(batch)
        if self._session is not None:
            fed = {name: values for name, values in batch.items() if name in self._inputs}
            seen.update(zip(self._computed, self._session.run(self._computed, fed), strict=True))
        return [np.asarray(seen[name]) for name in self._tensors]


def hold_back(
    batches: Iterable[Batch], samples: int, model: onnx.ModelProto
) -> tuple[list[Batch], Iterable[Batch]]:
    """The first batches, until they hold so many samples, to be read again and again; and all of them, once.

    Args:
        batches: They are read no further than that.
        samples: At least 1.
        model: Decides which inputs are first states of recurrences, which are zeros where a batch has none.
    """
    states = state_inputs(Graph(model))
    held: list[Batch] = []
    rest = iter(batches)
    for batch in rest:
        counted = next((name for name in batch if name not in states), None)
        count = 0 if counted is None else len(batch[counted])
        zeros = {
            name: np.zeros(shape(count), np.float32) for name, shape in states.items() if name not in batch
        }
        held.append({**batch, **zeros})
        samples -= count
        if samples <= 0:
            break
    return held, chain(held, rest)


class OutputError:
    """How far a model's outputs are from a reference's: squared error over squared deviation from the mean.

    Args:
        reference: The float model; its outputs on the samples are held in memory.
        batches: Samples.
    """

    def __init__(self, reference: onnx.ModelProto, batches: Sequence[Batch]) -> None:
        graph = Graph(reference)
        self._names = [name for name in graph.outputs if graph.is_float32(name)]
        self._batches = batches
        probe = Probe(reference, self._names)
        self._wanted = [probe.run(batch) for batch in batches]
        self._spread = []
        for outputs in zip(*self._wanted, strict=True):
            values = np.concatenate([output.ravel() for output in outputs]).astype(np.float64)
            self._spread.append(max(float(np.square(values - values.mean()).sum()), _TINY))

    def of(self, model: onnx.ModelProto) -> float:
        """The largest over the float outputs, from 0 for equal ones; infinite where one is NaN or infinity."""
        probe = Probe(model, self._names)
        errors = np.zeros(len(self._names))
        for batch, wanted in zip(self._batches, self._wanted, strict=True):
            found = probe.run(batch)
            errors += [
                float(np.square(ours - right).sum()) for ours, right in zip(found, wanted, strict=True)
            ]
        relative = errors / self._spread
        return float(np.where(np.isfinite(relative), relative, np.inf).max(initial=0.0))


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    return options
