"""Inputs with their answers as samples: an encoder–decoder reads an input once, and is judged by the answer it expects.

An answer is a document that begins with the token that begins every answer; what comes out of it is as of
:mod:`compress.language.documents`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from compress.backends.whole_answer import of_one_part
from compress.core.decoder_texts import SOURCE
from compress.core.tensor_spec import BATCH, TensorSpec
from compress.language.documents import (
    IDS,
    NO_TOKEN,
    PAST,
    Array,
    DocumentRunner,
    Documents,
    cut_notes,
    empty_cache,
)

if TYPE_CHECKING:
    from compress.data.split import Split
    from compress.data.task import Task
    from compress.network.states import Runs

#: Names of the inputs of an encoder–decoder: what is read, as tokens or as a spectrum, and the masks of tokens.
SOURCE_IDS, SOURCE_FEATURES = f"{SOURCE}input_ids", f"{SOURCE}input_features"
SOURCE_MASK, MASK = f"{SOURCE}attention_mask", "encoder_attention_mask"

#: Tokens of an answer that are computed at once.
_CHUNK = 256

#: Tokens of an input and of the answer before a step, of a network that is looked at without data.
_READ, _WRITTEN = 64, 16


@dataclass(frozen=True)
class Pairs(Documents):
    """Way in which an encoder–decoder runs over inputs with their answers.

    Attributes:
        steps: Number of tokens of the answers that are timed.
        source: Input that is read: tokens, filled up with -1, or a spectrum.
        read: Number of tokens of the inputs that are timed; None where they are no tokens.
    """

    source: TensorSpec = field(default=TensorSpec(SOURCE_IDS, "int64", (BATCH, "source")))
    read: int | None = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The answer's tokens, the input, and the original's first choices."""
        ids, *more = super().inputs
        return (ids, self.source, *more)

    def calls_in(self, samples: Split) -> int:
        """See :meth:`compress.data.whole.Whole.calls_in`: an answer that is judged is computed at once."""
        return len(samples)

    def over(self, network: Runs) -> PairRunner:
        """See :meth:`compress.data.whole.Whole.over`."""
        return PairRunner(network, self)

    def notes(self, task: Task) -> tuple[str, ...]:
        """See :meth:`compress.data.whole.Whole.notes`."""
        what = "an input" if self.read is None else f"an input of {self.read} tokens"
        return (
            *cut_notes(task.evaluation.origin),
            f"accuracy is that of the answers to {len(task.evaluation)} inputs, a value for each; latency is that of a "
            f"whole answer of the usual length: {what} is read once, then {self.steps} steps of one token are made",
        )


class PairRunner(DocumentRunner):
    """Runner of inputs with their answers through an encoder–decoder, one after another.

    Args:
        network: Runner of its calls.
        pairs: How it runs.
    """

    def __init__(self, network: Runs, pairs: Pairs) -> None:
        super().__init__(network, pairs)
        self._source, self._given = pairs.source.name, dict[str, Array]()

    def read(self, source: Array) -> None:
        """Read an input, whose answer is asked for next.

        Args:
            source: Ids of its tokens, int64 [tokens], or its spectrum.
        """
        self._given = read_inputs(self._network, {self._source: source[None]})

    def _begin(self, feeds: Mapping[str, Array], row: int) -> None:
        source = feeds[self._source][row]
        self.read(source[source != NO_TOKEN] if self._source == SOURCE_IDS else source)

    def _read_from(self, ids: Array, begin: int) -> Iterator[tuple[int, Array]]:
        past = empty_cache(self._network)
        for start in range(begin, len(ids), _CHUNK):
            part = {IDS: ids[None, start : start + _CHUNK], **self._given, **past}
            logits, *present = self._network.run(of_one_part(self._network.inputs, part))
            past = dict(zip(past, present[: len(past)], strict=True))
            yield start, logits[0]


def read_inputs(network: Runs, source: Mapping[str, Array]) -> dict[str, Array]:
    """Return what a decoder is given of inputs of one length: their keys and values, and their mask.

    Args:
        network: Runner of the encoder–decoder.
        source: The inputs, by the name of the encoder's input.
    """
    given, feeds = dict[str, Array](), dict(source)
    if SOURCE_IDS in source:
        feeds[SOURCE_MASK] = given[MASK] = np.ones_like(source[SOURCE_IDS])
    outputs = network.run(of_one_part(network.inputs, feeds))
    pairs = zip(network.outputs, outputs, strict=True)
    return given | {
        spec.name.removeprefix(SOURCE): array for spec, array in pairs if spec.name.startswith(SOURCE)
    }


def source_of(network: Runs) -> TensorSpec:
    """Return the input of the encoder: tokens, or a spectrum."""
    return next(spec for spec in network.inputs if spec.name in (SOURCE_IDS, SOURCE_FEATURES))


def keys_of(network: Runs, rows: int, read: int) -> dict[str, Array]:
    """Return keys and values of inputs, all 0, by the names of the decoder's inputs.

    Args:
        network: Runner of the encoder–decoder.
        rows: Number of inputs.
        read: Number of their tokens.
    """
    arrays = {}
    for spec in network.inputs:
        if not spec.name.startswith((SOURCE, PAST)) and len(spec.shape) == 4:
            sizes = [size if isinstance(size, int) else read for size in spec.shape[1:]]
            arrays[spec.name] = np.zeros((rows, *sizes), spec.dtype)
    return arrays


def call_shapes(
    inputs: Sequence[TensorSpec], read: int = _READ, written: int = _WRITTEN
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an encoder–decoder's inputs in a call of one input and one step, by their names.

    Args:
        inputs: Inputs of a network; those of no encoder–decoder have no such shapes.
        read: Number of tokens of the input.
        written: Number of tokens of the answer before the step.
    """
    if not any(spec.name in (SOURCE_IDS, SOURCE_FEATURES) for spec in inputs):
        return {}
    shapes = {}
    for spec in inputs:
        open_size = written if spec.name.startswith(PAST) else 1 if spec.name == IDS else read
        shapes[spec.name] = (1, *(size if isinstance(size, int) else open_size for size in spec.shape[1:]))
    return shapes
