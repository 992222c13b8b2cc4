"""Another order of the classes that explains a network's answers far better than the data's own order does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.data.chance import Looked
from compress.statistics.paired import mcnemar_exact

#: Another explanation has to be right this much more often, and by chance at most so often.
_GAIN, _BY_CHANCE = 0.15, 0.001
#: Explanations whose shares differ by less are about as good.
_ALIKE = 0.05
#: In another order of the classes, answers have meanings of their own, and most answers were seen before.
_ONE_TO_ONE, _KNOWN = 0.8, 0.5


@dataclass(frozen=True)
class Explanation:
    """Another way to read the answers or to feed the network.

    Attributes:
        share: Share of the samples that are right under it, in [0, 1].
        text: Sentence that says what to change, with both shares.
    """

    share: float
    text: str


def explains(change: str, before: Looked, after: Looked) -> Explanation | None:
    """Return an explanation with its figures; None where it is not far better, or no better than chance itself.

    Args:
        change: Phrase that says what to change.
        before: The network's answers to the samples as the data is.
        after: The same samples under the explanation.
    """
    gained, lost = int((after.right & ~before.right).sum()), int((before.right & ~after.right).sum())
    enough = gained - lost >= _GAIN * len(before.labels) and mcnemar_exact(gained, lost) < _BY_CHANCE
    if not enough or not after.better_than_chance:
        return None
    share, now = float(after.right.mean()), float(before.right.mean())
    of = f"of {len(before.labels)} samples instead of {100 * now:.0f} %"
    return Explanation(share, f"{change} it would be right on {100 * share:.0f} % {of}")


def simplest(explanations: Sequence[Explanation | None]) -> Explanation | None:
    """Return the first of those that explain about as much as the best; None where there is none.

    Args:
        explanations: Explanations, the simplest first; None for those that explain nothing.
    """
    return next(iter(about_as_good(explanations)), None)


def about_as_good(explanations: Sequence[Explanation | None]) -> list[Explanation]:
    """Return the explanations that explain about as much as the best of them, in their order.

    Args:
        explanations: Explanations; None for those that explain nothing.
    """
    ways = [explanation for explanation in explanations if explanation is not None]
    best = max((way.share for way in ways), default=0.0)
    return [way for way in ways if way.share >= best - _ALIKE]


def relabelled(looked: Looked, names: Sequence[str] | None) -> Explanation | None:
    """Return another order of the classes that explains the answers far better; None where none does.

    Args:
        looked: The network's answers to the samples.
        names: Names of the classes, by label; None where the data has none.
    """
    explanations = [
        _from_one(looked),
        _background(looked),
        _by_number(looked, names),
        _permuted(looked, names),
    ]
    return simplest(explanations)


def _from_one(looked: Looked) -> Explanation | None:
    if looked.labels.min() < 1:
        return None
    description = "labels seem to begin at 1, or the network leaves a class out: with labels - 1"
    return explains(description, looked, _read_as(looked, looked.labels - 1))


def _background(looked: Looked) -> Explanation | None:
    if looked.labels.max() + 1 >= looked.classes:
        return None
    description = "the network seems to have a background class first: with labels + 1"
    return explains(description, looked, _read_as(looked, looked.labels + 1))


def _by_number(looked: Looked, names: Sequence[str] | None) -> Explanation | None:
    order = _numeric_order(names)
    if order is None or len(order) <= looked.labels.max():
        return None
    description = (
        "class folders are in the order of the alphabet (1, 10, 2, …; --classes FILE gives another): in the order of "
        "their numbers"
    )
    return explains(description, looked, _read_as(looked, order[looked.labels]))


def _read_as(looked: Looked, labels: NDArray[np.int64]) -> Looked:
    return Looked(looked.predicted, labels, looked.classes)


def _permuted(looked: Looked, names: Sequence[str] | None) -> Explanation | None:
    """Any other order: learned on every other sample, and judged on the rest."""
    learns = np.arange(len(looked.labels)) % 2 == 0
    meaning = _learned(looked.predicted[learns], looked.labels[learns])
    before = Looked(looked.predicted[~learns], looked.labels[~learns], looked.classes)
    is_known = np.isin(before.predicted, list(meaning))
    if len(set(meaning.values())) < _ONE_TO_ONE * len(meaning) or is_known.mean() < _KNOWN:
        return None
    no_label = max(looked.classes, int(looked.labels.max()) + 1)  # an answer without a meaning is wrong
    mapped = np.array([meaning.get(int(predicted), no_label) for predicted in before.predicted])
    pairs = [f"{_name(label, names)} is its class {answer}" for answer, label in sorted(meaning.items())][:3]
    description = (
        f"the classes seem to be in another order than the network's ({', '.join(pairs)}, …; --classes FILE orders "
        "class folders): in that order"
    )
    return explains(description, before, Looked(mapped, before.labels, looked.classes))


def _learned(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[int, int]:
    """The label that most samples of each answer have."""
    return {
        int(predicted_class): int(np.bincount(labels[predicted == predicted_class]).argmax())
        for predicted_class in np.unique(predicted)
    }


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
