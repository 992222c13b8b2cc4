"""Ranking of samples by scores: ``auc``, the area under the receiver operating characteristic.

For a class with positives p and negatives q, the area is the share of pairs that are in order, ties counting half
(Hanley and McNeil, Radiology 143, 1982) ::

    AUC = U / (n₊ n₋),   U = Σ over p, q of [s(p) > s(q)] + ½ [s(p) = s(q)]

Without one positive, U loses the pairs of that positive alone, which its rank among the negatives counts; so the area
without each sample follows from one sort. The variance that this jackknife gives is that of DeLong et al., Biometrics
44 (1988), up to a factor near 1. Several classes are taken one against the rest, and the mean is over those that have
both positives and negatives, as ``roc_auc_score`` of scikit-learn with ``average="macro"``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.errors import MetricError
from compress.metrics.jackknife import from_left_out
from compress.metrics.metric import Array, Metric, Values, of_first_output, required_targets
from compress.metrics.options import NamedMetric

_NAME = "auc"


def auc() -> Metric:
    """Return the area under the receiver operating characteristic, from 0 to 1; 0.5 is chance.

    The first output and the targets are one of

        (n,), (n, 1) or (n, 2)  and class labels 0 and 1, int64 (n,); of two scores the difference ranks
        (n, classes)            and class labels, int64 (n,): one class against the rest, mean over classes
        (n, labels)             and 0 or 1 of the same shape: each label by itself, mean over labels

    Scores rank as they are: for several classes logits and probabilities can rank samples differently.
    """
    metric = Metric(
        _NAME,
        _per_sample,
        "labels",
        right_or_wrong=False,
        higher_is_better=True,
        unit="%",
        over_data=_over_data,
    )
    return of_first_output(metric)


AUC = NamedMetric(auc, {})


def _per_sample(
    outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
) -> list[Array]:
    """Return the scores of each sample, and 1 where the class is true, float64 ``(2, classes)``."""
    scores, labels = outputs[0].astype(np.float64), required_targets(_NAME, targets)
    if scores.ndim not in (1, 2) or labels.dtype.kind not in "iu":
        actual = f"a first output {list(outputs[0].shape)} and y: {labels.dtype}{list(labels.shape)}"
        todo = "save class numbers, or 0 and 1 for each label, as integers"
        raise MetricError(f"scores [samples, classes] and labels for {_NAME}", actual, todo)
    if np.isnan(scores).any():
        raise MetricError(
            "scores that can be ranked", "NaN in the network's output", "check its weights and inputs"
        )
    scores = scores.reshape(len(scores), -1)
    if labels.ndim == 1:
        classes = max(2, scores.shape[1])
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            actual = f"labels from {labels.min()} to {labels.max()}"
            raise MetricError(f"labels from 0 to {classes - 1} for {_NAME}", actual, "correct y")
        if scores.shape[1] == 2:
            scores = scores[:, 1:] - scores[:, :1]
        single = scores.shape[1] == 1
        true = labels[:, None] == (1 if single else np.arange(classes))
    elif labels.shape == scores.shape and np.isin(labels, (0, 1)).all():
        true = labels == 1
    else:
        actual = f"{list(labels.shape[1:])} from {labels.min()} to {labels.max()}, with scores {list(scores.shape[1:])}"
        raise MetricError(
            f"0 or 1 for each score of a sample for {_NAME}", actual, "make y the shape of the output"
        )
    return list(np.stack([scores, true], axis=1))


def _over_data(rows: Sequence[Array]) -> Values:
    scores, true = np.stack(rows, axis=1)
    areas, counts, wholes = np.zeros(len(rows)), np.zeros(len(rows)), []
    for column in range(scores.shape[1]):
        positive = true[:, column] > 0
        if positive.any() and not positive.all():
            whole_area, without = _areas(scores[:, column], positive)
            is_finite = np.isfinite(without)
            areas[is_finite] += without[is_finite]
            counts += is_finite
            wholes.append(whole_area)
    if not wholes:
        raise MetricError(
            f"positives and negatives for {_NAME}", "targets that are all equal", "give other data"
        )
    mean = float(np.mean(wholes))
    return from_left_out(mean, np.divide(areas, counts, out=np.full(len(rows), mean), where=counts > 0))


def _areas(scores: Values, positive: Array) -> tuple[float, Values]:
    """Return the area, and the area without each sample; NaN without the only positive or negative."""
    up, down = np.sort(scores[positive]), np.sort(scores[~positive])
    # Of each sample: how many pairs with the other kind are in order, ties counting half.
    below = (np.searchsorted(down, scores, "left") + np.searchsorted(down, scores, "right")) / 2
    above = len(up) - (np.searchsorted(up, scores, "left") + np.searchsorted(up, scores, "right")) / 2
    pairs = np.where(positive, below, above)
    total = float(below[positive].sum())
    pairs_left = np.where(positive, (len(up) - 1) * len(down), len(up) * (len(down) - 1))
    without = np.divide(total - pairs, pairs_left, out=np.full(len(scores), np.nan), where=pairs_left > 0)
    return total / (len(up) * len(down)), without
