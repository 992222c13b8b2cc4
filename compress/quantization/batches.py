"""Samples in batches that bound memory: as many at once as one run's activations leave room for, and so many held."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.core.tensor_spec import BATCH, take_samples
from compress.onnx_graph.graph import Graph
from compress.quantization.states import state_inputs

Batch = Mapping[str, NDArray[Any]]

#: Bytes of activations that one run may hand out.
AT_ONCE = 32 << 20

#: Bytes of samples that may be held in memory, to be read again and again.
HELD = 256 << 20


def bounded(
    batches: Iterable[Batch], graph: Graph, tensors: Iterable[str], at_once: int = AT_ONCE
) -> Iterator[Batch]:
    """The same samples in batches no larger than given, and so small that some tensors of them all fit in memory.

    A batch stays whole where the network does not take any number of samples. It takes any number where the axis of the
    samples has one and the same name in every input and in every output.

    Args:
        batches: For each input its array, as the network takes it. They are read one at a time.
        graph: Graph of a network whose shapes are inferred.
        tensors: Names of those that a run hands out; where a size is unknown they count as nothing.
        at_once: Bytes of them that may be in memory at once.
    """
    names = list(tensors)
    any_number = _takes_any_number(graph)
    states, axes = state_inputs(graph), sample_axes(graph)
    for batch in batches:
        count = samples_in(batch, states, axes)
        size = sample_bytes(batch, graph, names) if any_number else 0
        rows = max(1, at_once // size) if size and not set(states) & set(batch) else count
        if rows >= count:
            yield batch
        else:
            parts = math.ceil(count / rows)  # of nearly the same size
            edges = [count * part // parts for part in range(parts + 1)]
            for start, stop in pairwise(edges):
                yield {
                    name: take_samples(values, slice(start, stop), axes.get(name, 0))
                    for name, values in batch.items()
                }


def hold_back(
    batches: Iterable[Batch], samples: int, model: onnx.ModelProto
) -> tuple[list[Batch], Iterable[Batch]]:
    """The first batches, until they hold so many samples, to be read again and again; and all of them, once.

    Args:
        batches: They are read no further than that.
        samples: At least 1; fewer are held where they would take more than :data:`HELD` bytes.
        model: Decides which inputs are first states of recurrences, which are zeros where a batch has none.
    """
    graph = Graph(model)
    states, axes = state_inputs(graph), sample_axes(graph)
    held: list[Batch] = []
    room = HELD
    rest = iter(batches)
    for batch in rest:
        count = samples_in(batch, states, axes)
        held.append(with_states(batch, states, count))
        samples -= count
        room -= sum(values.nbytes for values in batch.values())
        if samples <= 0 or room <= 0:
            break
    return held, chain(held, rest)


def first_of(batches: Iterable[Batch], samples: int, graph: Graph) -> list[Batch]:
    """The first batches, until they have so many samples."""
    states, axes = state_inputs(graph), sample_axes(graph)
    found: list[Batch] = []
    for batch in batches:
        if samples <= 0:
            break
        found.append(batch)
        samples -= samples_in(batch, states, axes)
    return found


def sample_bytes(batch: Batch, graph: Graph, tensors: Iterable[str]) -> int:
    """Bytes of some float32 tensors for one sample like those of the batch; 0 for those whose size is unknown."""
    return sum(_sample_bytes(graph, name, batch) for name in tensors)


def sample_axes(graph: Graph) -> dict[str, int]:
    """The axis that counts samples of each input: the one named ``batch``, or axis 0."""
    return {name: _sample_axis(graph.shape(name)) for name in graph.inputs}


def samples_in(batch: Batch, states: Mapping[str, Any], axes: Mapping[str, int]) -> int:
    """How many samples a batch has; 0 where it has nothing but first states.

    Args:
        batch: For each input its array.
        states: Inputs that are first states, by name.
        axes: As :func:`sample_axes` tells them.
    """
    counted = next((name for name in batch if name not in states and batch[name].ndim), None)
    return 0 if counted is None else int(batch[counted].shape[axes.get(counted, 0)])


def _sample_axis(shape: Sequence[int | str | None] | None) -> int:
    return shape.index(BATCH) if shape is not None and BATCH in shape else 0


def with_states(batch: Batch, states: Mapping[str, Any], count: int) -> Batch:
    """The batch with zeros for the first states that it leaves out."""
    missing = {
        name: np.zeros(shape(count), np.float32) for name, shape in states.items() if name not in batch
    }
    return {**batch, **missing}


def thinned(values: NDArray[Any], most: int) -> NDArray[Any]:
    """Values of each sample, evenly spread over it, at most so many: [samples, values].

    The step between two of them has no factor in common with the size of a sample, so that no axis is favoured:
    a step of 64 would meet one channel alone of 64.
    """
    if not values.ndim:
        return values.reshape(1, 1)
    flat = values.reshape(len(values), -1)
    step = max(1, math.ceil(flat.shape[1] / most))
    while step > 1 and math.gcd(step, flat.shape[1]) > 1:
        step += 1
    return flat[:, ::step]


def _takes_any_number(graph: Graph) -> bool:
    states = state_inputs(graph)
    fed = [name for name in graph.inputs if name not in states]
    shapes = [graph.shape(name) or (None,) for name in (*fed, *graph.outputs)]
    first = {shape[_sample_axis(shape)] for shape in shapes}
    return len(first) == 1 and isinstance(next(iter(first)), str)


def _sample_bytes(graph: Graph, name: str, batch: Batch) -> int:
    """Bytes of a float32 tensor for one sample."""
    shape = graph.shape(name)
    if shape is None:
        return 0
    sizes = dict[str, int]()
    for given, values in batch.items():
        named = zip(graph.shape(given) or (), values.shape, strict=False)
        sizes.update((axis, size) for axis, size in named if isinstance(axis, str))
    counts = _sample_axis(shape)
    of_sample = (*shape[:counts], *shape[counts + 1 :])
    known = [axis if isinstance(axis, int) else sizes.get(axis or "", 0) for axis in of_sample]
    return 4 * math.prod(known)
