"""Common parts of the metrics without labels: pairs of outputs, and treatment of NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import MetricError
from compress.metrics.metric import Metric, PerSample

Array = NDArray[Any]
Floats = NDArray[np.float64]

#: As metrics of data without labels are named wherever a metric's name is told.
NAME = "agreement"


def kept_metric(name: str, per_sample: PerSample, **further: Any) -> Metric:
    """Return a metric of one output: the share of the original's answers that is kept, from 0 to 1.

    Args:
        name: Name of the output.
        per_sample: Function for :attr:`compress.metrics.metric.Metric.per_sample`; it reads the original's outputs.
        further: Further fields of :class:`compress.metrics.metric.Metric`, such as ``over_data``.
    """
    return Metric(
        NAME,
        per_sample,
        "reference",
        right_or_wrong=False,
        higher_is_better=True,
        unit="%",
        span=(0.0, 1.0),
        outputs=(name,),
        **further,
    )


def by_pair(rows: Callable[[Array, Array], Iterable[Any]], name: str, index: int) -> PerSample:
    """Return the function for :attr:`compress.metrics.metric.Metric.per_sample` of one output.

    Args:
        rows: Function from the output of a build and that of the original, of equal shape, to a row for each sample.
        name: Name of the output.
        index: Position among the outputs.
    """
    return partial(_rows_of_pair, rows, name, index)


def _rows_of_pair(
    rows: Callable[[Array, Array], Iterable[Any]],
    name: str,
    index: int,
    outputs: Sequence[Array],
    targets: Array | None,
    reference: Sequence[Array] | None = None,
) -> Iterable[Any]:
    return rows(*pair(outputs, reference, index, name))


def pair(
    outputs: Sequence[Array], reference: Sequence[Array] | None, index: int, name: str
) -> tuple[Array, Array]:
    """Return one output of a build and of the original, of equal shape.

    Where how many entries a sample has is told by its content, as of a detector without a fixed number of boxes, and a
    build gives another number than the original, the sample is lost: see :func:`_of_one_length`.

    Raises:
        MetricError: There is no original output, or it has another shape.
    """
    if reference is None:
        raise MetricError(
            "outputs of the original network, to judge without labels", "none", "name another metric"
        )
    ours, theirs = outputs[index], reference[index]
    if ours.shape != theirs.shape and _differ_in_length(ours, theirs):
        ours, theirs = _of_one_length(ours, theirs)
    if ours.shape != theirs.shape:
        raise MetricError(
            f"'{name}' in the original's shape {list(theirs.shape)}",
            f"{list(ours.shape)}",
            "compare builds of one network",
        )
    return ours, theirs


def _differ_in_length(ours: Array, theirs: Array) -> bool:
    """Whether both are of one sample, and have another number of entries along its first axis alone."""
    return (
        len(ours) == len(theirs) == 1 and ours.ndim == theirs.ndim > 1 and ours.shape[2:] == theirs.shape[2:]
    )


def _of_one_length(ours: Array, theirs: Array) -> tuple[Array, Array]:
    """Return the original's entries, filled up with zeros, and as many wrong ones of a build."""
    shape = (1, max(ours.shape[1], theirs.shape[1]), *theirs.shape[2:])
    filled = np.zeros(shape, theirs.dtype)
    filled[:, : theirs.shape[1]] = theirs
    if theirs.dtype.kind == "f":
        return np.full(shape, np.nan, theirs.dtype), filled
    return (~filled if theirs.dtype.kind in "iub" else np.full(shape, None, object)), filled


def by_sample(array: Array) -> Array:
    """Return an output as ``(n, features)``; it may have no features at all, or no rows."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def lost_samples(ours: Array, theirs: Array) -> NDArray[np.bool_]:
    """Return the samples in which a build gives NaN or infinity and the original a number, bool ``(n,)``.

    NaN and infinity of the original itself are no loss: minus infinity marks masked entries, and rows without any valid
    entry may be NaN.
    """
    if ours.dtype.kind != "f":
        return np.zeros(len(ours), dtype=bool)
    broken = ~np.isfinite(ours) & np.isfinite(theirs)
    return np.asarray(by_sample(broken).any(axis=1))


def comparable(ours: Array, theirs: Array) -> tuple[Floats, Floats]:
    """Return both as float64, with 0 in each where either is not finite; :func:`lost_samples` counts these."""
    first, second = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    both = np.isfinite(first) & np.isfinite(second)
    if both.all():
        return first, second
    return np.where(both, first, 0.0), np.where(both, second, 0.0)
