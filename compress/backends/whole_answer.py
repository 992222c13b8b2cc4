"""Calls of an encoder–decoder in one graph: of one part alone, and of both as a whole answer takes them.

A part is left out by giving it no rows; see :mod:`compress.language.joined`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.core.decoder_texts import SOURCE

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec

Arrays = Mapping[str, "np.ndarray[Any, Any]"]
#: Function that computes outputs, of these names, of a graph.
Run = Callable[[Sequence[str], Arrays], "list[np.ndarray[Any, Any]]"]

#: Beginning of the names of the keys and values of an answer's tokens, and the name of the tokens.
_PAST, _IDS = "past_key_values.", "input_ids"


def of_one_part(inputs: Sequence[TensorSpec], feeds: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    """Return the inputs of a call, where those that are not given have no rows.

    Args:
        inputs: Inputs of the graph.
        feeds: Arrays for all inputs of one part.
    """
    filled = dict(feeds)
    for spec in inputs:
        if spec.name not in filled:
            open_size = 0 if spec.name.startswith(_PAST) else 1
            sizes = [size if isinstance(size, int) else open_size for size in spec.shape[1:]]
            filled[spec.name] = np.zeros((0, *sizes), spec.dtype)
    return filled


def whole_answer(
    run: Run, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], feeds: Arrays
) -> Callable[[], None]:
    """Return the call of a whole answer: its input is read once, then a step is made for each token of the answer.

    Args:
        run: Runs the graph.
        inputs: Inputs of the graph.
        outputs: Outputs of the graph.
        feeds: Inputs of one call of both parts; the keys and values of the input are not used, as they are computed.
    """
    answer = _Answer(run, inputs, outputs, feeds)
    return answer.write


def parts_of_answer(
    run: Run, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], feeds: Arrays
) -> Mapping[str, Callable[[], object]]:
    """Return the encoder's call, and a step in the middle of the answer; see :func:`whole_answer`.

    Args:
        run: Runs the graph.
        inputs: Inputs of the graph.
        outputs: Outputs of the graph.
        feeds: Inputs of one call of both parts.
    """
    answer = _Answer(run, inputs, outputs, feeds)
    given, past = answer.read(), answer.empty
    for token in answer.tokens[: len(answer.tokens) // 2]:
        past = answer.step(token, given, past)
    return {"encoder": answer.read, "step": lambda: answer.step(answer.tokens[0], given, past)}


class _Answer:
    """A whole answer, in parts; see :func:`whole_answer`."""

    def __init__(
        self, run: Run, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], feeds: Arrays
    ) -> None:
        self._run = run
        source = {name: array for name, array in feeds.items() if name.startswith(SOURCE)}
        self._encoder_feeds = of_one_part(inputs, source)
        names = [spec.name for spec in outputs]
        self._read = [name for name in names if name.startswith(SOURCE)]
        self._written = [name for name in names if not name.startswith(SOURCE)]
        self._keys = [name.removeprefix(SOURCE) for name in self._read]
        self.empty: Arrays = {spec.name: feeds[spec.name] for spec in inputs if spec.name.startswith(_PAST)}
        others = {*source, *self._keys, *self.empty, _IDS}
        idle = of_one_part([spec for spec in inputs if spec.name.startswith(SOURCE)], {})
        self._constant = {**idle, **{name: array for name, array in feeds.items() if name not in others}}
        ids = feeds[_IDS]
        self.tokens = [np.ascontiguousarray(ids[:, at : at + 1]) for at in range(ids.shape[1])]

    def read(self) -> Arrays:
        """Return keys and values of the input."""
        return dict(zip(self._keys, self._run(self._read, self._encoder_feeds), strict=True))

    def step(self, token: np.ndarray[Any, Any], given: Arrays, past: Arrays) -> Arrays:
        """Return keys and values of the answer after one token more."""
        _, *present = self._run(self._written, {**self._constant, **given, _IDS: token, **past})
        return dict(zip(past, present, strict=True))

    def write(self) -> None:
        """Read the input, and make a step for each token."""
        given, past = self.read(), self.empty
        for token in self.tokens:
            past = self.step(token, given, past)
