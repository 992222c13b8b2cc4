"""Check that a batch fits a session's inputs, with an error for the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compress.core.tensor_spec import TensorSpec
from compress.errors import DataError


def check_feeds(inputs: Sequence[TensorSpec], feeds: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Check that there is one array for each input, of its dtype and shape.

    Args:
        inputs: Inputs of the session.
        feeds: Arrays by the input's name.

    Raises:
        DataError: An array does not fit, is missing, or is not an input.
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
            isinstance(size, str) or size == length
            for size, length in zip(spec.shape, array.shape, strict=True)
        )
        if array.dtype != spec.dtype or not fits:
            raise DataError(
                str(spec), f"{array.dtype}{list(array.shape)}", "convert the data to that dtype and shape"
            )
