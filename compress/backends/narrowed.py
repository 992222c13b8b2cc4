"""Calls of a language model, as a build takes them that lacks layers, heads or tokens, or has another cache.

Builds are timed in calls of the user's model. A smaller one takes the keys and values of the layers and heads that it
has, and of its own tokens one for each: which ones it reads does not change how long it takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compress.core.tensor_spec import TensorSpec

#: Axis of the heads in keys and values [batch, heads, tokens, head size].
_HEADS = 1


def narrowed(
    inputs: Sequence[TensorSpec], vocabulary: int, feeds: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the part of a call that a smaller decoder takes; its own calls are left as they are.

    Args:
        inputs: Inputs of the smaller decoder.
        vocabulary: Number of its tokens.
        feeds: Arrays of a call of the user's model, by the input's name.
    """
    narrowed_feeds = {}
    for spec in inputs:
        if spec.name not in feeds:
            continue  # told by whoever runs it
        array = np.asarray(feeds[spec.name])
        if spec.name == "input_ids":
            array = array % vocabulary if array.size and array.max() >= vocabulary else array
        elif array.ndim == len(spec.shape) > _HEADS:
            heads = spec.shape[_HEADS]
            if isinstance(heads, int) and array.shape[_HEADS] > heads:
                array = np.ascontiguousarray(array[:, :heads])
            array = _in_precision(array, np.dtype(spec.dtype))
        narrowed_feeds[spec.name] = array
    return narrowed_feeds


def _in_precision(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return keys or values in the type of another cache; as integers they fill the type's range."""
    if array.dtype == dtype or array.dtype.kind != "f":
        return array
    if dtype.kind == "i":
        largest = float(np.abs(array).max(initial=0)) or 1.0
        array = np.rint(array * (np.iinfo(dtype).max / largest))
    return array.astype(dtype)
