"""Whether the original network does on the data what it was trained for, before anything is compared with it.

A network that is fed or judged wrongly is right by chance alone, and every build of it keeps that "accuracy". Where
that is so, or where another order of the classes or another preparation of the images explains the outputs far better,
a sentence names the likely cause.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compress.core.tensor_spec import TensorSpec, fixed_batch
from compress.data.chance import Looked
from compress.data.preparations import Preparation, channels, preparations
from compress.data.relabelling import Explanation, about_as_good, explains, relabelled, simplest
from compress.data.split import Array
from compress.data.task import Task

#: Gives the outputs of a network for a batch, by input name.
Runs = Callable[[Mapping[str, Array]], Sequence[Array]]
#: The inputs of some samples, and their labels.
_Batch = tuple[dict[str, Array], NDArray[np.int64]]

#: Samples that are looked at, and the seconds after which no further batch is run.
_SAMPLES, _SECONDS = 400, 5.0
#: Samples that are looked at before a network is called no better than chance: some are only a little better.
_SAMPLES_OF_CHANCE = 4000
#: The largest and smallest number of samples on which other preparations of the images are tried, and the seconds that
#: all tries together may take for more than the smallest.
_TRIED, _TRIED_AT_LEAST, _TRIES_S = 128, 32, 5.0
_BATCH = 32
#: Fewer samples say nothing about chance.
_LEAST = 20
#: A network that is right this often, and not by chance, is not doubted.
_GOOD = 0.9


def doubts(
    run: Runs, task: Task, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[str, ...]:
    """Return the doubts about the original network on the data, a sentence each; empty where there are none.

    Only networks whose first judged output scores classes are looked at, on data of two classes or more.

    Args:
        run: Runs the original.
        task: Its data, bound to its inputs.
        inputs: Inputs of the network.
        outputs: Outputs of the network.
    """
    place = _scores_at(task, outputs)
    if place is None:
        return ()
    batches_read: list[_Batch] = []
    begin = time.monotonic()
    looked = _look(run, _keeping(_batches(task, inputs, _SAMPLES), batches_read), place)
    seconds = time.monotonic() - begin
    if looked is None or len(looked.labels) < _LEAST or len(np.unique(looked.labels)) < 2:
        return ()
    if looked.right.mean() >= _GOOD and not looked.at_chance:
        return ()
    each_s = seconds / len(looked.labels)
    causes = (relabelled(looked, task.classes), _prepared(run, batches_read, place, inputs, looked, each_s))
    likely_causes = [cause.text for cause in about_as_good(causes)]
    if not likely_causes and looked.at_chance and len(task.evaluation) > len(looked.labels):
        looked = _look(run, _batches(task, inputs, _SAMPLES_OF_CHANCE), place) or looked
    if not likely_causes and not looked.at_chance:
        return ()
    return (f"{_told(looked)}: {'; '.join(likely_causes) or _likely(looked, inputs)}",)


def _told(looked: Looked) -> str:
    count, share = len(looked.labels), 100 * looked.right.mean()
    share_told = f"the original is right on {share:.0f} % of {count} samples"
    return (
        f"{share_told}, which is chance ({100 * looked.expected:.0f} %)" if looked.at_chance else share_told
    )


def _likely(looked: Looked, inputs: Sequence[TensorSpec]) -> str:
    """Return a phrase with the likely causes of a bad result, for a network whose own cause was not found."""
    if any(len(spec.shape) == 4 for spec in inputs):
        prepared = "images prepared otherwise than in training (mean and std, scale, order of the colours)"
    elif any(np.dtype(spec.dtype).kind in "iu" for spec in inputs):
        prepared = "numbers of tokens from another tokenizer or vocabulary than in training"
    else:
        prepared = "values prepared otherwise than in training (mean and std, scale, order of the features)"
    answers = np.unique(looked.predicted)
    same = f"it gives class {answers[0]} for each of them; " if len(answers) == 1 else ""
    return f"{same}likely causes: the order of the classes, labels that begin at 1, or {prepared}"


def _scores_at(task: Task, outputs: Sequence[TensorSpec]) -> int | None:
    """The place of the output that scores classes; None where labels are judged otherwise."""
    metric = task.metric
    if not metric.class_labels or task.whole is not None or task.evaluation.labels is None:
        return None
    for place, spec in enumerate(outputs):
        if spec.name in metric.outputs:
            return place if len(spec.shape) == 2 and spec.shape[1] != 1 else None
    return None


def _batches(task: Task, inputs: Sequence[TensorSpec], most: int) -> Iterator[_Batch]:
    """Samples spread over the whole data, with their labels, read as they are asked for."""
    data = task.evaluation
    rows = np.unique(np.linspace(0, len(data) - 1, min(most, len(data))).astype(np.int64))
    chosen = data.take(rows)
    fixed, labels, done = fixed_batch(inputs), chosen.labels, 0
    assert labels is not None
    for batch in chosen.batches(fixed or _BATCH):
        size = len(batch)
        if fixed is None or size == fixed:
            yield dict(batch.inputs), labels[done : done + size]
        done += size


def _keeping(batches: Iterable[_Batch], batches_read: list[_Batch]) -> Iterator[_Batch]:
    """The same batches; the first are kept to be tried in other preparations."""
    for batch in batches:
        if _size(batches_read) < _TRIED:
            batches_read.append(batch)
        yield batch


def _size(batches: Iterable[_Batch]) -> int:
    return sum(len(labels) for _, labels in batches)


def _look(
    run: Runs,
    batches: Iterable[_Batch],
    place: int,
    prepare: Preparation | None = None,
    seconds: float = _SECONDS,
) -> Looked | None:
    """Return the network's answers to the samples with images prepared in another way; None for no class scores."""
    predicted, labels = [], []
    end = time.monotonic() + seconds
    classes = 0
    for feeds, targets in batches:
        fed = feeds if prepare is None else {name: prepare(array) for name, array in feeds.items()}
        scores = np.asarray(run(fed)[place])
        if scores.ndim != 2 or len(scores) != len(targets) or scores.shape[1] < 2 or np.isnan(scores).any():
            return None
        classes = scores.shape[1]
        predicted.append(np.argmax(scores, axis=1))
        labels.append(targets)
        if time.monotonic() > end:  # enough to say something of a network that is slow
            break
    if not labels:
        return None
    return Looked(np.concatenate(predicted), np.concatenate(labels), classes)


def _prepared(
    run: Runs,
    batches_read: Sequence[_Batch],
    place: int,
    inputs: Sequence[TensorSpec],
    looked: Looked,
    seconds: float,
) -> Explanation | None:
    """Another preparation of the images under which the network is right far more often; None where none is.

    Args:
        run: Runs the original.
        batches_read: The first samples that were looked at.
        place: The place of the output that scores classes.
        inputs: Inputs of the network.
        looked: Its answers to all samples, those that are kept first.
        seconds: Time that it takes for one sample.
    """
    axis = channels(inputs)
    if axis is None:
        return None
    ways = preparations(next(iter(batches_read[0][0].values())), axis)
    affordable = int(_TRIES_S / max(seconds * len(ways), 1e-9))
    chosen = _first(batches_read, min(max(affordable, _TRIED_AT_LEAST), _TRIED))
    tried = _size(chosen)
    plain = Looked(looked.predicted[:tried], looked.labels[:tried], looked.classes)
    explanations = []
    for description, prepare in ways.items():
        other = _look(run, chosen, place, prepare, math.inf)
        explanations.append(None if other is None else explains(description, plain, other))
    best = simplest(explanations)
    if best is None:
        return None
    return replace(best, text=f"images seem to be prepared otherwise than in training: {best.text}")


def _first(batches: Sequence[_Batch], count: int) -> list[_Batch]:
    """The first batches, with as many samples as wanted or a few more."""
    chosen: list[_Batch] = []
    for batch in batches:
        if _size(chosen) >= count:
            break
        chosen.append(batch)
    return chosen
