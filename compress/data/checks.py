"""Checks of data of any kind: finite numbers, one row per sample; boxes as a list for each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data.boxes import FLAT, FLAT_OF, checked_ragged, from_flat, is_ragged
from compress.data.split import Array, Batch
from compress.errors import DataError

#: The name that is kept for targets; every other name is an input.
TARGETS = "y"
# Names under which other libraries keep targets beside the inputs; Hugging Face's batches have labels.
_ALSO_TARGETS = ("labels", "label")

_LARGEST_ITEM = 8  # bytes: float64, int64


def checked_batch(arrays: Mapping[str, Any], where: str) -> Batch:
    """Check named arrays and return them as samples; ``y`` holds the targets.

    Args:
        arrays: NumPy arrays, tensors of other libraries, or nested lists, each ``(n, …)``. Boxes are a list for each
            sample as ``y``, or those of all samples together as ``boxes`` and ``boxes_of``
            (:mod:`compress.data.boxes`).
        where: Source of the arrays, for messages.

    Raises:
        DataError: No input, an array that is not of numbers, different lengths, NaN or infinity.
    """
    values_by_name = {str(name): value for name, value in arrays.items()}
    flat = (
        {name: values_by_name.pop(name) for name in (FLAT, FLAT_OF)}
        if {FLAT, FLAT_OF} <= set(values_by_name)
        else {}
    )
    boxes = (
        checked_ragged(values_by_name.pop(TARGETS), where) if is_ragged(values_by_name.get(TARGETS)) else None
    )
    named = {name: as_array(value, name, where) for name, value in values_by_name.items()}
    targets = named.pop(TARGETS, boxes)
    if flat and named:
        if targets is not None:
            raise DataError("targets of one kind", f"'{TARGETS}' and '{FLAT}' in {where}", "keep one of them")
        targets = from_flat(flat, len(next(iter(named.values()))), where)
    if not named:
        raise DataError("at least one input", f"no array but '{TARGETS}' in {where}", "add the input as x")
    lengths = {name: len(array) for name, array in named.items()}
    if targets is not None:
        lengths[TARGETS] = len(targets)
    if len(set(lengths.values())) > 1:
        all_lengths = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataError(
            "the same number of samples in every array",
            f"{all_lengths} in {where}",
            "make axis 0 of all the samples",
        )
    for name, array in named.items():
        _check_finite(array, name, where)
    if targets is not None and targets.dtype != object:
        targets = _checked_targets(targets, where)
    return Batch(named, targets)


def with_targets(arrays: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return named arrays with the targets as ``y``, and the name that they had, where it was another; else None.

    Args:
        arrays: Arrays by name, of inputs and targets. Where ``y`` is among them, every other name is an input.
    """
    named = {str(name): value for name, value in arrays.items()}
    target_names = [name for name in _ALSO_TARGETS if named.get(name) is not None]
    if TARGETS in named or {FLAT, FLAT_OF} <= set(named) or not target_names or len(named) == 1:
        return named, None
    return {
        TARGETS if name == target_names[0] else name: value for name, value in named.items()
    }, target_names[0]


def origin_of_targets(name: str | None) -> dict[str, str]:
    """Return what provenance tells of the targets' name: nothing where it is ``y``."""
    return {} if name is None else {"targets": name}


def as_array(value: Any, name: str, where: str) -> Array:
    """Return a NumPy array of booleans, integers or floats in the machine's byte order, with at least one axis.

    Raises:
        DataError: It is of another dtype, ragged, or a single number.
    """
    wanted = f"'{name}' as an array of numbers"
    if hasattr(value, "detach"):  # a torch tensor, told without importing torch
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            wanted, f"{type(value).__name__} in {where} ({error})", "give a NumPy array"
        ) from error
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > _LARGEST_ITEM:
        raise DataError(
            wanted,
            f"dtype {array.dtype} in {where}",
            "store booleans, integers, or floats of at most 64 bits",
        )
    if array.ndim == 0:
        raise DataError(
            wanted,
            f"a single number in {where}",
            "give batches: axis 0 is the samples (a DataLoader makes them)",
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_finite(array: Array, name: str, where: str) -> None:
    if array.dtype.kind != "f":
        return
    step = max(1, (1 << 24) // max(1, array[:1].size))  # the mask of a whole data set would be as long as it
    for start in range(0, len(array), step):
        finite = np.isfinite(array[start : start + step])
        if not finite.all():
            row = start + int(np.argwhere(~finite)[0][0])
            raise DataError(
                "finite values",
                f"NaN or infinity in '{name}', sample {row}, in {where}",
                "repair or drop the sample",
            )


def _checked_targets(targets: Array, where: str) -> Array:
    if targets.dtype.kind == "f":
        _check_finite(targets, TARGETS, where)
        return targets
    if targets.dtype == np.uint64 and targets.size and targets.max() > np.iinfo(np.int64).max:
        raise DataError(
            "class labels below 2**63", f"{targets.max()} in '{TARGETS}' of {where}", "store class numbers"
        )
    labels: NDArray[np.int64] = targets.astype(np.int64, copy=False)
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def labels_of(targets: Array | None) -> NDArray[np.int64] | None:
    """Return the targets where they are class labels: one integer for each sample; else None."""
    return targets if targets is not None and targets.dtype.kind == "i" and targets.ndim == 1 else None
