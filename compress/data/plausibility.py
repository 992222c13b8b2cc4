"""Whether the original network does on the data what it was trained for, before anything is compared with it.

A network that is fed or judged wrongly is right by chance alone, and every build of it keeps that "accuracy". Where
that is so, or where another order of the classes or another preparation of the images explains the outputs far better,
a sentence names the likely cause.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.core.tensor_spec import TensorSpec, fixed_batch
from compress.data.split import Array
from compress.data.task import Task
from compress.statistics.paired import mcnemar_exact

#: Gives the outputs of a network for a batch, by input name.
Runs = Callable[[Mapping[str, Array]], Sequence[Array]]

#: Samples that are looked at, and the seconds after which no further batch is run.
_SAMPLES, _SECONDS = 400, 5.0
#: The largest and smallest number of samples on which other preparations of the images are tried, and the seconds that
#: all tries together may take for more than the smallest.
_TRIED, _TRIED_AT_LEAST, _TRIES_S = 128, 32, 5.0
_BATCH = 32
#: Fewer samples say nothing about chance.
_LEAST = 20

#: A network is better than chance from so many standard deviations on.
_BETTER = 3.0
#: Another explanation has to be right this much more often, and by chance at most so often.
_GAIN, _BY_CHANCE = 0.15, 0.001
#: Explanations that differ by less are about as good.
_ALIKE = 0.05
#: In another order of the classes, answers have meanings of their own, and most answers were seen before.
_ONE_TO_ONE, _KNOWN = 0.8, 0.5
#: A network that is right this often is not doubted.
_GOOD = 0.9

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Looked:
    """What a network said about samples whose class is known.

    Attributes:
        predicted: ``(n,)`` the class with the highest score.
        labels: ``(n,)`` the class that the data says.
        classes: How many classes the network scores.
    """

    predicted: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: int

    @property
    def right(self) -> NDArray[np.bool_]:
        """``(n,)`` whether the network is right."""
        return np.equal(self.predicted, self.labels)

    @property
    def expected(self) -> float:
        """The share that would be right if answers and labels had nothing to do with one another."""
        answers, labels = self._shares()
        return float(answers @ labels)

    @property
    def at_chance(self) -> bool:
        """Whether the network is not clearly right more often than answers that do not look at the input."""
        count = len(self.labels)
        answers, labels = self._shares()
        # Variance of the number of hits where answers and labels are paired at random (W. Hoeffding, "A combinatorial
        # central limit theorem", 1951).
        both = answers * labels
        spread = both.sum() - both @ (answers + labels) + both.sum() ** 2
        deviation = math.sqrt(max(count * spread, 0.0) * count / max(count - 1, 1))
        hits, chance = int(self.right.sum()), count * self.expected
        return hits <= chance or hits - chance < _BETTER * deviation

    def _shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        size = int(max(self.predicted.max(), self.labels.max(), 0)) + 1
        counts = (np.bincount(each, minlength=size) for each in (self.predicted, self.labels))
        answers, labels = (each / len(self.labels) for each in counts)
        return answers, labels


def doubts(
    run: Runs, task: Task, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[str, ...]:
    """What speaks against the original network on the data, a sentence each; empty where nothing does.

    Only networks whose first judged output scores classes are looked at.

    Args:
        run: Runs the original.
        task: Its data, bound to its inputs.
        inputs: Inputs of the network.
        outputs: Outputs of the network.
    """
    place = _scores_at(task, outputs)
    if place is None:
        return ()
    batches = list(_batches(task, inputs))
    begin = time.monotonic()
    looked = _look(run, batches, place, None)
    seconds = time.monotonic() - begin
    if looked is None or len(looked.labels) < _LEAST:
        return ()
    share = float(looked.right.mean())
    if share >= _GOOD:
        return ()
    found = [
        each
        for each in (
            _relabelled(looked, task.classes),
            _prepared(run, batches, place, inputs, seconds / len(looked.labels)),
        )
        if each is not None
    ]
    count = len(looked.labels)
    told = f"the original is right on {100 * share:.0f} % of {count} samples"
    if looked.at_chance:
        told += f", which is chance ({100 * looked.expected:.0f} %)"
    elif not found:
        return ()
    why = "; ".join(found) or (
        "likely causes: the order of the classes, labels that begin at 1, or images prepared otherwise than in "
        "training (mean and std, scale, order of the colours)"
    )
    return (f"{told}: {why}",)


def _scores_at(task: Task, outputs: Sequence[TensorSpec]) -> int | None:
    """The place of the output that scores classes; None where labels are judged otherwise."""
    metric = task.metric
    if not metric.class_labels or task.streams is not None or task.evaluation.labels is None:
        return None
    for place, spec in enumerate(outputs):
        if spec.name in metric.outputs:
            return place if len(spec.shape) == 2 and spec.shape[1] != 1 else None
    return None


def _batches(
    task: Task, inputs: Sequence[TensorSpec]
) -> Iterator[tuple[dict[str, Array], NDArray[np.int64]]]:
    """Samples spread over the whole data, with their labels."""
    data = task.evaluation
    rows = np.unique(np.linspace(0, len(data) - 1, min(_SAMPLES, len(data))).astype(np.int64))
    chosen = data.take(rows)
    fixed, labels, done = fixed_batch(inputs), chosen.labels, 0
    assert labels is not None
    for batch in chosen.batches(fixed or _BATCH):
        size = len(batch)
        if fixed is None or size == fixed:
            yield dict(batch.inputs), labels[done : done + size]
        done += size


def _look(
    run: Runs,
    batches: Sequence[tuple[dict[str, Array], NDArray[np.int64]]],
    place: int,
    prepare: Callable[[Array], Array] | None,
    seconds: float = _SECONDS,
) -> Looked | None:
    """What the network says about the samples, with their images prepared in another way; None for no class scores."""
    predicted, labels = [], []
    end = time.monotonic() + seconds
    classes = 0
    for feeds, wanted in batches:
        fed = feeds if prepare is None else {name: prepare(array) for name, array in feeds.items()}
        scores = np.asarray(run(fed)[place])
        if scores.ndim != 2 or len(scores) != len(wanted) or scores.shape[1] < 2:
            return None
        classes = scores.shape[1]
        predicted.append(np.argmax(scores, axis=1))
        labels.append(wanted)
        if time.monotonic() > end:  # enough to say something of a network that is slow
            break
    if not labels:
        return None
    return Looked(np.concatenate(predicted), np.concatenate(labels), classes)


def _better(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> bool:
    """Whether another explanation is right far more often, and not by chance."""
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    return gained - lost >= _GAIN * len(before) and mcnemar_exact(gained, lost) < _BY_CHANCE


def _relabelled(looked: Looked, names: Sequence[str] | None) -> str | None:
    """Another order of the classes that explains the answers far better, in words; None where none does."""
    ways = [_shifted(looked, shift) for shift in (1, -1)]
    ways += [_by_number(looked, names), _permuted(looked, names)]
    found = [each for each in ways if each is not None]
    # The simplest of those that explain about as much.
    best = max((way.share for way in found), default=0.0)
    return next((way.told for way in found if way.share >= best - _ALIKE), None)


@dataclass(frozen=True)
class _Way:
    """An explanation, and the share of samples that are right under it."""

    share: float
    told: str


def _way(told: str, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> _Way | None:
    """An explanation with its figures; None where it is not far better."""
    if not _better(before, after):
        return None
    share = float(after.mean())
    return _Way(
        share, f"{told} it would be right on {100 * share:.0f} % instead of {100 * before.mean():.0f} %"
    )


def _shifted(looked: Looked, shift: int) -> _Way | None:
    told = (
        "labels seem to begin at 1, or the network leaves a class out: with labels - 1"
        if shift == 1
        else "the network seems to have a background class first: with labels + 1"
    )
    return _way(told, looked.right, looked.predicted == looked.labels - shift)


def _by_number(looked: Looked, names: Sequence[str] | None) -> _Way | None:
    order = _numeric_order(names)
    if order is None or len(order) <= looked.labels.max():
        return None
    told = (
        "class folders are in the order of the alphabet (1, 10, 2, …; --classes FILE gives another): in the order of "
        "their numbers"
    )
    return _way(told, looked.right, looked.predicted == order[looked.labels])


def _permuted(looked: Looked, names: Sequence[str] | None) -> _Way | None:
    """Any other order: learned on every other sample, and judged on the rest."""
    learns = np.arange(len(looked.labels)) % 2 == 0
    meaning = _learned(looked.predicted[learns], looked.labels[learns])
    answers, labels = looked.predicted[~learns], looked.labels[~learns]
    known = np.isin(answers, list(meaning))
    if len(set(meaning.values())) < _ONE_TO_ONE * len(meaning) or known.mean() < _KNOWN:
        return None
    mapped = np.array([meaning.get(int(each), -1) for each in answers])
    pairs = [f"{_name(label, names)} is its class {answer}" for answer, label in sorted(meaning.items())][:3]
    told = (
        f"the classes seem to be in another order than the network's ({', '.join(pairs)}, …; --classes FILE orders "
        "class folders): in that order"
    )
    return _way(told, looked.right[~learns], mapped == labels)


def _learned(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[int, int]:
    """The label that most samples of each answer have."""
    return {int(each): int(np.bincount(labels[predicted == each]).argmax()) for each in np.unique(predicted)}


def _numeric_order(names: Sequence[str] | None) -> NDArray[np.int64] | None:
    """The place of each class in the order of the numbers that their names are; None where they are none."""
    if names is None or not all(name.isascii() and name.isdigit() for name in names):
        return None
    order = sorted(range(len(names)), key=lambda place: int(names[place]))
    if order == list(range(len(names))):
        return None
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def _name(label: int, names: Sequence[str] | None) -> str:
    return f"'{names[label]}'" if names is not None and label < len(names) else f"label {label}"


def _prepared(
    run: Runs,
    batches: Sequence[tuple[dict[str, Array], NDArray[np.int64]]],
    place: int,
    inputs: Sequence[TensorSpec],
    seconds: float,
) -> str | None:
    """Another preparation of the images under which the network is right far more often; None where none is."""
    axis = _channels(inputs)
    if axis is None:
        return None
    ways = _preparations(batches, axis)
    affordable = int(_TRIES_S / max(seconds * (len(ways) + 1), 1e-9))
    chosen = _first(batches, min(max(affordable, _TRIED_AT_LEAST), _TRIED))
    plain = _look(run, chosen, place, None, math.inf)
    if plain is None:
        return None
    best: tuple[float, str] | None = None
    for told, prepare in ways.items():
        other = _look(run, chosen, place, prepare, math.inf)
        if other is None or not _better(plain.right, other.right):
            continue
        share = float(other.right.mean())
        if best is None or share > best[0]:
            best = share, told
    if best is None:
        return None
    share, told = best
    return (
        f"images seem to be prepared otherwise than in training: {told} it would be right on {100 * share:.0f} % "
        f"instead of {100 * plain.right.mean():.0f} %"
    )


def _first(
    batches: Sequence[tuple[dict[str, Array], NDArray[np.int64]]], count: int
) -> list[tuple[dict[str, Array], NDArray[np.int64]]]:
    """The first batches, with as many samples as wanted or a few more."""
    chosen: list[tuple[dict[str, Array], NDArray[np.int64]]] = []
    for batch in batches:
        if sum(len(labels) for _, labels in chosen) >= count:
            break
        chosen.append(batch)
    return chosen


def _channels(inputs: Sequence[TensorSpec]) -> int | None:
    """The axis of the colours of the only input, where that is an image of floats; None where it is not."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or not inputs[0].dtype.startswith("float"):
        return None
    shape = inputs[0].shape
    return next((axis for axis in (1, 3) if shape[axis] in (1, 3)), None)


def _preparations(
    batches: Sequence[tuple[dict[str, Array], NDArray[np.int64]]], axis: int
) -> dict[str, Callable[[Array], Array]]:
    """The usual ways in which images are prepared, beside the one that the data is in, by what is to be done."""
    first = next(iter(batches[0][0].values()))
    low, high, colours = float(first.min()), float(first.max()), first.shape[axis]

    def per_channel(values: Sequence[float]) -> Array:
        shape = [1] * first.ndim
        shape[axis] = colours
        return np.asarray(values, np.float32).reshape(shape)

    ways: dict[str, Callable[[Array], Array]] = {}
    scale = 255.0 if high > 2 else 1.0
    if scale > 1:
        ways["with pixels divided by 255 (scale = 255)"] = lambda array: array / np.float32(255)
    elif low >= 0:
        ways["with pixels from 0 to 255 (scale = 1)"] = lambda array: array * np.float32(255)
    if low >= 0:
        half = "with mean = 0.5 and std = 0.5"
        ways[half] = lambda array: (array / np.float32(scale) - np.float32(0.5)) / np.float32(0.5)
        if colours == 3:
            mean, std = per_channel(_IMAGENET_MEAN), per_channel(_IMAGENET_STD)
            told = "with ImageNet's mean and std (mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225])"
            ways[told] = lambda array: (array / np.float32(scale) - mean) / std
            ways[f"{told} and colours in the order BGR"] = lambda array: (
                (np.flip(array, axis) / np.float32(scale) - mean) / std
            )
    else:
        ways["with pixels from 0 to 1, and neither mean nor std,"] = lambda array: (
            (array - array.min()) / max(float(array.max() - array.min()), 1e-6)
        ).astype(np.float32)
    if colours == 3:
        ways["with colours in the other order (RGB or BGR)"] = lambda array: np.flip(array, axis)
    return {told: _contiguous(way) for told, way in ways.items()}


def _contiguous(way: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def prepare(array: Array) -> Array:
        with np.errstate(all="ignore"):  # pixels of any size may overflow in one of the ways
            return np.ascontiguousarray(way(array), dtype=array.dtype)

    return prepare
