"""Whether confidences still mean what they say: the expected calibration error (ECE) of both builds.

Samples are put into 15 bins by confidence, the largest class probability::

    ECE = Σ over bins |Σ (right - confidence)| / n

Reference: C. Guo et al., 'On calibration of modern neural networks', ICML 2017. The difference of two ECEs is
bounded by a seeded bootstrap over samples, paired: each resample is drawn for both builds at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from compress.gate.policy import GatePolicy
from compress.gate.verdict import Check, Verdict, judge_bounds
from compress.statistics.bootstrap import LEAST_FOR_RESAMPLING

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.task import Task

Values = np.ndarray[Any, np.dtype[np.float64]]

BINS = 15
_RESAMPLES = 1000
_AT_ONCE = 1 << 22  # resampled values in memory, 32 MiB of float64


class Confidences(NamedTuple):
    """``confidence``, float64 ``(n,)`` in [0, 1], and ``right``, float64 ``(n,)`` of 0 and 1."""

    confidence: Values
    right: Values


def confidences_of(session: Session, task: Task) -> Confidences:
    """Run all evaluation samples; the first output holds class scores or probabilities ``(n, classes)``.

    Args:
        session: The opened build.
        task: Evaluation data with class labels, bound to the network.
    """
    from compress.profiling.accuracy import batch_size, forward

    parts = []
    for batch in task.evaluation.batches(batch_size(session)):
        probabilities = _probabilities(forward(session, batch)[0].astype(np.float64))
        right = probabilities.argmax(axis=1) == batch.targets
        parts.append((probabilities.max(axis=1), right.astype(np.float64)))
    return Confidences(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def judge_calibration(candidate: Confidences, baseline: Confidences, policy: GatePolicy) -> Check:
    """The rise of the calibration error, with paired bootstrap bounds.

    Args:
        candidate: Of every sample.
        baseline: Of the same samples.
        policy: The margin and the error.
    """
    samples = len(candidate.right)
    if samples < LEAST_FOR_RESAMPLING:
        told = f"{samples} samples, and calibration is decided on {LEAST_FOR_RESAMPLING} or more"
        return Check("calibration", Verdict.INCONCLUSIVE, told)
    gaps = np.concatenate([_gaps(candidate), _gaps(baseline)], axis=1)
    ours, theirs = (100 * float(value) for value in _errors(np.ones((1, samples)), gaps)[0])
    low, high = _rise_bounds(gaps, policy.alpha)
    margin = policy.max_calibration_rise_points
    told = (
        f"ECE {ours:.2f} against {theirs:.2f} points, a rise between {low:+.2f} and {high:+.2f} "
        f"(margin {margin:g}, {samples} samples)"
    )
    figures = {
        "ece_points": ours,
        "baseline_ece_points": theirs,
        "low_points": low,
        "high_points": high,
        "margin_points": margin,
        "samples": samples,
    }
    return Check("calibration", judge_bounds(low, high, margin), told, figures)


def expected_calibration_error(confidences: Confidences) -> float:
    """The ECE, a share in [0, 1]."""
    gaps = _gaps(confidences)
    return float(np.abs(gaps.sum(axis=0)).sum() / len(gaps))


def _probabilities(scores: Values) -> Values:
    """Softmax, unless the network ends in one."""
    if scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        return scores
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: Values = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _gaps(confidences: Confidences) -> Values:
    """``(n, BINS)``: right - confidence in the bin of each sample, 0 in the others."""
    confidence, right = confidences
    gaps = np.zeros((len(confidence), BINS))
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps[np.arange(len(confidence)), bins] = right - confidence
    return gaps


def _errors(weights: Values, gaps: Values) -> Values:
    """``(resamples, 2)``: ECE of candidate and baseline for each row of sample weights."""
    sums = np.abs(weights @ gaps) / weights.sum(axis=1, keepdims=True)
    return np.stack([sums[:, :BINS].sum(axis=1), sums[:, BINS:].sum(axis=1)], axis=1)


def _rise_bounds(gaps: Values, alpha: float) -> tuple[float, float]:
    random = np.random.default_rng(0)
    samples = len(gaps)
    even = np.full(samples, 1 / samples)
    rises: list[Values] = []
    block = max(1, _AT_ONCE // samples)
    for start in range(0, _RESAMPLES, block):
        rows = min(block, _RESAMPLES - start)
        errors = _errors(random.multinomial(samples, even, size=rows).astype(np.float64), gaps)
        rises.append(errors[:, 0] - errors[:, 1])
    low, high = np.quantile(np.concatenate(rises), [alpha, 1 - alpha])
    return 100 * float(low), 100 * float(high)
