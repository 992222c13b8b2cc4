"""Text from a decoder with a key-value cache: greedy, token by token, as it comes.

A draft, a smaller decoder of the same vocabulary, may write a few tokens ahead. One call of the decoder then gives its
own choice at each of them, and those that are the same are kept: the text is that of the decoder alone, as far as it
computes a token among others as it computes it alone.

This module needs numpy, tokenizers and the decoder's runtime, and nothing else, so that it can run where an artifact
runs. Decoders of ONNX Runtime are opened here, and those of OpenVINO in
:mod:`compress.backends.openvino_generation`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnxruntime
    from tokenizers import Tokenizer

#: Tokens of a prompt that are computed at once: logits come for each of them, and take the memory of the vocabulary.
CHUNK = 256

#: Oldest release of ONNX Runtime that computes every decoder rightly. Before 1.27 an embedding of 4 bits with an odd
#: number of groups in a row gives wrong values without a word, before 1.24 a window is one token longer, and 1.22 has
#: no embedding of 8 bits.
OLDEST_RUNTIME = (1, 27)

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int8)": np.int8}


class GenerationError(ValueError):
    """A graph is no decoder, or has no room for a prompt; the message is one line."""


def open_decoder(path: str | PathLike[str], *, threads: int = 0, spinning: bool = True) -> Decoder:
    """Open a decoder on this machine's processor.

    Args:
        path: ONNX file of the decoder.
        threads: Threads of one operator; 0 leaves the number to the runtime.
        spinning: Whether threads spin while they wait: faster where nothing else runs, slower where something does.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return Decoder(onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))


def is_recent(release: str) -> bool:
    """Whether a release of ONNX Runtime, such as 1.27.0, is :data:`OLDEST_RUNTIME` or later."""
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2]) >= OLDEST_RUNTIME


class TokenCache(Protocol):
    """Keys and values of the tokens so far, whichever runtime holds them; see :class:`Cache`.

    Attributes:
        length: Number of tokens in it.
        room: Number of tokens that it has room for.
    """

    length: int
    room: int

    def step(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Add tokens and return the logits behind each."""


@runtime_checkable
class TextDecoder(Protocol):
    """A decoder, whichever runtime runs it; see :class:`Decoder`.

    Attributes:
        context: Largest number of tokens of prompt and answer together.
        eos: Ids of the tokens that end an answer.
    """

    context: int
    eos: frozenset[int]

    def begin(self, room: int, batch: int = 1) -> TokenCache:
        """Return an empty cache."""


class Decoder:
    """A decoder, and what its graph tells of itself.

    Args:
        session: Session of a graph with the inputs ``input_ids``, ``attention_mask`` and ``past_key_values.N.…``.

    Raises:
        GenerationError: The runtime is too old, or the graph's metadata lacks the length of its context, or the ends of
            answers.

    Attributes:
        session: The session.
        context: Largest number of tokens of prompt and answer together.
        eos: Ids of the tokens that end an answer.
        vocabulary: Number of tokens that logits are given for.
    """

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        import onnxruntime

        release = onnxruntime.__version__
        if not is_recent(release):
            oldest = ".".join(map(str, OLDEST_RUNTIME))
            raise GenerationError(f"wanted onnxruntime {oldest} or later; found {release}; upgrade it")
        self.session = session
        metadata = session.get_modelmeta().custom_metadata_map
        missing = [name for name in ("context_length", "eos_token_ids") if name not in metadata]
        if missing:
            raise GenerationError(
                f"wanted a decoder that compress wrote; found no '{missing[0]}' in its metadata; build it again"
            )
        self.context = int(metadata["context_length"])
        self.eos: frozenset[int] = frozenset(json.loads(metadata["eos_token_ids"]))
        self.vocabulary = int(session.get_outputs()[0].shape[-1])
        self._past = [
            graph_input
            for graph_input in session.get_inputs()
            if graph_input.name.startswith("past_key_values.")
        ]

    @property
    def cache_bytes_per_token(self) -> int:
        """Number of bytes that one token of one text takes in the cache."""
        return sum(
            int(past.shape[1]) * int(past.shape[3]) * np.dtype(_TYPES[past.type]).itemsize
            for past in self._past
        )

    def begin(self, room: int, batch: int = 1) -> Cache:
        """Return an empty cache.

        Args:
            room: Number of tokens that it has room for, from 1 to ``context``.
            batch: Number of texts of one length that are computed together.
        """
        names = [(past.name, past.name.replace("past_key_values", "present")) for past in self._past]
        shapes = [(batch, past.shape[1], room, past.shape[3]) for past in self._past]
        arrays = [np.zeros(shape, _TYPES[past.type]) for shape, past in zip(shapes, self._past, strict=True)]
        return Cache(self.session, names, arrays, batch, self.vocabulary)


class Cache:
    """Keys and values of the tokens so far, in memory that each step writes to where it lies.

    Args:
        session: Session of the decoder.
        names: Names of each tensor of the cache, as an input and as an output.
        arrays: The tensors, [batch, heads, room, head size].
        batch: Number of texts.
        vocabulary: Number of tokens that logits are given for.

    Attributes:
        length: Number of tokens in it. Set to a smaller one, it forgets the last tokens.
        room: Number of tokens that it has room for.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        names: Sequence[tuple[str, str]],
        arrays: Sequence[NDArray[Any]],
        batch: int,
        vocabulary: int,
    ) -> None:
        import onnxruntime

        self.length = 0
        self.room = int(arrays[0].shape[2])
        self._session = session
        self._batch = batch
        self._binding = session.io_binding()
        # One memory as input and as output: GroupQueryAttention then writes the new keys behind the old ones.
        self._values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in arrays]
        for (past, present), value in zip(names, self._values, strict=True):
            self._binding.bind_ortvalue_input(past, value)
            self._binding.bind_ortvalue_output(present, value)
        self._mask = np.ones((batch, self.room), np.int64)

    def step(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Add tokens and return the logits behind each, float32 [batch, tokens, vocabulary].

        A graph that computes the last logits alone gives these, [batch, 1, vocabulary].

        Args:
            ids: Ids of the tokens, [batch, tokens]; as many as there is room for. Several texts take several tokens at
                once only as their first ones: the runtime's operator asks for it.
        """
        count = ids.shape[1]
        total = self.length + count
        if not 0 < count <= self.room - self.length:
            raise GenerationError(
                f"wanted 1 to {self.room - self.length} tokens, as there is room for; found {count}"
            )
        self._binding.bind_cpu_input("input_ids", np.ascontiguousarray(ids, np.int64))
        self._binding.bind_cpu_input("attention_mask", np.ascontiguousarray(self._mask[:, :total]))
        self._binding.bind_output("logits")
        self._session.run_with_iobinding(self._binding)
        self.length = total
        logits: NDArray[np.float32] = self._binding.get_outputs()[-1].numpy()
        return logits


class Generator:
    """Greedy text from a decoder.

    Args:
        session: Session of the decoder in ONNX Runtime, or a decoder that is opened, as by :func:`open_decoder`.
        tokenizer: Tokenizer of the decoder.
        draft: Smaller decoder of the same vocabulary that writes ahead; None for none.
        ahead: Number of tokens that it writes ahead, 1 or more.

    Attributes:
        drafted: Number of tokens that the draft has written so far.
        accepted: Number of these that the decoder chose, too.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession | TextDecoder,
        tokenizer: Tokenizer,
        draft: TextDecoder | None = None,
        ahead: int = 4,
    ) -> None:
        self.decoder: TextDecoder = session if isinstance(session, TextDecoder) else Decoder(session)
        self.tokenizer = tokenizer
        self.draft, self.ahead = draft, ahead
        self.drafted = self.accepted = 0

    def generate(self, prompt: str, *, max_new_tokens: int = 256) -> Iterator[str]:
        """Yield the answer to a prompt in pieces, as they come; joined they are the whole answer.

        The answer ends with a token that ends answers, after ``max_new_tokens``, or where the context is full.

        Args:
            prompt: The prompt, as the network reads it.
            max_new_tokens: Largest number of tokens of the answer, 1 or more.

        Raises:
            GenerationError: The prompt has no token, or the context has no room for it and one more.
        """
        from tokenizers.decoders import DecodeStream

        stream, tokens, text_so_far = DecodeStream(skip_special_tokens=True), [], ""
        for token in self.tokens(self.tokenizer.encode(prompt).ids, max_new_tokens=max_new_tokens):
            tokens.append(token)
            piece = stream.step(self.tokenizer, token)
            if piece:
                text_so_far += piece
                yield piece
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        if len(text) > len(text_so_far) and text.startswith(text_so_far):
            yield text[len(text_so_far) :]  # the beginning of a character that was not finished

    def tokens(self, prompt: Sequence[int], *, max_new_tokens: int = 256) -> Iterator[int]:
        """Yield the ids of the answer's tokens; see :meth:`generate`. The token that ends it is left out.

        Args:
            prompt: Ids of the prompt's tokens.
            max_new_tokens: Largest number of tokens of the answer, 1 or more.

        Raises:
            GenerationError: The prompt has no token, or the context has no room for it and one more.
        """
        decoder, count = self.decoder, len(prompt)
        if not 0 < count < decoder.context:
            raise GenerationError(
                f"wanted a prompt of 1 to {decoder.context - 1} tokens, which the context has room for; "
                f"found {count}; {'shorten it' if count else 'write one'}"
            )
        room = min(decoder.context, count + max_new_tokens)
        cache = decoder.begin(room)
        following = read_prompt(cache, np.array([prompt], np.int64))
        draft = None if self.draft is None else _Draft(self.draft, prompt, room)
        tokens_left, choices = max_new_tokens, [int(following[0])]
        while True:
            for token in choices:
                if token in decoder.eos:
                    return
                yield token
                tokens_left -= 1
                if not tokens_left:
                    return
            if cache.length == cache.room:
                return
            choices = self._chosen(cache, choices, draft, tokens_left)

    def _chosen(
        self, cache: TokenCache, last: Sequence[int], draft: _Draft | None, tokens_left: int
    ) -> list[int]:
        """Return the next tokens: one, and before it those of the draft that the decoder chooses, too.

        Args:
            cache: Cache of the decoder, with every token of the text but the last one.
            last: Tokens that were chosen last.
            draft: The draft; None for none.
            tokens_left: Number of tokens that may still be written, 1 or more.
        """
        # The last token that may be written needs no draft, and every drafted one needs room.
        ahead = min(self.ahead, tokens_left - 1, cache.room - cache.length - 1)
        drafted = [] if draft is None else draft.continued(last, ahead)
        logits = cache.step(np.array([[last[-1], *drafted]], np.int64))
        if logits.shape[1] != 1 + len(drafted):
            raise GenerationError(
                "wanted a decoder that computes the logits of all tokens, for a draft; found one with the last alone; "
                "build it without last_logits"
            )
        choices: list[int] = logits[0].argmax(-1).tolist()
        kept = 0
        while kept < len(drafted) and drafted[kept] == choices[kept]:
            kept += 1
        cache.length -= len(drafted) - kept  # what follows another token is forgotten
        self.drafted, self.accepted = self.drafted + len(drafted), self.accepted + kept
        return choices[: kept + 1]


class _Draft:
    """The text so far, as a draft reads it.

    Args:
        decoder: The draft.
        prompt: Ids of the prompt's tokens.
        room: Number of tokens of the whole text at most.
    """

    def __init__(self, decoder: TextDecoder, prompt: Sequence[int], room: int) -> None:
        self._text = list(prompt)
        self._cache = decoder.begin(min(decoder.context, room))

    def continued(self, last: Sequence[int], most: int) -> list[int]:
        """Return the tokens that the draft writes behind the text; fewer where its context is full.

        Args:
            last: Tokens that the text has grown by.
            most: Largest number of tokens to write.
        """
        cache = self._cache
        # Of its own tokens those are right that were chosen; what it wrote last is not in its cache.
        cache.length = min(cache.length, len(self._text) + len(last) - 1)
        self._text += last
        written: list[int] = []
        unread = self._text[cache.length :]
        while len(written) < most and len(unread) <= cache.room - cache.length:
            following = read_prompt(cache, np.array([unread], np.int64))
            unread = [int(following[0])]
            written += unread
        return written


def read_prompt(cache: TokenCache, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add prompts of one length to an empty cache, or more of one text to its own; return the likeliest next tokens.

    Args:
        cache: The cache.
        ids: Ids of the prompts' tokens, [batch, tokens]. A single prompt is added in parts of :data:`CHUNK` tokens.

    Returns:
        Id of the likeliest token behind each prompt, [batch].
    """
    size = CHUNK if len(ids) == 1 else ids.shape[1]
    parts = [ids[:, start : start + size] for start in range(0, ids.shape[1], size)]
    for part in parts[:-1]:
        cache.step(part)
    return likeliest(cache.step(parts[-1]))


def likeliest(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the likeliest token behind each text, [batch], of logits [batch, tokens, vocabulary]."""
    most_likely: NDArray[np.int64] = logits[:, -1].argmax(-1)
    return most_likely
