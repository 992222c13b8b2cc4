"""Evaluation data for existing builds: the samples they were measured on, else all samples.

Nothing is calibrated here, so nothing needs to be set apart. A build that was calibrated on a part of this data was
measured on the rest, and stays apart from what it was calibrated on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data import ImageOptions, Split, open_data
from compress.data.opening import follow_reference
from compress.data.splitting import MIN_TO_SPLIT, split_rows
from compress.data.task import MetricChoice, Task, load_task
from compress.errors import DataError


@dataclass(frozen=True)
class MeasuredSamples:
    """The samples that a build was measured on.

    Attributes:
        data_sha256: Hash of these samples.
        calibration_samples: Number of calibration samples wanted, where they were set apart from the same data.
        seed: Seed of the choice of samples.
    """

    data_sha256: str
    calibration_samples: int = 512
    seed: int = 0

    @classmethod
    def of_bundle(cls, data_sha256: str, manifest: Mapping[str, Any]) -> MeasuredSamples:
        """Read from a bundle's manifest how its data was divided."""
        data = manifest.get("data")
        how = data.get("split") if isinstance(data, Mapping) else None
        numbers = how if isinstance(how, Mapping) else {}
        samples, seed = numbers.get("calibration_samples"), numbers.get("seed")
        return cls(
            data_sha256, samples if isinstance(samples, int) else 512, seed if isinstance(seed, int) else 0
        )


def load_evaluation(
    data: Any,
    measured: Sequence[MeasuredSamples] = (),
    *,
    metric: MetricChoice = None,
    image_options: Mapping[str, Any] | ImageOptions | None = None,
    streams: bool = False,
) -> tuple[Task, NDArray[np.int64] | None]:
    """Read data to evaluate on.

    Args:
        data: Evaluation data of any kind that :func:`compress.data.open_data` opens; or a Task.
        measured: Number of samples that the builds were measured on, as far as it is known.
        metric: Name of the metric, or a mapping; see :func:`compress.data.task.load_task`.
        image_options: Preparation of images; see :func:`compress.data.task.load_task`.
        streams: Whether samples are streams; see :func:`compress.data.task.load_task`.

    Returns:
        The task; and the indices of its evaluation samples, ascending, or None for a Task.

    Raises:
        DataError: The data cannot be read.
        MetricError: The metric is unknown or needs other targets.
    """
    given = follow_reference(data)
    if isinstance(given, Task):
        return load_task(given, metric=metric, streams=streams), None
    split = open_data(given, image_options, data if given is not data else None)
    how, rows = _apart(split, measured)
    if how is None:
        return load_task(
            split, metric=metric, image_options=image_options, calibrates=False, streams=streams
        ), rows
    task = load_task(
        split,
        metric=metric,
        image_options=image_options,
        calibration_samples=how.calibration_samples,
        seed=how.seed,
        streams=streams,
    )
    return task, rows


def left_out_note(task: Task) -> str | None:
    """Return a sentence about the samples that are not evaluated on; None where all are.

    Args:
        task: Task that :func:`load_evaluation` returned.
    """
    if task.provenance.get("split", {}).get("calibration_from") != "evaluation data":
        return None
    kept, apart = len(task.evaluation), len(task.calibration)
    return f"accuracy on {kept} of {kept + apart} samples: the build was calibrated on the other {apart}"


def _apart(
    split: Split, measured: Sequence[MeasuredSamples]
) -> tuple[MeasuredSamples | None, NDArray[np.int64]]:
    """Return the division that leaves the samples a build was measured on, and these samples; None for all."""
    every = np.arange(len(split), dtype=np.int64)
    for each in measured:
        if len(split) < MIN_TO_SPLIT or each.data_sha256 == split.sha256:
            continue
        content = [digest.inputs for digest in split.digests]
        try:
            _, rest = split_rows(content, each.calibration_samples, each.seed)
        except DataError:  # samples that are all equal
            continue
        if split.take(rest).sha256 == each.data_sha256:
            return each, rest
    return None, every
