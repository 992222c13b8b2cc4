"""Whether answers have anything to do with the classes of the samples, or are right by chance alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.statistics import binomial

#: Standard deviations above chance from which on a network is better than chance: one in 30,000 at chance gets there.
_BETTER = 4.0
#: A network that does what it was trained for makes up for at least this share of what chance leaves wrong.
_USEFUL = 0.5
#: Where a network that is useful would do as badly so often, the samples cannot tell.
_RARE = 0.025


@dataclass(frozen=True)
class Looked:
    """Answers of a network for samples whose class is known.

    Attributes:
        predicted: ``(n,)`` the class with the highest score.
        labels: ``(n,)`` the class that the data says.
        classes: Number of classes that the network scores.
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
        """The share that would be right if answers and labels had nothing to do with one another, in [0, 1]."""
        answers, labels = self._shares()
        return float(answers @ labels)

    @property
    def better_than_chance(self) -> bool:
        """Whether the network is clearly right more often than answers that do not look at the input."""
        count = len(self.labels)
        answers, labels = self._shares()
        # Variance of the number of hits where answers and labels are paired at random (W. Hoeffding, "A combinatorial
        # central limit theorem", 1951); few hits are skewed as a Poisson number is, which the last term makes up for
        # (E. A. Cornish and R. A. Fisher, 1937).
        both = answers * labels
        spread = both.sum() - both @ (answers + labels) + both.sum() ** 2
        deviation = math.sqrt(max(count * spread, 0.0) * count / max(count - 1, 1))
        excess = int(self.right.sum()) - count * self.expected
        return excess > _BETTER * deviation + (_BETTER**2 - 1) / 6

    @property
    def at_chance(self) -> bool:
        """Whether the network is right by chance alone, on samples that would show it if it were not.

        One that always gives the commonest class is. Samples of a single class show nothing, and neither do so few
        that a network that makes up for half of what chance leaves wrong might do as badly on them.
        """
        if len(np.unique(self.labels)) < 2 or self.better_than_chance:
            return False
        useful = self.expected + _USEFUL * (1 - self.expected)
        as_bad = binomial.at_most(binomial.pmf(len(self.labels), useful))[int(self.right.sum())]
        return bool(as_bad < _RARE)

    def _shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        size = int(max(self.predicted.max(), self.labels.max(), 0)) + 1
        counts = (np.bincount(classes, minlength=size) for classes in (self.predicted, self.labels))
        answers, labels = (count / len(self.labels) for count in counts)
        return answers, labels
