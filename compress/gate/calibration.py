"""The calibration error of both builds: whether confidences still equal the share of right answers.

Samples are put into 15 bins by confidence, the largest class probability. The expected calibration error, ECE, is the
mean over samples of |right - confidence| of their bin's means, and biased: noise makes a gap where there is none, so a
well calibrated build of 2,000 samples shows an ECE of two points, its resamples show three, and nine of ten percentile
intervals of a rise miss it. It is printed, and not judged. What is judged is the root of the mean *squared* gap, of
which an unbiased estimate exists::

    CE² = Σ over bins n_b/n · (gap_b² - s_b²/n_b)

with s_b² the variance of right - confidence inside the bin.

References: C. Guo et al., 'On calibration of modern neural networks', ICML 2017; A. Kumar, P. Liang, T. Ma, 'Verified
uncertainty calibration', NeurIPS 2019, for the debiased square. The difference of two squares has bounds from the
standard error of a seeded bootstrap over samples, each resample drawn for both builds at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from compress.gate.policy import GatePolicy
from compress.gate.verdict import Check, Verdict, judge_bounds
from compress.statistics.bootstrap import LEAST_FOR_RESAMPLING
from compress.statistics.bounds import normal_quantile

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.data.task import Task

Values = np.ndarray[Any, np.dtype[np.float64]]

BINS = 15
_RESAMPLES = 400
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
    for batch in task.evaluation.batches(batch_size(session, task)):
        probabilities = _probabilities(forward(session, batch)[0].astype(np.float64))
        right = probabilities.argmax(axis=1) == batch.targets
        parts.append((probabilities.max(axis=1), right.astype(np.float64)))
    return Confidences(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def judge_calibration(candidate: Confidences, baseline: Confidences, policy: GatePolicy) -> Check:
    """Check the rise of the calibration error, bounded on the same samples.

    Args:
        candidate: Outcomes of the candidate, one for every sample.
        baseline: Outcomes of the baseline for the same samples.
        policy: Margin and error probability of the test.
    """
    samples = len(candidate.right)
    if samples < LEAST_FOR_RESAMPLING:
        detail = f"{samples} samples, and calibration is decided on {LEAST_FOR_RESAMPLING} or more"
        return Check("calibration", Verdict.INCONCLUSIVE, detail)
    ours, theirs, low, high = (100 * value for value in _rise(candidate, baseline, policy.alpha))
    margin = policy.max_calibration_rise_points
    detail = (
        f"calibration error {ours:.2f} against {theirs:.2f} points, a rise between {low:+.2f} and {high:+.2f} "
        f"(margin {margin:g}, {samples} samples)"
    )
    figures = {
        "error_points": ours,
        "baseline_error_points": theirs,
        "ece_points": 100 * expected_calibration_error(candidate),
        "baseline_ece_points": 100 * expected_calibration_error(baseline),
        "low_points": low,
        "high_points": high,
        "margin_points": margin,
        "samples": samples,
    }
    return Check("calibration", judge_bounds(low, high, margin), detail, figures)


def expected_calibration_error(confidences: Confidences) -> float:
    """The ECE, a share in [0, 1]; biased upwards, more with fewer samples."""
    gaps = confidences.right - confidences.confidence
    return float(np.abs(gaps @ _members(confidences)).sum() / len(gaps))


def _probabilities(scores: Values) -> Values:
    """Softmax, unless the network ends in one."""
    if scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        return scores
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: Values = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _members(confidences: Confidences) -> Values:
    """``(n, BINS)``: 1 in the bin of each sample, 0 in the others."""
    confidence = confidences.confidence
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    members = np.zeros((len(confidence), BINS))
    members[np.arange(len(confidence)), bins] = 1
    return members


def _squares(weights: Values, confidences: Confidences) -> Values:
    """``(resamples,)``: the debiased CE² for each row of sample weights; a bin of one sample tells nothing."""
    members, gaps = _members(confidences), confidences.right - confidences.confidence
    counts = weights @ members
    means = (weights @ (members * gaps[:, None])) / np.maximum(counts, 1)
    squares = (weights @ (members * gaps[:, None] ** 2)) / np.maximum(counts, 1)
    of_means = np.maximum(squares - means**2, 0) / np.maximum(counts - 1, 1)  # s_b² / n_b
    debiased: Values = np.where(counts > 1, counts * (means**2 - of_means), 0)
    total: Values = debiased.sum(axis=1) / weights.sum(axis=1)
    return total


def _rise(candidate: Confidences, baseline: Confidences, alpha: float) -> tuple[float, float, float, float]:
    """Return both errors, and bounds of their difference that each err with at most about ``alpha``.

    A root is steepest at zero, so the same difference of squares is a larger rise from a smaller error: the upper bound
    starts from the lower bound of the baseline's error, and the lower bound from its upper.
    """
    random, samples = np.random.default_rng(0), len(candidate.right)
    drawn: list[Values] = []
    block = max(1, _AT_ONCE // samples)
    for start in range(0, _RESAMPLES, block):
        rows = min(block, _RESAMPLES - start)
        weights = random.multinomial(samples, np.full(samples, 1 / samples), size=rows).astype(np.float64)
        drawn.append(np.stack([_squares(weights, confidences) for confidences in (candidate, baseline)]))
    ours, theirs = np.concatenate(drawn, axis=1)
    z = normal_quantile(1 - alpha)
    reach, own_reach = z * float(np.std(ours - theirs, ddof=1)), z * float(np.std(theirs, ddof=1))
    even = np.ones((1, samples))
    our_square, their_square = (
        float(_squares(even, confidences)[0]) for confidences in (candidate, baseline)
    )
    difference = our_square - their_square
    smallest, largest = max(0.0, their_square - own_reach), max(0.0, their_square + own_reach)
    return (
        _root(our_square),
        _root(their_square),
        _root(largest + difference - reach) - _root(largest),
        _root(smallest + difference + reach) - _root(smallest),
    )


def _root(square: float) -> float:
    return math.sqrt(max(0.0, square))
