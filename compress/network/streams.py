"""A task whose network carries a state: over whole streams, on which it is judged, and one call at a time.

What looks at single calls, as tracing, calibration, training and timing do, gets frames of the data with the states
that the original has there. They are chosen by chance from streams chosen by chance, so that states of all ages are
among them, and only they are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from compress.data.arrays import ArraySplit
from compress.data.split import Array, Batch, Split
from compress.data.task import Task
from compress.errors import DataError
from compress.metrics.agreement import agreement
from compress.metrics.metric import Metric
from compress.network.states import FRAMES, StreamRunner, Streams, zero_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compress.core.tensor_spec import TensorSpec
    from compress.network.states import Runs

#: Frames that are kept to look at or to time, to calibrate on, and to train on; and streams that they come from.
LOOKED_AT, CALIBRATED_ON, TRAINED_ON = 64, 512, 8192
_MOST_STREAMS = 64

#: Bytes of frames, with their states, that are kept at the most.
_MOST_BYTES = 1 << 28

#: Streams that run side by side where the network takes any number.
_SIDE_BY_SIDE = 16

#: How far a state that is given for tracing lies from its first value: zeros do not tell one stream from another.
_NUDGE = 0.1


def in_streams(
    task: Task, network: Runs, states: Mapping[str, str], *, calibrates: bool = True
) -> tuple[Task, Task]:
    """Return the task over whole streams, and for single calls; neither is bound to the network yet.

    Args:
        task: Task with data of streams, as it was loaded.
        network: Original network, which is run on a few of the streams.
        states: The output that is the next value of each input that is a state, by the input's name.
        calibrates: Whether anything is calibrated or trained; if not, only a few frames are taken as examples.

    Returns:
        Both tasks; :func:`with_calls` joins them once they are bound.

    Raises:
        UsageError: The network lacks one of the states.
        DataError: The data does not have streams of frames, or they do not fit.
        NetworkError: The network does not run on them.
    """
    streams = Streams.of(states, network.inputs, network.outputs, _shapes(task))
    metrics_by_output = {
        name: metric for name, metric in task.by_output.items() if name not in states.values()
    }
    in_frames = replace(task, whole=streams, by_output=metrics_by_output)
    runner, bound = streams.over(network), in_frames.bind(streams.inputs, streams.outputs)
    evaluation = frames_of(bound.evaluation, runner, LOOKED_AT)
    calibration = frames_of(bound.calibration, runner, CALIBRATED_ON) if calibrates else evaluation
    training = None
    if bound.training is not None:
        training = frames_of(bound.training, runner, TRAINED_ON)

    def of_calls(metric: Metric) -> bool:
        return evaluation.labelled and not metric.sequences

    single = replace(
        task,
        evaluation=evaluation,
        calibration=calibration,
        training=training,
        metric=task.metric if of_calls(task.metric) else agreement(),
        by_output={
            name: metric
            for name, metric in task.by_output.items()
            if not isinstance(metric, Metric) or of_calls(metric)
        },
    )
    return in_frames, single


def with_calls(whole: Task, single: Task) -> Task:
    """Join the bound task over whole streams with that of single calls.

    Args:
        whole: Task over whole streams, bound; see :func:`in_streams`.
        single: Task for single calls, bound; its outputs' kinds hold for every frame of a stream.
    """
    streams = whole.whole
    assert streams is not None
    kinds = [
        replace(kind, index=index, axis=None if kind.axis is None else kind.axis + 1)
        for index, kind in enumerate(kind for kind in single.kinds if kind.name not in streams.pairs.values())
    ]
    return replace(whole.bind(streams.inputs, streams.outputs, kinds), single=single)


def frames_of(split: Split, runner: StreamRunner, most: int, seed: int = 0) -> Split:
    """Return frames of streams, each a sample, with the states that a network has there.

    Args:
        split: Samples of streams, bound to the runner's inputs.
        runner: Runner of the original network.
        most: Largest number of frames to keep.
        seed: Seed of the choice of frames.

    Returns:
        Samples of one call, states included, each input's along axis 0; with the targets of the frame, where there
        are some of every frame.
    """
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(len(split))[:_MOST_STREAMS])
    side_by_side = _SIDE_BY_SIDE if runner.any_number else 1
    rows: list[dict[str, Array]] = []
    targets: list[Array] = []
    size = 0
    for batch in split.take(chosen).batches(side_by_side):
        frames = runner.frames(batch.inputs)
        chosen_frames = random.permutation(frames)[: -(-most // len(chosen))]
        of_frames = _of_frames(batch.targets, frames)
        for number, fed in _first_calls(runner, batch, int(chosen_frames.max()) + 1):
            if number not in chosen_frames:
                continue
            rows += (runner.samples(fed, row) for row in range(len(batch)))
            targets += [] if of_frames is None else list(of_frames[:, number])
        size = sum(array.nbytes for row in rows[:1] for array in row.values()) * len(rows)
        if size > _MOST_BYTES:
            break
    shapes = {tuple(array.shape for array in row.values()) for row in rows}
    if len(shapes) > 1:
        raise DataError(
            "frames of one shape",
            f"frames of {len(shapes)} shapes",
            "cut streams into frames of one length, or pad them",
        )
    chosen_rows = random.permutation(len(rows))[:most]  # states of all ages among the first
    samples = {name: np.stack([rows[row][name] for row in chosen_rows]) for name in rows[0]}
    labels = np.array([targets[row] for row in chosen_rows]) if targets else None
    return ArraySplit(Batch(samples, labels), {**split.origin, FRAMES: len(chosen_rows)})


def first_frames(task: Task, states: Mapping[str, str], sizes: Sequence[TensorSpec] = ()) -> dict[str, Array]:
    """Return samples of one call to trace a network with, before it is known how it runs: a middle frame.

    Args:
        task: Task with data of streams, not bound.
        states: The output that is the next value of each input that is a state.
        sizes: Sizes of states, by their names, as far as known.

    Returns:
        Arrays ``(n, …)``, n ≥ 2 where there are as many streams. A state without a first value in the data and of
        unknown size is left out.
    """
    arrays = task.example()
    stateless = {name: array for name, array in arrays.items() if name not in states}
    frames = next((array.shape[1] for array in stateless.values() if array.ndim > 1), 0)
    frame = {
        name: array[:, frames // 2] if array.ndim > 1 and array.shape[1] == frames else array
        for name, array in stateless.items()
    }
    rows = len(next(iter(arrays.values())))
    random = np.random.default_rng(0)
    for name in states:
        first = arrays.get(name)
        spec = next((spec for spec in sizes if spec.name == name), None)
        shape = None if spec is None else zero_row(spec)
        if first is None and spec is not None and shape is not None:
            first = np.zeros((rows, *shape), spec.dtype)
        if first is not None:
            nudge = random.uniform(0, _NUDGE, first.shape)
            frame[name] = (first + nudge).astype(first.dtype) if first.dtype.kind == "f" else first
    return frame


def _first_calls(runner: StreamRunner, batch: Batch, count: int) -> Iterator[tuple[int, dict[str, Array]]]:
    for number, (fed, _) in zip(range(count), runner.calls(batch.inputs), strict=False):
        yield number, fed


def _of_frames(targets: Array | None, frames: int) -> Array | None:
    """Return the targets of every frame, ``(streams, frames, …)``; None where there are none."""
    there = (
        targets is not None and targets.dtype != object and targets.ndim > 1 and targets.shape[1] == frames
    )
    return targets if there else None


def _shapes(task: Task) -> dict[str, tuple[int, ...]]:
    batch_inputs = next(task.evaluation.batches(1)).inputs
    return {name: (len(task.evaluation), *array.shape[1:]) for name, array in batch_inputs.items()}
