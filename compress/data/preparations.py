"""The usual ways in which images are prepared for a network, beside the one that the data is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from compress.core.tensor_spec import TensorSpec
from compress.data.split import Array

#: Makes a batch of images as a network may have been trained on them from one as the data holds them.
Preparation = Callable[[Array], Array]

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def channels(inputs: Sequence[TensorSpec]) -> int | None:
    """Return the axis of the colours of the only input, where that is an image of floats; None where it is not."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or not inputs[0].dtype.startswith("float"):
        return None
    shape = inputs[0].shape
    return next((axis for axis in (1, 3) if shape[axis] in (1, 3)), None)


def preparations(first: Array, axis: int) -> dict[str, Preparation]:
    """Return what may be done to the images, by its description in words; the simplest first.

    Args:
        first: Some images as the data holds them, ``(n, colours, height, width)`` or ``(n, height, width, colours)``.
        axis: The axis of the colours.
    """
    low, high, colours = float(first.min()), float(first.max()), first.shape[axis]

    def per_channel(values: Sequence[float]) -> Array:
        shape = [1] * first.ndim
        shape[axis] = colours
        return np.asarray(values, np.float32).reshape(shape)

    ways: dict[str, Preparation] = {}
    scale = 255.0 if high > 2 else 1.0
    if scale > 1:
        ways["with pixels divided by 255 (scale = 255)"] = lambda array: array / np.float32(255)
    elif low >= 0:
        ways["with pixels from 0 to 255 (scale = 1)"] = lambda array: array * np.float32(255)
    if low >= 0:
        half = "with mean = 0.5 and std = 0.5"
        ways[half] = lambda array: (array / np.float32(scale) - np.float32(0.5)) / np.float32(0.5)
        if colours == 3:
            mean, std = per_channel(_IMAGENET_MEAN), per_channel(_IMAGENET_STD)
            description = (
                "with ImageNet's mean and std (mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225])"
            )
            ways[description] = lambda array: (array / np.float32(scale) - mean) / std
            ways[f"{description} and colours in the order BGR"] = lambda array: (
                (np.flip(array, axis) / np.float32(scale) - mean) / std
            )
    else:
        ways["with pixels from 0 to 1, and neither mean nor std,"] = lambda array: (
            (array - array.min()) / max(float(array.max() - array.min()), 1e-6)
        ).astype(np.float32)
    if colours == 3:
        ways["with colours in the other order (RGB or BGR)"] = lambda array: np.flip(array, axis)
    return {description: _contiguous(way) for description, way in ways.items()}


def _contiguous(way: Preparation) -> Preparation:
    def prepare(array: Array) -> Array:
        with np.errstate(all="ignore"):  # pixels of any size may overflow in one of the ways
            return np.ascontiguousarray(way(array), dtype=array.dtype)

    return prepare
