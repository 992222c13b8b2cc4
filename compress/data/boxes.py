"""Boxes as targets: a list of them for each sample, which may be empty.

In memory the targets of n samples are an object array ``(n,)`` of float64 ``(k, 5 or 6)``: x1, y1, x2, y2 in pixels of
the network's input, the class number from 0, and, in the sixth column, 1 for a crowd (a region of many objects that are
not told apart; what is found there counts for nothing). Files never hold objects, since reading those would run code:
an ``.npz`` holds ``boxes``, float ``(total, 5 or 6)`` of all samples together, and ``boxes_of``, int ``(total,)``,
which sample each is of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compress.data.split import Array
from compress.errors import DataError

#: Names of the two arrays that hold the boxes of all samples together.
FLAT, FLAT_OF = "boxes", "boxes_of"

_COLUMNS = (5, 6)
_FORM = "x1, y1, x2, y2, class, and 1 for a crowd"


def ragged(rows: Sequence[Array]) -> Array:
    """Return arrays of different lengths as an object array ``(n,)``."""
    targets = np.empty(len(rows), dtype=object)
    targets[:] = [None] * len(rows)
    for place, row in enumerate(rows):
        targets[place] = row
    return targets


def is_ragged(value: Any) -> bool:
    """Whether the value holds boxes for each sample: a list, or an object array, of arrays or of mappings.

    Float arrays ``(k, 5 or 6)`` count, also where all have one length; a mapping has ``boxes`` and ``labels``, as
    torchvision's detectors are trained with.
    """
    if isinstance(value, np.ndarray) and (value.dtype != object or value.ndim != 1):
        return False
    if not isinstance(value, list | tuple | np.ndarray) or not len(value):
        return False
    return all(_is_mapping(sample) or _is_rows(sample) for sample in value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and {"boxes", "labels"} <= set(value)


def _is_rows(value: Any) -> bool:
    shape = tuple(getattr(value, "shape", ()))
    return len(shape) == 2 and shape[1] in _COLUMNS and "float" in str(getattr(value, "dtype", ""))


def checked_ragged(value: Sequence[Any], where: str) -> Array:
    """Return the boxes of each sample as targets.

    Args:
        value: A value for which :func:`is_ragged` is true.
        where: Source of the value, for messages.

    Raises:
        DataError: Another shape, NaN or infinity, a box without area, or a class that is no number from 0.
    """
    return ragged([_checked(_plain(sample), row, where) for row, sample in enumerate(value)])


def from_flat(arrays: Mapping[str, Any], samples: int, where: str) -> Array:
    """Make targets from the arrays ``boxes`` and ``boxes_of``.

    Args:
        arrays: Arrays by name, both of these among them.
        samples: Number of samples.
        where: Source of the value, for messages.

    Raises:
        DataError: The two do not fit together, or see :func:`checked_ragged`.
    """
    boxes, owners = np.asarray(arrays[FLAT]), np.asarray(arrays[FLAT_OF])
    if boxes.ndim != 2 or owners.shape != boxes.shape[:1] or owners.dtype.kind not in "iu":
        problem = f"{boxes.dtype}{list(boxes.shape)} and {owners.dtype}{list(owners.shape)} in {where}"
        raise DataError(f"{FLAT} (total, 5 or 6) and integers {FLAT_OF} (total,)", problem, "save both alike")
    if owners.size and not 0 <= owners.min() <= owners.max() < samples:
        problem = f"{owners.min()} to {owners.max()} in {where}"
        raise DataError(f"{FLAT_OF} from 0 to {samples - 1}, the samples", problem, f"correct {FLAT_OF}")
    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], np.arange(1, samples))
    return checked_ragged(np.split(boxes[order], starts), where)


def _plain(value: Any) -> Array:
    if isinstance(value, Mapping):
        boxes, labels = (_array(value[name]) for name in ("boxes", "labels"))
        if boxes.ndim != 2 or boxes.shape[1:] != (4,) or labels.shape != boxes.shape[:1]:
            problem = f"boxes {list(boxes.shape)} and labels {list(labels.shape)}"
            raise DataError("boxes (k, 4) and labels (k,) of each sample", problem, "make them alike")
        return np.hstack([boxes, labels[:, None]])
    return _array(value)


def _array(value: Any) -> Array:
    try:
        return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"boxes as numbers: {_FORM}", str(error), "give arrays of floats") from error


def _checked(boxes: Array, row: int, where: str) -> Array:
    wanted = f"boxes (k, 5 or 6) of each sample: {_FORM}"
    if boxes.ndim != 2 or boxes.shape[1] not in _COLUMNS:
        raise DataError(wanted, f"shape {list(boxes.shape)} for sample {row} in {where}", "correct y")
    classes = boxes[:, 4]
    if not np.isfinite(boxes).all():
        raise DataError(wanted, f"NaN or infinity for sample {row} in {where}", "repair or drop the sample")
    if (boxes[:, 2:4] <= boxes[:, :2]).any():
        problem = f"{boxes[(boxes[:, 2:4] <= boxes[:, :2]).any(axis=1)][0, :4].tolist()} for sample {row} in {where}"
        raise DataError(
            "boxes with x1 < x2 and y1 < y2, in pixels", problem, "convert them to corners, or drop it"
        )
    if ((classes < 0) | (classes != np.floor(classes))).any():
        raise DataError(
            "class numbers from 0", f"{classes.min():g} for sample {row} in {where}", "correct column 4"
        )
    return boxes
