"""The byte-level BPE in a GGUF file: its tokens, its merges, and the way in which text is split before.

The splits are those of llama.cpp (``llama-vocab.cpp``), which knows them by the name in ``tokenizer.ggml.pre``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.core.suggestions import did_you_mean
from compress.errors import NetworkError
from compress.language.beginning import begin_with
from compress.language.fields import Fields
from compress.language.gguf_file import GgufFile

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{%s}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class _Split:
    """A way to split text before its parts are merged.

    Attributes:
        pattern: Regular expression of the parts; None for that of GPT-2.
        digits: Whether each digit is a part of its own first.
        composed: Whether letters and their accents become one character first (NFC).
        whole: Whether a part that is a token is not merged anew.
        begins: Whether texts begin with the first token where the file does not say so.
    """

    pattern: str | None = None
    digits: bool = False
    composed: bool = False
    whole: bool = False
    begins: bool = False


_SPLITS = {
    "gpt-2": _Split(),
    "smollm": _Split(digits=True),
    "starcoder": _Split(digits=True),
    "llama-bpe": _Split(_WORDS % "1,3", whole=True, begins=True),
    "qwen2": _Split(_WORDS % "1", composed=True),
}

#: Kinds of tokens, in ``tokenizer.ggml.token_type``: special ones, and words that are never taken apart.
_SPECIAL, _WHOLE = 3, 4


def gguf_tokenizer(file: GgufFile) -> Tokenizer:
    """Return the tokenizer of a GGUF file.

    Raises:
        NetworkError: The file has none, one of another kind, or a damaged one.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models

    fields = Fields(file.metadata, str(file.path))
    kind = fields.text("tokenizer.ggml.model")
    if kind != "gpt2":
        raise NetworkError(
            "a tokenizer of the kind gpt2, a byte-level BPE",
            f"{file.path}: '{kind}'",
            "give the model's directory",
        )
    tokens = _texts(fields, "tokenizer.ggml.tokens")
    merges = [merge.partition(" ")[::2] for merge in _texts(fields, "tokenizer.ggml.merges")]
    kinds = file.metadata.get("tokenizer.ggml.token_type", np.ones(len(tokens), np.int32))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) < len(tokens) or not isinstance(kinds, np.ndarray) or len(kinds) != len(tokens):
        raise fields.wrong("tokenizer.ggml.token_type", "a kind for each token, and no token twice,")
    if any(not one or not other or " " in other for one, other in merges):
        raise fields.wrong("tokenizer.ggml.merges", "pairs of tokens")
    pairs = [(first, second) for first, second in merges]
    split = _split(fields)
    try:
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=split.whole))
    except Exception as error:  # the package raises plain exceptions
        raise fields.wrong("tokenizer.ggml.merges", f"merges of its tokens ({error})") from error
    _set_split(tokenizer, split)
    tokenizer.decoder = decoders.ByteLevel()
    added = [
        AddedToken(token, special=of == _SPECIAL, normalized=False)
        for token, of in zip(tokens, kinds.tolist(), strict=True)
        if of in (_SPECIAL, _WHOLE)
    ]
    tokenizer.add_tokens(added)
    _begin(tokenizer, fields, tokens, split)
    return tokenizer


def _split(fields: Fields) -> _Split:
    name = fields.text("tokenizer.ggml.pre", "default")
    if name not in _SPLITS:
        raise NetworkError(
            f"a split of text that is known: {', '.join(_SPLITS)}",
            f"{fields.where}: '{name}' in 'tokenizer.ggml.pre'",
            did_you_mean(name, _SPLITS) or "give the model's directory",
        )
    return _SPLITS[name]


def _set_split(tokenizer: Tokenizer, split: _Split) -> None:
    from tokenizers import Regex, normalizers
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

    steps: list[Any] = []
    if split.digits:
        steps.append(Digits(individual_digits=True))
    if split.pattern is not None:
        steps.append(Split(Regex(split.pattern), "isolated"))
    steps.append(ByteLevel(add_prefix_space=False, use_regex=split.pattern is None))
    tokenizer.pre_tokenizer = Sequence(steps)
    if split.composed:
        tokenizer.normalizer = normalizers.NFC()


def _begin(tokenizer: Tokenizer, fields: Fields, tokens: Sequence[str], split: _Split) -> None:
    if fields.flag("tokenizer.ggml.add_bos_token", split.begins):
        number = fields.count("tokenizer.ggml.bos_token_id", len(tokens) - 1, least=0)
        begin_with(tokenizer, tokens[number], number)


def _texts(fields: Fields, name: str) -> list[str]:
    texts = fields.values.get(name)
    if not isinstance(texts, list) or not texts:
        raise fields.wrong(name, "a list of texts")
    return texts
