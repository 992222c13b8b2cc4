"""A decoding step of ONNX Runtime whose keys and values lie where the step writes to, as they do in an answer.

Given as inputs and returned as outputs, all keys and values are copied in each call, which no answer is written with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnxruntime

    from compress.core.tensor_spec import TensorSpec

_IDS, _MASK, _PAST, _PRESENT = "input_ids", "attention_mask", "past_key_values.", "present."

#: Axis of the tokens in keys and values [batch, heads, tokens, head size].
_TOKENS = 2


def is_step(inputs: Sequence[TensorSpec], feeds: Mapping[str, np.ndarray[Any, Any]]) -> bool:
    """Whether a call of a decoder adds one token to each text, and every token before it is one of the text's.

    Args:
        inputs: Inputs of the graph.
        feeds: Arrays of the call.
    """
    names = {spec.name for spec in inputs}
    past = {name for name in names if name.startswith(_PAST)}
    decodes = bool(past) and names == {_IDS, _MASK, *past}
    return decodes and feeds[_IDS].shape[1:] == (1,) and bool(feeds[_MASK].all())


def bound_step(
    session: onnxruntime.InferenceSession, feeds: Mapping[str, np.ndarray[Any, Any]]
) -> Callable[[], object]:
    """Return the call of a step; each call writes the token's keys and values to the same place.

    Args:
        session: Session of a decoder that compress wrote, on a processor.
        feeds: Inputs of the step; see :func:`is_step`.
    """
    import onnxruntime

    binding = session.io_binding()
    held: list[onnxruntime.OrtValue] = []
    for name, array in feeds.items():
        if not name.startswith(_PAST):
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
            continue
        room = np.zeros_like(array, shape=_one_more(array.shape))
        room[:, :, : array.shape[_TOKENS]] = array
        value = onnxruntime.OrtValue.ortvalue_from_numpy(room)
        held.append(value)
        binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output(name.replace(_PAST, _PRESENT, 1), value)
    binding.bind_output("logits")

    def call() -> object:
        session.run_with_iobinding(binding)
        return held  # the binding knows mere addresses

    return call


def _one_more(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:_TOKENS], shape[_TOKENS] + 1, *shape[_TOKENS + 1 :])
