"""Evaluation data for existing builds: the samples they were measured on, else all samples.

Nothing is calibrated here, so nothing needs to be set apart. A build that was calibrated on a part of this data was
measured on the rest, and stays apart from what it was calibrated on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data import ImageOptions, Split, open_data
from compress.data.image_options import keys_told
from compress.data.images import ImageSplit
from compress.data.metric_choice import MetricChoice
from compress.data.opening import follow_reference
from compress.data.splitting import MIN_TO_SPLIT, split_rows
from compress.data.task import Task, load_task
from compress.errors import DataError


@dataclass(frozen=True)
class MeasuredSamples:
    """The samples that a build was measured on.

    Attributes:
        data_sha256: Hash of these samples.
        calibration_samples: Number of calibration samples wanted, where they were set apart from the same data.
        seed: Seed of the choice of samples.
        classes: Names of the classes, by label; None where they are not known.
        preparation: Preparation of the images, by key; None where they were no image files.
        sequence_length: Largest number of tokens of a document, or of a window; None where they were no texts.
        stride: Number of tokens between the beginnings of windows over a document; None where documents were cut.
        answer_start: Id of the token that begins every answer; None where samples were no inputs with answers.
    """

    data_sha256: str
    calibration_samples: int = 512
    seed: int = 0
    classes: tuple[str, ...] | None = None
    preparation: Mapping[str, Any] | None = None
    sequence_length: int | None = None
    stride: int | None = None
    answer_start: int | None = None

    @classmethod
    def of_bundle(cls, data_sha256: str, manifest: Mapping[str, Any]) -> MeasuredSamples:
        """Read from a bundle's manifest how its data was divided and prepared, and how its classes are numbered."""
        data = manifest.get("data")
        how = data.get("split") if isinstance(data, Mapping) else None
        numbers = how if isinstance(how, Mapping) else {}
        samples, seed = numbers.get("calibration_samples"), numbers.get("seed")
        evaluation = data.get("evaluation") if isinstance(data, Mapping) else None
        source = evaluation if isinstance(evaluation, Mapping) else {}
        options, length = source.get("options"), source.get("sequence_length")
        stride, start = source.get("stride"), source.get("answer_start")
        return cls(
            data_sha256,
            samples if isinstance(samples, int) else 512,
            seed if isinstance(seed, int) else 0,
            _names(data.get("classes") if isinstance(data, Mapping) else None),
            options if isinstance(options, Mapping) else None,
            length if isinstance(length, int) and length > 1 else None,
            stride if isinstance(stride, int) and isinstance(length, int) and 0 < stride < length else None,
            start if isinstance(start, int) else None,
        )


def _names(names: Any) -> tuple[str, ...] | None:
    """Return names of classes that a manifest holds; None where these are none, or not one for each class."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names) if names and len(set(names)) == len(names) else None


def load_evaluation(
    data: Any,
    measured: Sequence[MeasuredSamples] = (),
    *,
    like: MeasuredSamples | None = None,
    metric: MetricChoice = None,
    image_options: Mapping[str, Any] | ImageOptions | None = None,
    streams: bool = False,
) -> tuple[Task, NDArray[np.int64] | None]:
    """Read data to evaluate on.

    Args:
        data: Evaluation data of any kind that :func:`compress.data.open_data` opens; or a Task.
        measured: Number of samples that the builds were measured on, as far as it is known.
        like: Samples of a build whose preparation and numbering of classes count for images where neither the caller
            nor the folder tells them; None for none.
        metric: Name of the metric, or a mapping; see :func:`compress.data.task.load_task`.
        image_options: Preparation of images; see :func:`compress.data.task.load_task`.
        streams: Whether samples are streams; see :func:`compress.data.task.load_task`.

    Returns:
        The task; and the indices of its evaluation samples, ascending, or None for a Task.

    Raises:
        DataError: The data cannot be read.
        MetricError: The metric is unknown or needs other targets.
    """
    source = follow_reference(data)
    if isinstance(source, Task):
        return load_task(source, metric=metric, streams=streams), None
    image_options = _prepared_like(like, source, image_options)
    split = open_data(source, image_options, data if source is not data else None)
    if like is not None and like.classes is not None and isinstance(split, ImageSplit):
        split = split.numbered_as(like.classes)
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


def _prepared_like(
    like: MeasuredSamples | None, data: Any, options: Mapping[str, Any] | ImageOptions | None
) -> Mapping[str, Any] | ImageOptions | None:
    """Return the preparation of a folder's images: what the caller or the folder tells, else that of the build."""
    if like is None or like.preparation is None or not isinstance(data, str | os.PathLike):
        return options
    folder, asked_options = Path(data), options or {}
    if not folder.is_dir() or not isinstance(asked_options, Mapping):
        return options
    if (keys_told(folder) | set(asked_options)) - {"classes"}:
        return options
    recorded = {key: value for key, value in like.preparation.items() if value is not None}
    return {**recorded, **asked_options}


def left_out_note(task: Task) -> str | None:
    """Return a sentence about the samples that are not evaluated on; None where all are.

    Args:
        task: Task that :func:`load_evaluation` returned.
    """
    if task.provenance.get("split", {}).get("calibration_from") != "evaluation data":
        return None
    evaluated, apart = len(task.evaluation), len(task.calibration)
    return f"accuracy on {evaluated} of {evaluated + apart} samples: the build was calibrated on the other {apart}"


def _apart(
    split: Split, measured: Sequence[MeasuredSamples]
) -> tuple[MeasuredSamples | None, NDArray[np.int64]]:
    """Return the division that leaves the samples a build was measured on, and these samples; None for all."""
    every = np.arange(len(split), dtype=np.int64)
    for samples in measured:
        if len(split) < MIN_TO_SPLIT or samples.data_sha256 == split.sha256:
            continue
        content = [digest.inputs for digest in split.digests]
        try:
            _, other_rows = split_rows(content, samples.calibration_samples, samples.seed)
        except DataError:  # samples that are all equal
            continue
        if split.take(other_rows).sha256 == samples.data_sha256:
            return samples, other_rows
    return None, every
