"""Accuracy under standard corruptions of images: noise, blur and low contrast, the same for both builds.

Compressed networks can keep their accuracy on clean images and lose it on worse ones (S. Hooker et al., 'What do
compressed deep neural networks forget?', 2019); the kinds are of D. Hendrycks and T. Dietterich, 'Benchmarking
neural network robustness to common corruptions and perturbations', ICLR 2019. Strengths are relative to the
standard deviation of the inputs, so that they mean the same whatever the images were normalised by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.split import Batch, Split
from compress.gate.policy import GatePolicy
from compress.gate.slices import Part, judge_parts
from compress.gate.verdict import Check

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.data.task import Task

Images = np.ndarray[Any, np.dtype[Any]]
Corruption = Callable[[Images, np.random.Generator, float], Images]

#: Standard deviation of the noise over that of the inputs, and the contrast that is left.
_NOISE, _CONTRAST = 0.3, 0.5
_SCALE_FROM = 64  # samples that the standard deviation is taken from


def image_like(task: Task) -> bool:
    """Whether the inputs are one floating-point array ``(n, …)`` of four axes."""
    batch = next(task.evaluation.batches(1))
    array = next(iter(batch.inputs.values()))
    return len(batch.inputs) == 1 and not batch.axes and array.ndim == 4 and array.dtype.kind == "f"


def judge_corruptions(candidate: Session, baseline: Session, task: Task, policy: GatePolicy) -> Check:
    """Check non-inferiority under each corruption; the worst of them decides.

    Args:
        candidate: The opened build.
        baseline: The opened baseline, which the candidate must not fall behind.
        task: Evaluation data that is :func:`image_like`, bound to the network.
        policy: Margin, and the error, which is shared among corruptions as among slices.
    """
    from compress.profiling.accuracy import outcomes_of

    parts = []
    for name, corrupt in CORRUPTIONS.items():
        corrupted = replace(task, evaluation=CorruptedSplit(task.evaluation, corrupt))
        outcomes, reference = outcomes_of(candidate, corrupted, baseline), outcomes_of(baseline, corrupted)
        for ours, theirs in zip(outcomes, reference, strict=True):
            part_name = name if len(outcomes) == 1 else f"{name}, {', '.join(ours.metric.outputs)}"
            parts.append(Part(part_name, ours.values, theirs.values, ours.metric))
    return judge_parts("corruptions", parts, policy.max_corruption_drop_points, policy)


class CorruptedSplit(Split):
    """Samples whose inputs are corrupted as they are read; the same on every reading.

    Args:
        source: Samples with one input, ``(n, …)`` of four axes.
        corrupt: Function that corrupts a batch of them.
    """

    def __init__(self, source: Split, corrupt: Corruption) -> None:
        self._source = source
        self._corrupt = corrupt
        self.labels, self.labelled = source.labels, source.labelled
        self.classes, self.origin = source.classes, source.origin

    def __len__(self) -> int:
        return len(self._source)

    def batches(self, size: int) -> Iterator[Batch]:
        """See :meth:`Split.batches`."""
        random = np.random.default_rng(0)  # drawn in the order of the samples, whatever the batches' size
        first = next(self._source.batches(_SCALE_FROM))
        scale = float(next(iter(first.inputs.values())).std())
        for batch in self._source.batches(size):
            ((name, images),) = batch.inputs.items()
            corrupted = self._corrupt(images, random, scale).astype(images.dtype)
            yield Batch({name: corrupted}, batch.targets)

    def _taken(self, indices: np.ndarray[Any, np.dtype[np.int64]]) -> CorruptedSplit:
        return CorruptedSplit(self._source.take(indices), self._corrupt)


def _noise(images: Images, random: np.random.Generator, scale: float) -> Images:
    return images + _NOISE * scale * random.standard_normal(images.shape)


def _blur(images: Images, random: np.random.Generator, scale: float) -> Images:
    """Return the mean over 3×3 pixels; pixels at the border are repeated."""
    blurred = images.astype(np.float64)
    for axis in _spatial_axes(images.shape):
        widths = [(1, 1) if other_axis == axis else (0, 0) for other_axis in range(4)]
        padded = np.pad(blurred, widths, mode="edge")
        shifts = [padded.take(range(start, start + blurred.shape[axis]), axis) for start in range(3)]
        blurred = np.mean(shifts, axis=0)
    return blurred


def _contrast(images: Images, random: np.random.Generator, scale: float) -> Images:
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    weakened: Images = mean + _CONTRAST * (images - mean)
    return weakened


def _spatial_axes(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the two axes of pixels; the last axis counts channels if it has size 1, 3 or 4 and axis 1 has another."""
    last = shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4)
    return (1, 2) if last else (2, 3)


#: By name, in the order in which they are tried.
CORRUPTIONS: dict[str, Corruption] = {"noise": _noise, "blur": _blur, "contrast": _contrast}
