"""Metrics of a language model on documents: perplexity, and how far a build is from the original at each token.

A document's value of ``perplexity`` is the mean negative log-likelihood of its tokens but the first, in nats a token.
Perplexity is e to the mean of these values; a drop is percent of that mean, so that 1 point is 3 % of perplexity at a
mean of 3. Beside it are told, where the original was at hand, the mean divergence from it, in nats a token, and the
share of tokens whose likeliest next one is the original's.

``token-agreement`` is that share alone, as what decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics.metric import Array, Metric, Values, finite, required_targets
from compress.metrics.options import NamedMetric

PERPLEXITY_NAME, AGREEMENT_NAME = "perplexity", "token-agreement"

#: Names of what comes out of a document: its likelihood, and how it compares with the original.
_NLL, _DIVERGENCE, _AGREES = "nll", "divergence", "agrees"


def perplexity() -> Metric:
    """Judge a decoder by the likelihood of documents; lower is better."""

    def fit(outputs: Sequence[TensorSpec]) -> Metric:
        own_index = _place(outputs, _NLL, PERPLEXITY_NAME)
        names = [spec.name for spec in outputs]
        others = [name for name in (_DIVERGENCE, _AGREES) if name in names]

        def per_sample(
            outputs_given: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
        ) -> NDArray[np.float64]:
            read = [own_index, *map(names.index, others)]
            return np.stack(
                [_means(PERPLEXITY_NAME, outputs_given[index], targets) for index in read], axis=1
            )

        def beside(rows: Sequence[Values]) -> dict[str, float]:
            other_names = {_AGREES: AGREEMENT_NAME}
            means = np.mean(rows, axis=0)[1:]
            return {
                other_names.get(name, name): float(mean) for name, mean in zip(others, means, strict=True)
            }

        return replace(metric, per_sample=per_sample, beside=beside if others else None, fit=None)

    metric = Metric(
        PERPLEXITY_NAME,
        _not_fitted,
        "labels",
        right_or_wrong=False,
        higher_is_better=False,
        unit="",
        fit=fit,
        over_data=_first,
        shown=_shown,
    )
    return metric


def token_agreement() -> Metric:
    """Judge a decoder by the share of a document's tokens whose likeliest next one is the original's."""

    def fit(outputs: Sequence[TensorSpec]) -> Metric:
        own_index = _place(outputs, _AGREES, AGREEMENT_NAME)

        def per_sample(
            outputs_given: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
        ) -> Values:
            return _means(AGREEMENT_NAME, outputs_given[own_index], targets)

        return replace(metric, per_sample=per_sample, fit=None)

    metric = Metric(
        AGREEMENT_NAME,
        _not_fitted,
        "labels",
        right_or_wrong=False,
        higher_is_better=True,
        unit="%",
        fit=fit,
        span=(0.0, 1.0),
    )
    return metric


PERPLEXITY = NamedMetric(perplexity, {})
TOKEN_AGREEMENT = NamedMetric(token_agreement, {})


def _place(outputs: Sequence[TensorSpec], name: str, metric: str) -> int:
    """Return the position of an output, which only documents of a language model have."""
    names = [spec.name for spec in outputs]
    if name in names:
        return names.index(name)
    wanted = f"a language model and documents, for {metric}"
    if _NLL in names:
        wanted = f"the original language model, for {metric}, as compress optimize has it"
    raise MetricError(wanted, f"outputs {', '.join(names)}", "choose another metric")


def _means(name: str, output: Array, targets: Array | None) -> Values:
    """Return the mean of an output over the tokens of each document."""
    is_judged = required_targets(name, targets) >= 0
    return finite(name, np.where(is_judged, output, 0.0).sum(axis=1) / is_judged.sum(axis=1))


def _first(rows: Sequence[Values]) -> Values:
    return np.asarray(rows, np.float64)[:, 0]


def _shown(rows: Sequence[Values]) -> Values:
    """Return values whose mean is the perplexity, and whose spread is that of the perplexity, to first order."""
    values = _first(rows)
    mean = values.mean()
    return np.asarray(np.exp(mean) * (1 + values - mean))


def _not_fitted(
    outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None
) -> list[float]:
    raise MetricError("a metric of documents", "one that is not fitted", "fit it to outputs first")
