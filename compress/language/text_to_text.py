"""Text from an encoder–decoder: the input is read once, and the answer comes token by token, always the likeliest.

This module needs numpy, onnxruntime and tokenizers, and nothing else, so that it can run where an artifact runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PAST, _PRESENT = "past_key_values.", "present."

#: What the names of the encoder's inputs and outputs begin with where both parts are one graph.
_SOURCE = "source."

_TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


class GenerationError(ValueError):
    """An input that the network does not take; the message is one line."""


def open_text_to_text(
    encoder: str | PathLike[str], decoder: str | PathLike[str], *, threads: int = 0
) -> TextToText:
    """Open an encoder–decoder on this machine's processor.

    Args:
        encoder: ONNX file of the encoder.
        decoder: ONNX file of the decoder.
        threads: Threads of one operator; 0 leaves the number to the runtime.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    sessions = [
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for path in (encoder, decoder)
    ]
    return TextToText(*sessions)


class Part:
    """A part of a session of a graph with an encoder and a decoder: the other one is given no rows.

    Args:
        session: The session.
        encoder: Whether the part is the encoder; else it is the decoder.
    """

    def __init__(self, session: onnxruntime.InferenceSession, *, encoder: bool) -> None:
        self._session = session
        self._before = _SOURCE if encoder else ""
        values = [_Value(value) for value in session.get_inputs()]
        self._inputs = [_Value(value, self._before) for value in values if value.of_encoder == encoder]
        self._idle = {value.name: value.without_rows() for value in values if value.of_encoder != encoder}
        outputs = [_Value(value) for value in session.get_outputs()]
        self._outputs = [_Value(value, self._before) for value in outputs if value.of_encoder == encoder]

    def get_inputs(self) -> list[_Value]:
        """Return the part's inputs."""
        return self._inputs

    def get_outputs(self) -> list[_Value]:
        """Return the part's outputs."""
        return self._outputs

    def get_modelmeta(self) -> Any:
        """Return what the graph tells of itself."""
        return self._session.get_modelmeta()

    def run(self, names: Sequence[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return some of the part's outputs."""
        own_feeds = {self._before + name: array for name, array in feeds.items()}
        computed: list[NDArray[Any]] = self._session.run(
            [self._before + name for name in names], {**self._idle, **own_feeds}
        )
        return computed


class _Value:
    """An input or an output of a graph, or of a part of it."""

    def __init__(self, value: Any, before: str = "") -> None:
        self.name, self.shape, self.type = value.name.removeprefix(before), value.shape, value.type
        self.of_encoder = self.name.startswith(_SOURCE)

    def without_rows(self) -> NDArray[Any]:
        open_size = 0 if self.name.startswith(_PAST) else 1
        sizes = [size if isinstance(size, int) else open_size for size in self.shape[1:]]
        return np.zeros((0, *sizes), _TYPES[self.type])


class TextToText:
    """An encoder–decoder.

    Args:
        encoder: Session of the encoder, or its part of a session of both.
        decoder: Session of the decoder, or its part.

    Attributes:
        start: Id of the token that begins every answer.
        eos: Ids of the tokens that end an answer.
        vocabulary: Number of tokens that logits are given for.
    """

    def __init__(
        self, encoder: onnxruntime.InferenceSession | Part, decoder: onnxruntime.InferenceSession | Part
    ) -> None:
        self._encoder, self._decoder = encoder, decoder
        metadata = decoder.get_modelmeta().custom_metadata_map
        self.start = int(metadata["decoder_start_token_id"])
        self.eos: frozenset[int] = frozenset(json.loads(metadata["eos_token_ids"]))
        self.vocabulary = int(decoder.get_outputs()[0].shape[-1])
        self._past = [
            graph_input for graph_input in decoder.get_inputs() if graph_input.name.startswith(_PAST)
        ]

    def read(self, source: NDArray[Any], mask: NDArray[np.int64] | None = None) -> dict[str, NDArray[Any]]:
        """Return what a decoder is given of inputs: their keys and values, and their mask where it takes one.

        Args:
            source: Ids of the inputs' tokens, int64 [batch, source], or what else the encoder takes.
            mask: Mask that is 0 where an input is filled up, int64 [batch, source]; None for ones.
        """
        first, *more = (graph_input.name for graph_input in self._encoder.get_inputs())
        feeds, encoded = {first: source}, {}
        if more:
            feeds[more[0]] = encoded["encoder_attention_mask"] = (
                np.ones_like(source) if mask is None else mask
            )
        names = [graph_output.name for graph_output in self._encoder.get_outputs()]
        return encoded | dict(zip(names, self._encoder.run(names, feeds), strict=True))

    def empty(self, batch: int = 1) -> dict[str, NDArray[Any]]:
        """Return the keys and values of no token."""
        return {
            past.name: np.zeros((batch, past.shape[1], 0, past.shape[3]), np.float32) for past in self._past
        }

    def step(
        self, ids: NDArray[np.int64], given: dict[str, NDArray[Any]], past: dict[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
        """Return the logits behind more tokens of answers, [batch, tokens, vocabulary], and all keys and values.

        Args:
            ids: Ids of the tokens, [batch, tokens].
            given: Masks, keys and values of the inputs, as :meth:`read` gives them.
            past: Keys and values of the tokens before them.
        """
        names = ["logits", *(name.replace(_PAST, _PRESENT) for name in past)]
        logits, *present = self._decoder.run(names, {"input_ids": ids, **given, **past})
        return logits, dict(zip(past, present, strict=True))

    def tokens(self, source: Sequence[int], *, max_new_tokens: int = 256) -> Iterator[int]:
        """Yield the ids of the answer's tokens; the token that ends it is left out.

        Args:
            source: Ids of the input's tokens, one at least.
            max_new_tokens: Largest number of tokens of the answer, 1 or more.
        """
        return self.answer(np.array([source], np.int64), max_new_tokens=max_new_tokens)

    def answer(
        self, source: NDArray[Any], *, begin: Sequence[int] = (), max_new_tokens: int = 256
    ) -> Iterator[int]:
        """Yield the ids of the answer's tokens to whatever the encoder takes; see :meth:`tokens`.

        Args:
            source: One input as the encoder takes it, with a first axis of 1.
            begin: Ids of tokens that the answer begins with, behind the one that begins every answer, as those of
                language and task are for Whisper; they are not yielded.
            max_new_tokens: Largest number of tokens of the answer, 1 or more.
        """
        encoded, past = self.read(source), self.empty()
        following = [self.start, *begin]
        for _ in range(max_new_tokens):
            logits, past = self.step(np.array([following], np.int64), encoded, past)
            token = int(logits[0, -1].argmax())
            if token in self.eos:
                return
            yield token
            following = [token]


class Generator:
    """Greedy text from an encoder–decoder in one graph.

    Args:
        session: Session of the graph.
        tokenizer: Tokenizer of the model.
    """

    def __init__(self, session: onnxruntime.InferenceSession, tokenizer: Tokenizer) -> None:
        parts = (Part(session, encoder=True), Part(session, encoder=False))
        self.network, self.tokenizer = TextToText(*parts), tokenizer
        self._source = parts[0].get_inputs()[0]

    def generate(self, source: Any, *, max_new_tokens: int = 256) -> Iterator[str]:
        """Yield the answer to an input in pieces, as they come; joined they are the whole answer.

        Args:
            source: A text; for a network that reads spectra one of these, float32 [bands, frames], or the name of a
                ``.npy`` file with it.
            max_new_tokens: Largest number of tokens of the answer, 1 or more.

        Raises:
            GenerationError: The input is none that the network takes.
        """
        from tokenizers.decoders import DecodeStream

        stream, tokens, text_so_far = DecodeStream(skip_special_tokens=True), [], ""
        for token in self.tokens(source, max_new_tokens=max_new_tokens):
            tokens.append(token)
            piece = stream.step(self.tokenizer, token)
            if piece:
                text_so_far += piece
                yield piece
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        if len(text) > len(text_so_far) and text.startswith(text_so_far):
            yield text[len(text_so_far) :]  # the beginning of a character that was not finished

    def tokens(self, source: Any, *, max_new_tokens: int = 256) -> Iterator[int]:
        """Yield the ids of the answer's tokens; see :meth:`generate`. The token that ends it is left out.

        Args:
            source: The input.
            max_new_tokens: Largest number of tokens of the answer, 1 or more.
        """
        network = self.network
        if self._source.type == "tensor(int64)":
            ids = self.tokenizer.encode(source).ids if isinstance(source, str) else list(source)
            if not ids:
                raise GenerationError("wanted an input of one token or more; found none; write one")
            return network.answer(np.array([ids], np.int64), max_new_tokens=max_new_tokens)
        spectrum = _read(source) if isinstance(source, str | PathLike) else source
        wanted = tuple(self._source.shape[1:])
        if not isinstance(spectrum, np.ndarray) or spectrum.shape != wanted:
            problem = spectrum.shape if isinstance(spectrum, np.ndarray) else type(spectrum).__name__
            raise GenerationError(
                f"wanted a spectrum of shape {wanted}, in a .npy file; found {problem}; correct it"
            )
        begin = begin_of(self.tokenizer, network.start, network.eos)
        return network.answer(
            spectrum[np.newaxis].astype(np.float32), begin=begin, max_new_tokens=max_new_tokens
        )


def _read(path: str | PathLike[str]) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise GenerationError(
            f"wanted a .npy file with a spectrum; found {path}: {error}; correct it"
        ) from error


def begin_of(tokenizer: Tokenizer, start: int, eos: frozenset[int]) -> list[int]:
    """Return the ids of tokens that a tokenizer puts before a text, without the one that begins every answer.

    Args:
        tokenizer: The tokenizer.
        start: Id of the token that begins every answer.
        eos: Ids of the tokens that end an answer.
    """
    ids: list[int] = tokenizer.encode("").ids
    return [token for token in ids[ids[:1] == [start] :] if token not in eos]
