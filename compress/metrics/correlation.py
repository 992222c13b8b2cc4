"""Correlation of a number for each sample with the target: ``pearson`` and ``spearman``.

    pearson    Σ (x - x̄)(y - ȳ) / sqrt(Σ (x - x̄)² Σ (y - ȳ)²)     K. Pearson, 1895
    spearman   the same of the ranks, the mean rank for ties       C. Spearman, 1904

Pearson's without one sample follows from the five sums. For Spearman's, a sample that is left out moves the ranks of
all that lie above it; its influence is the derivative by the sample's weight, with weighted ranks r(j) = Σ over k of
w(k) ([x(k) < x(j)] + ½ [x(k) = x(j)]), which needs no more than two sorts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.errors import MetricError
from compress.metrics.jackknife import from_influence, from_left_out
from compress.metrics.metric import Array, Metric, Values, finite, of_first_output, required_targets
from compress.metrics.options import NamedMetric


def pearson() -> Metric:
    """Return the correlation of the first output, a number for each sample, with the targets; from -1 to 1.

    A network whose outputs are all equal gets 0.
    """
    return _metric("pearson", ranked=False)


def spearman() -> Metric:
    """Return the correlation of the ranks, from -1 to 1: 1 where output and targets order the samples alike."""
    return _metric("spearman", ranked=True)


PEARSON = NamedMetric(pearson, {})
SPEARMAN = NamedMetric(spearman, {})


def _metric(name: str, ranked: bool) -> Metric:
    def per_sample(
        outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
    ) -> list[Values]:
        """Return output and target of each sample, float64 ``(2,)``."""
        output, target = outputs[0], required_targets(name, targets)
        if output.size != len(output) or target.size != len(target):
            raise MetricError(
                f"one number a sample, in the output and in y, for {name}",
                f"a first output {list(output.shape[1:])} and y: {list(target.shape[1:])} a sample",
                "choose another metric, or give package.module:callable",
            )
        columns = [array.reshape(-1).astype(np.float64) for array in (output, target)]
        return list(np.stack([finite(name, column) for column in columns], axis=1))

    def over_data(rows: Sequence[Values]) -> Values:
        x, y = np.stack(rows, axis=1)
        if np.ptp(y) == 0:
            raise MetricError(
                f"targets that differ for {name}", f"{y[0]:g} for all samples", "give other data"
            )
        if np.ptp(x) == 0:
            return np.zeros(len(x))
        return _spearman(x, y) if ranked else _pearson(x, y)

    metric = Metric(
        name,
        per_sample,
        "labels",
        right_or_wrong=False,
        higher_is_better=True,
        unit="",
        over_data=over_data,
    )
    return of_first_output(metric)


def _pearson(x: Values, y: Values) -> Values:
    a, b = _standardised(x), _standardised(y)
    n, mean_product = len(a), float(np.mean(a * b))
    # Without sample i: means -a/(n-1) and -b/(n-1), squares n - a² and n - b², products nρ - ab.
    products = n * mean_product - a * b - a * b / (n - 1)
    spreads = [n - values**2 - values**2 / (n - 1) for values in (a, b)]
    varied = np.minimum(*spreads) > 1e-9 * n  # else one sample alone differs from the rest
    root = np.sqrt(np.where(varied, spreads[0] * spreads[1], 1.0))
    return from_left_out(mean_product, np.where(varied, products / root, 0.0))


def _spearman(x: Values, y: Values) -> Values:
    ranks = [_Ranks(x), _Ranks(y)]
    a, b = (_standardised(ranks_of_one.ranks) for ranks_of_one in ranks)
    mean_product = float(np.mean(a * b))
    influence = a * b - mean_product * (a**2 + b**2) / 2
    for ranks_of_one, (standardised, other) in zip(ranks, ((a, b), (b, a)), strict=True):
        # A sample's weight raises the ranks above it by 1, and those equal to it by a half.
        influence += ranks_of_one.sum_from(other - mean_product * standardised) / ranks_of_one.ranks.std()
    return from_influence(mean_product, influence)


class _Ranks:
    """Mean ranks of values, and sums over all values from each one upwards."""

    def __init__(self, values: Values) -> None:
        self._order = np.argsort(values, kind="stable")
        ordered = values[self._order]
        self._first = np.searchsorted(ordered, ordered, "left")
        self._after = np.searchsorted(ordered, ordered, "right")
        self.ranks = np.empty(len(values))
        self.ranks[self._order] = (self._first + self._after - 1) / 2

    def sum_from(self, amounts: Values) -> Values:
        """Return for each value the sum of ``amounts`` over greater values, and half the sum over equal ones."""
        sums = np.concatenate([[0.0], np.cumsum(amounts[self._order])])
        result = np.empty(len(amounts))
        result[self._order] = sums[-1] - (sums[self._first] + sums[self._after]) / 2
        return result


def _standardised(values: Values) -> Values:
    centred = values - values.mean()
    standardised: Values = centred / np.sqrt(np.mean(centred**2))
    return standardised
