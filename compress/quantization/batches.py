"""Batches of samples that bound memory: the samples of one run, and the samples that are kept."""

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
    """Yield the samples in batches at most as large as given, and so small that their tensors fit in memory.

    A batch stays whole where the network does not take any number of samples. It takes any number where the axis of the
    samples has one and the same name in every input and in every output.

    Args:
        batches: Batches, an array for each input as the network takes it. They are read one at a time.
        graph: Graph of a network whose shapes are inferred.
        tensors: Names of the tensors that a run returns; those of unknown size do not count.
        at_once: Largest size of these tensors in memory at once, in bytes.
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
    """Return the first batches with so many samples, which may be read again; and an iterator over all, once.

    Args:
        batches: Batches, of which only the first are read at once.
        samples: Number of samples to hold, ≥ 1; fewer where they would exceed :data:`HELD` bytes.
        model: Model that tells which inputs are first states of recurrences; these are zeros where a batch has none.
    """
    graph = Graph(model)
    states, axes = state_inputs(graph), sample_axes(graph)
    held: list[Batch] = []
    room = HELD
    remaining = iter(batches)
    for batch in remaining:
        count = samples_in(batch, states, axes)
        held.append(with_states(batch, states, count))
        samples -= count
        room -= sum(values.nbytes for values in batch.values())
        if samples <= 0 or room <= 0:
            break
    return held, chain(held, remaining)


def first_of(batches: Iterable[Batch], samples: int, graph: Graph) -> list[Batch]:
    """Return the first batches, until they have so many samples."""
    states, axes = state_inputs(graph), sample_axes(graph)
    batches_read: list[Batch] = []
    for batch in batches:
        if samples <= 0:
            break
        batches_read.append(batch)
        samples -= samples_in(batch, states, axes)
    return batches_read


def samples_of(batches: Iterable[Batch], samples: int, graph: Graph) -> list[Batch]:
    """Return the first so many samples and no more, but for whole batches where the network takes no other number."""
    axes, any_number = sample_axes(graph), _takes_any_number(graph)
    batches_read = first_of(batches, samples, graph)
    if not batches_read or not any_number:
        return batches_read
    last = batches_read[-1]
    samples_left = samples - sum(samples_in(batch, {}, axes) for batch in batches_read[:-1])
    batches_read[-1] = {
        name: take_samples(values, slice(0, samples_left), axes.get(name, 0)) for name, values in last.items()
    }
    return batches_read


def sample_bytes(batch: Batch, graph: Graph, tensors: Iterable[str]) -> int:
    """Return the size of float32 tensors for one sample like those of the batch, in bytes; 0 where unknown."""
    return sum(_sample_bytes(graph, name, batch) for name in tensors)


def sample_axes(graph: Graph) -> dict[str, int]:
    """Return the axis that counts samples of each input: the one named ``batch``, or axis 0."""
    return {name: _sample_axis(graph.shape(name)) for name in graph.inputs}


def samples_in(batch: Batch, states: Mapping[str, Any], axes: Mapping[str, int]) -> int:
    """Return the number of samples in a batch; 0 where it has only first states.

    Args:
        batch: Array of each input.
        states: Names of the inputs that are first states.
        axes: Axes that :func:`sample_axes` returned.
    """
    counted = next((name for name in batch if name not in states and batch[name].ndim), None)
    return 0 if counted is None else int(batch[counted].shape[axes.get(counted, 0)])


def _sample_axis(shape: Sequence[int | str | None] | None) -> int:
    return shape.index(BATCH) if shape is not None and BATCH in shape else 0


def with_states(batch: Batch, states: Mapping[str, Any], count: int) -> Batch:
    """Return the batch with zeros for the first states that it leaves out."""
    missing = {
        name: np.zeros(shape(count), np.float32) for name, shape in states.items() if name not in batch
    }
    return {**batch, **missing}


def thinned(values: NDArray[Any], most: int) -> NDArray[Any]:
    """Return at most so many values of each sample, evenly spread over it: [samples, values].

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
    """Return the size of a float32 tensor for one sample, in bytes."""
    shape = graph.shape(name)
    if shape is None:
        return 0
    sizes = dict[str, int]()
    for input_name, values in batch.items():
        named = zip(graph.shape(input_name) or (), values.shape, strict=False)
        sizes.update((axis, size) for axis, size in named if isinstance(axis, str))
    counts = _sample_axis(shape)
    of_sample = (*shape[:counts], *shape[counts + 1 :])
    lengths = [axis if isinstance(axis, int) else sizes.get(axis or "", 0) for axis in of_sample]
    return 4 * math.prod(lengths)
