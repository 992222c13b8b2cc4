"""Whether a batch fits what a session takes, told to a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compress.core.tensor_spec import TensorSpec
from compress.errors import DataError


def check_feeds(inputs: Sequence[TensorSpec], feeds: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Make sure that there is one array an input, of its dtype and shape.

    Args:
        inputs: What the session takes.
        feeds: What it was given.

    Raises:
        DataError: The first thing that does not fit.
    """
    if set(feeds) != {spec.name for spec in inputs}:
        raise DataError(
            f"inputs {'; '.join(map(str, inputs))}",
            f"inputs named {sorted(feeds)}",
            "name the arrays as the network's inputs",
        )
    for spec in inputs:
        array = np.asarray(feeds[spec.name])
        fits = array.ndim == len(spec.shape) and all(
            isinstance(size, str) or size == found
            for size, found in zip(spec.shape, array.shape, strict=True)
        )
        if array.dtype != spec.dtype or not fits:
            raise DataError(
                str(spec), f"{array.dtype}{list(array.shape)}", "convert the data to that dtype and shape"
            )
