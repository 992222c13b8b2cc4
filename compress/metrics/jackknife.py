"""Values for single samples of a figure that belongs to all samples together.

For a figure θ of n samples, such as a mean over classes of a ratio of sums, sample i gets ::

    value(i) = θ + influence(i),   where the influences sum to 0

so that the mean of the values is θ itself, and the spread of the mean is the spread of θ: what is known of a mean,
paired by sample and with bounds, is then known of θ. There are two ways to the influence:

    jackknife                 (n - 1)(mean of θ₋ⱼ over all j - θ₋ᵢ), where θ₋ᵢ is the figure without sample i
    infinitesimal jackknife   n · ∂θ/∂wᵢ, where wᵢ = 1 is the weight of sample i, for figures that weights make smooth

Neither runs the figure n times over all data: both follow from sums that one pass keeps.

References: M. Quenouille, 'Notes on bias in estimation', Biometrika 43 (1956); J. Tukey, Annals of Mathematical
Statistics 29 (1958), for the pseudo-values; L. Jaeckel, 'The infinitesimal jackknife', Bell Laboratories (1972);
B. Efron, R. Tibshirani, 'An Introduction to the Bootstrap' (1993), chapters 11 and 20. Tukey's pseudo-values estimate θ
with less bias; these are centred on θ, since it is θ that is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.metrics.metric import Values

Integers = NDArray[np.int64]


def from_left_out(whole: float, left_out: Values) -> Values:
    """Return the samples' values by the jackknife.

    Args:
        whole: Figure of all samples.
        left_out: Figure without each sample, float64 ``(n,)``.
    """
    return from_influence(whole, (len(left_out) - 1) * -left_out)


def from_influence(whole: float, influence: Values) -> Values:
    """Return the samples' values from their influence on the figure.

    Args:
        whole: Figure of all samples.
        influence: Influence of each sample, float64 ``(n,)``, up to a constant, which is subtracted.
    """
    values: Values = whole + (influence - influence.mean())
    values += whole - values.mean()  # the last digit: the mean is the figure
    return values


@dataclass(frozen=True)
class Shares:
    """Sums that make a ratio for each class, kept for each sample and class that occurs in it.

    Attributes:
        samples: Sample of each entry, int64 ``(m,)``. A sample has at most one entry for each class.
        classes: Class of each entry, int64 ``(m,)``, from 0.
        above: Addition of each entry to the numerator of its class's ratio, float64 ``(m,)``.
        below: Addition of each entry to the denominator, float64 ``(m,)``.
        labelled: Amount of the class in its targets, float64 ``(m,)``; a class without any does not count.
    """

    samples: Integers
    classes: Integers
    above: Values
    below: Values
    labelled: Values

    def mean_ratio(self, count: int) -> Values | None:
        """Return the mean over classes of Σ above / Σ below, as a value for each of ``count`` samples.

        Only classes that occur in the targets count, so that two networks are judged by the same ones; without the
        only sample that has a class, its ratio drops out of the mean.

        Returns:
            Values, float64 ``(count,)``, whose mean is the figure; None where the targets hold no class at all.
        """
        above, below, labelled = (
            np.bincount(self.classes, weights) for weights in (self.above, self.below, self.labelled)
        )
        counts = labelled > 0
        classes = int(counts.sum())
        if not classes:
            return None
        ratios = _divided(above, below) * counts
        without = _divided(above[self.classes] - self.above, below[self.classes] - self.below)
        only = labelled[self.classes] - self.labelled <= 0
        change = np.where(only, 0.0, without) - ratios[self.classes]
        here = counts[self.classes]
        changes = np.bincount(self.samples[here], change[here], count)
        classes_left = classes - np.bincount(self.samples[here], only[here], count)
        whole_mean = ratios.sum() / classes
        sums = ratios.sum() + changes
        return from_left_out(
            whole_mean, np.divide(sums, classes_left, out=np.full(count, whole_mean), where=classes_left > 0)
        )


def _divided(above: Any, below: Any) -> Values:
    """Return ``above / below``, and 0 where the denominator is 0."""
    quotient: Values = np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
    return quotient
