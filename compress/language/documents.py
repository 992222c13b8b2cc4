"""Documents as samples: a decoder reads one from its first token to its last, and is judged by what it expects next.

A document's tokens go in, and a number for each next token comes out: how unlikely the decoder held it. Logits are the
vocabulary's size for each token, and stay inside of here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.core.decoder_texts import CONTEXT_KEY, SPELLING_KEY
from compress.core.tensor_spec import BATCH, TensorSpec
from compress.language.likeliest import Likeliest, divergence, likeliest, log_probabilities
from compress.language.spelling import Spelling
from compress.language.windows import Windows

if TYPE_CHECKING:
    from compress.data.split import Split
    from compress.data.task import Task
    from compress.network.states import Runs

Array = NDArray[Any]

#: Names of a decoder's inputs: ids of tokens, the mask, and the beginning of the names of keys and values.
IDS, MASK, PAST = "input_ids", "attention_mask", "past_key_values."

#: What stands behind the last token of a document that is shorter than the longest.
NO_TOKEN = -1

#: Largest number of tokens in the cache of a step that is timed.
CONTEXT = 256

#: Names of what comes out of a document.
NLL, CHOICE, DIVERGENCE, AGREES = "nll", "choice", "divergence", "agrees"

#: Names of the original's first choices among the inputs.
LIKELIEST, LIKELIEST_LOGS = "likeliest", "likeliest_logs"

#: Tokens of a document that are computed at once, and rows of logits that are looked at at once.
_CHUNK, _ROWS = 256, 64

#: Tokens of a text that are read at once in about the time of one step: of 135 million weights on two cores, 66 tokens
#: in 0.1 s, and a step in 19 ms.
_TOKENS_OF_A_STEP = 12


@dataclass(frozen=True)
class Documents:
    """Way in which a decoder runs over whole documents.

    Attributes:
        steps: Number of tokens in the cache of the decoding steps that are timed.
        compared: Number of the original's first choices that come with each token; None where they do not.
        vocabulary: Number of tokens of the tokenizer that took the documents apart; None where it is not known.
        windows: Windows in which documents are read; None where one is read from its first token to its last.
    """

    steps: int
    compared: int | None = None
    vocabulary: int | None = None
    windows: Windows | None = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Ids of a document's tokens, filled up with -1; and the original's first choices behind each but the last."""
        ids = TensorSpec(IDS, "int64", (BATCH, "tokens"))
        if self.compared is None:
            return (ids,)
        shape = (BATCH, "predicted", self.compared)
        return (ids, TensorSpec(LIKELIEST, "int32", shape), TensorSpec(LIKELIEST_LOGS, "float32", shape))

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """For each token but the last, about the one behind it: its negative log-likelihood, and the likeliest one.

        With the original's first choices also the divergence from the original, and whether the likeliest is the same.
        """
        names = {NLL: "float64", CHOICE: "int64"}
        if self.compared is not None:
            names |= {DIVERGENCE: "float64", AGREES: "int64"}
        return tuple(TensorSpec(name, dtype, (BATCH, "predicted")) for name, dtype in names.items())

    @property
    def of_frames(self) -> bool:
        """See :attr:`compress.data.whole.Whole.of_frames`."""
        return False

    @property
    def one_by_one(self) -> bool:
        """See :attr:`compress.data.whole.Whole.one_by_one`."""
        return True

    @property
    def pairs(self) -> Mapping[str, str]:
        """See :attr:`compress.data.whole.Whole.pairs`: keys and values grow from call to call, so there are none."""
        return {}

    def calls_in(self, samples: Split) -> int:
        """See :meth:`compress.data.whole.Whole.calls_in`: tokens that are read at once take less time than steps."""
        tokens = sum(int((batch.inputs[IDS] != NO_TOKEN).sum()) for batch in samples.batches(_CHUNK))
        again = 1.0 if self.windows is None else self.windows.length / self.windows.stride
        return max(1, int(again * tokens) // _TOKENS_OF_A_STEP)

    def over(self, network: Runs) -> DocumentRunner:
        """See :meth:`compress.data.whole.Whole.over`."""
        return DocumentRunner(network, self)

    def notes(self, task: Task) -> tuple[str, ...]:
        """See :meth:`compress.data.whole.Whole.notes`."""
        return (
            *cut_notes(task.evaluation.origin),
            *(() if self.windows is None else (self.windows.note,)),
            f"accuracy is that of {len(task.evaluation)} whole documents, a value for each; latency is that of one "
            f"decoding step: one more token behind {self.steps}, whose keys and values are those of the original",
        )


def cut_notes(origin: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sentence on how much of the documents was left out; empty where nothing was.

    Args:
        origin: Source of the documents, with the numbers of their tokens.
    """
    left_out = origin.get("tokens_left_out", 0)
    if not left_out:
        return ()
    share = 100 * left_out / origin["tokens"]
    return (
        f"documents are cut to {origin['sequence_length']} tokens (--sequence-length), which leaves {share:.3g} % of "
        "all tokens out",
    )


class DocumentRunner:
    """Runner of whole documents through a decoder, one after another, so that none depends on its neighbours.

    Args:
        network: Runner of the decoder's calls.
        documents: How it runs.

    Attributes:
        inputs: Inputs of a document.
        outputs: Outputs of a document.
    """

    def __init__(self, network: Runs, documents: Documents) -> None:
        self._network, self._compares = network, documents.compared is not None
        self.inputs, self.outputs = documents.inputs, documents.outputs
        self._spelling = spelling_of(network, documents)
        self._windows = documents.windows

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return the outputs of documents; behind a document's last token they are 0.

        Where the decoder has a trimmed vocabulary, a token's likelihood is that of all its pieces, and the choice at a
        token is that of its first piece.

        Args:
            feeds: Arrays for :attr:`inputs`.
        """
        ids = feeds[IDS]
        shape = len(ids), ids.shape[1] - 1
        outputs = [np.zeros(shape, spec.dtype) for spec in self.outputs]
        for row, padded in enumerate(ids):
            document = padded[padded != NO_TOKEN]
            self._begin(feeds, row)
            first = Likeliest(feeds[LIKELIEST][row], feeds[LIKELIEST_LOGS][row]) if self._compares else None
            for here, values in self._values(document, first):
                for output, value in zip(outputs, values, strict=True):
                    np.add.at(output[row], here, value)
        return outputs

    def _begin(self, feeds: Mapping[str, Array], row: int) -> None:
        """Prepare for a document: a decoder alone has nothing to read before it."""

    def _values(self, document: Array, first: Likeliest | None) -> Iterator[tuple[Array, list[Array]]]:
        """Yield positions of predicted tokens, which may repeat, and what is to be added to each output there."""
        spelled_ids, starts = document, np.arange(len(document))
        if self._spelling is not None:
            spelled_ids, starts = self._spelling.spelled(document)
        pieces = (
            np.searchsorted(starts, np.arange(len(spelled_ids)), side="right") - 1
        )  # the token that each belongs to
        for start, logs in self.log_probabilities(spelled_ids[:-1]):
            rows = np.arange(start, start + len(logs))
            begins = starts[pieces[rows + 1]] == rows + 1
            # A choice is made where a token begins; its other pieces are only likely or not.
            here = pieces[rows + 1] - 1
            said = here >= 0
            values = [-logs[rows - start, spelled_ids[rows + 1]], self._whole(logs.argmax(axis=1)) * begins]
            if first is not None:
                original = Likeliest(first.ids[here], first.logs[here])
                apart = divergence(logs, original, self._places(original.ids))
                agrees = (values[1] == original.ids[:, 0]) & begins
                values += [apart * begins, agrees]
            yield here[said], [value[said] for value in values]

    def _whole(self, ids: Array) -> Array:
        """Return numbers of tokens in the vocabulary of the documents."""
        return ids if self._spelling is None else np.array(self._spelling.kept, np.int64)[ids]

    def _places(self, ids: Array) -> Array | None:
        """Return the number of tokens of the documents' vocabulary in the decoder's own, -1 where they have none."""
        return None if self._spelling is None else self._spelling.places[ids]

    def log_probabilities(self, ids: Array) -> Iterator[tuple[int, Array]]:
        """Yield logarithms of probabilities, float64 [tokens, vocabulary], behind tokens of a text, a few at a time.

        Args:
            ids: Ids of the text's tokens.

        Yields:
            The number of the first of these tokens, and the logarithms behind each.
        """
        for start, logits in self._logits(ids):
            for row in range(0, len(logits), _ROWS):
                yield start + row, log_probabilities(logits[row : row + _ROWS])

    def first_choices(self, document: Array) -> tuple[Likeliest, list[float]]:
        """Return the likeliest tokens behind each token of a document but the last, and the next ones' log-likelihoods.

        Args:
            document: Ids of its tokens, int64 [tokens].
        """
        parts, likelihoods = list[Likeliest](), list[float]()
        for start, logs in self.log_probabilities(document[:-1]):
            parts.append(likeliest(logs))
            rows = np.arange(len(logs))
            likelihoods += logs[rows, document[start + 1 + rows]].tolist()
        ids, numbers = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "logs"))
        return Likeliest(ids, numbers), likelihoods

    def _logits(self, ids: Array) -> Iterator[tuple[int, Array]]:
        """Yield the number of the first token of each part of a text, and the logits behind the part's tokens."""
        everything = [(0, 0, len(ids))]
        for begin, judged, stop in everything if self._windows is None else self._windows.over(len(ids)):
            for start, logits in self._read_from(ids[:stop], begin):
                overlap = max(0, judged - start)  # of an earlier window
                if overlap < len(logits):
                    yield start + overlap, logits[overlap:]

    def _read_from(self, ids: Array, begin: int) -> Iterator[tuple[int, Array]]:
        """Yield the logits behind the tokens of a text from one on, as if none were before it."""
        context = int(getattr(self._network, "metadata", {}).get(CONTEXT_KEY, 0)) or len(ids)
        past, held = empty_cache(self._network), 0
        for start in range(begin, len(ids), _CHUNK):
            part = ids[None, start : start + _CHUNK]
            if held + part.shape[1] > context:  # a text that became longer when it was spelled
                held = min(held, (context - part.shape[1]) // 2)
                past = self._read(ids[start - held : start])
            logits, *present = self._network.run(fed(part, past))
            past, held = dict(zip(past, present, strict=True)), held + part.shape[1]
            yield start, logits[0]

    def _read(self, ids: Array) -> dict[str, Array]:
        """Return keys and values of a text's tokens."""
        past = empty_cache(self._network)
        if not len(ids):
            return past
        _, *present = self._network.run(fed(ids[None], past))
        return dict(zip(past, present, strict=True))


def spelling_of(network: Runs, documents: Documents) -> Spelling | None:
    """Return how a decoder with a trimmed vocabulary reads documents; None where it has their own."""
    text = getattr(network, "metadata", {}).get(SPELLING_KEY)
    if text is None:
        return None
    spelling = Spelling.from_text(text)
    return spelling if documents.vocabulary == spelling.whole else None


def empty_cache(network: Runs, rows: int = 1) -> dict[str, Array]:
    """Return keys and values of no token, by the names of a decoder's inputs, in the order of its outputs.

    Args:
        network: Runner of the decoder's calls.
        rows: Number of texts.
    """
    specs = [spec for spec in network.inputs if spec.name.startswith(PAST)]
    return {
        spec.name: np.zeros((rows, int(spec.shape[1]), 0, int(spec.shape[3])), spec.dtype) for spec in specs
    }


def fed(ids: Array, past: Mapping[str, Array]) -> dict[str, Array]:
    """Return a decoder's inputs for more tokens of texts of one length.

    Args:
        ids: Ids of the tokens, int64 [texts, tokens].
        past: Keys and values of the tokens before them, by the names of the inputs.
    """
    before = next(iter(past.values())).shape[2]
    return {IDS: ids, MASK: np.ones((len(ids), before + ids.shape[1]), np.int64), **past}


def step_shapes(inputs: Sequence[TensorSpec], context: int = CONTEXT) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a decoder's inputs in a decoding step of one text, by their names.

    Args:
        inputs: Inputs of a network; those of no decoder have no such shapes.
        context: Number of tokens in the cache.
    """
    past = [spec for spec in inputs if spec.name.startswith(PAST)]
    if not past or {spec.name for spec in inputs} != {IDS, MASK, *(spec.name for spec in past)}:
        return {}
    cache = {spec.name: (1, int(spec.shape[1]), context, int(spec.shape[3])) for spec in past}
    return {IDS: (1, 1), MASK: (1, context + 1), **cache}
