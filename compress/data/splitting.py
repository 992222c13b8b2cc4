"""Division of samples into calibration and evaluation, which share no equal samples."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from compress.data.images import ImageFiles
from compress.data.split import READ_SIZE, Split, row_digests
from compress.errors import DataError

#: Evaluation needs at least so many samples; one set that is split, so many in all.
MIN_EVALUATION = 2
MIN_TO_SPLIT = 8

#: Samples of which 95 % confidence that at most one in a hundred is wrong needs nearly all, and none of them wrong.
ENOUGH_TO_PROVE = 300

Rows = NDArray[np.int64]


def split_rows(content: Sequence[Hashable], calibration_samples: int, seed: int) -> tuple[Rows, Rows]:
    """Divide one set into calibration and evaluation.

    Calibration gets at most a quarter, and where there are 300 samples or a few more, only a tenth: 270 that evaluate
    can show that a build loses at most one point, and fewer cannot. Samples that are equal stay on one side, or they
    would be in both.

    Args:
        content: Hash of each sample's content; equal samples have equal hashes.
        calibration_samples: Largest number of calibration samples, ≥ 1.
        seed: Seed of the choice, ≥ 0.

    Returns:
        Ascending indices of calibration and of evaluation; together every index once, neither empty.

    Raises:
        DataError: There are too few samples, or too few that differ.
    """
    if len(content) < MIN_TO_SPLIT:
        raise DataError(
            f"at least {MIN_TO_SPLIT} samples, to calibrate on some and evaluate on the others",
            str(len(content)),
            "give more, or give calibration data of its own",
        )
    equal: dict[Hashable, list[int]] = {}
    for row, sample_content in enumerate(content):
        equal.setdefault(sample_content, []).append(row)
    groups = list(equal.values())
    shuffled = [groups[index] for index in np.random.default_rng(seed).permutation(len(groups))]
    most = min(calibration_samples, _calibrating(len(content)))
    calibration: list[int] = []
    for group in shuffled:
        if len(calibration) + len(group) <= most:
            calibration += group
    calibration = calibration or min(shuffled, key=len)
    evaluation = np.setdiff1d(np.arange(len(content)), calibration)
    if len(evaluation) < MIN_EVALUATION:
        raise DataError("samples that differ", f"{len(content)} that are all equal", "give other data")
    return np.sort(np.array(calibration, dtype=np.int64)), evaluation.astype(np.int64)


def _calibrating(total: int) -> int:
    """Return the largest number of samples that may calibrate."""
    if total < ENOUGH_TO_PROVE:
        return total // 4
    return min(total // 4, max(total // 10, total - ENOUGH_TO_PROVE))


def choose_rows(total: int, samples: int, seed: int) -> Rows:
    """Ascending indices of ``samples`` out of ``total``, or of all where there are fewer."""
    chosen = np.random.default_rng(seed).choice(total, size=min(samples, total), replace=False)
    return np.sort(chosen).astype(np.int64)


def rows_shared(split: Split, other: Split) -> Rows:
    """Indices of the samples in ``split`` whose inputs occur in ``other``; targets do not matter."""
    if isinstance(split, ImageFiles) == isinstance(other, ImageFiles):
        ours, theirs = _inputs(split), set(_inputs(other))
    else:  # a hash of a file says nothing about an array: compare what the network sees
        ours, theirs = _decoded_inputs(split), set(_decoded_inputs(other))
    return np.array([row for row, digest in enumerate(ours) if digest in theirs], dtype=np.int64)


def _inputs(split: Split) -> list[bytes]:
    return [digest.inputs for digest in split.digests]


def _decoded_inputs(split: Split) -> list[bytes]:
    return [digest.inputs for batch in split.batches(READ_SIZE) for digest in row_digests(batch)]
