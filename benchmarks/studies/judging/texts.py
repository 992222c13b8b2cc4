"""Texts from the Python installation at hand: the kind of every byte, and tokens for a language model."""

from __future__ import annotations

import builtins
import hashlib
import io
import keyword
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import sequences
from benchmarks.studies.judging.data import Array, Data, Samples

_NAMES = ("keyword", "defined", "called", "attribute", "builtin", "name")
KINDS = ("space", *_NAMES, "number", "string", "comment", "operator")
LEARNED, EVALUATED = 8000, 2500
LENGTH = 128
VOCABULARY, CONTEXT = 512, 96
_STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
_BUILTINS = frozenset(dir(builtins))
_TEST_SHARE = 51  # of 256


def packages() -> Data:
    """Return windows of 256 bytes with the one of eight packages that each comes from."""
    return Data(
        Samples(*sequences.packages("train")).take(LEARNED),
        Samples(*sequences.packages("test")).take(EVALUATED),
    )


def fragments() -> Data:
    """Return windows of 512 bytes with the one of seven kinds of files that each comes from."""
    return Data(
        Samples(*sequences.fragments("train")).take(LEARNED),
        Samples(*sequences.fragments("test")).take(EVALUATED),
    )


def tagged(seed: int = 6, training: int = 5000, evaluation: int = 800) -> Data:
    """Windows ``(n, 128)`` of Python source and the kind of each byte, from files on one side alone."""
    rng = np.random.default_rng(seed)
    return Data(_tagged_windows("train", training, rng), _tagged_windows("test", evaluation, rng))


def tokens(seed: int = 7, training: int = 12_000, evaluation: int = 200) -> Data:
    """Windows ``(n, 96)`` of sub-words of Python source, and the sub-word that follows at each position."""
    rng = np.random.default_rng(seed)
    learned = b"\n".join(content for _, content in _sources("train"))[:9_000_000]
    merges = _merges(np.frombuffer(learned[:400_000], np.uint8).astype(np.int32), VOCABULARY - 256)
    told = b"\n".join(content for _, content in _sources("test"))[:2_000_000]
    return Data(
        _token_windows(_encoded(learned, merges), training, rng),
        _token_windows(_encoded(told, merges), evaluation, rng),
    )


def kinds_of(source: bytes) -> NDArray[np.uint8] | None:
    """The kind of each byte, a number of :data:`KINDS`; None where it is not Python that can be read."""
    kinds = np.zeros(len(source), np.uint8)
    lines = source.splitlines(keepends=True)
    starts = np.concatenate([[0], np.cumsum([len(line) for line in lines])])
    try:
        source.decode("ascii")  # columns are counted in characters
        found = list(tokenize.tokenize(io.BytesIO(source).readline))
    except (UnicodeDecodeError, tokenize.TokenError, SyntaxError):
        return None
    for place, token in enumerate(found):
        kind = _kind(found, place)
        if kind is not None and token.end[0] <= len(lines):
            start = starts[token.start[0] - 1] + token.start[1]
            kinds[start : starts[token.end[0] - 1] + token.end[1]] = KINDS.index(kind)
    return kinds


def _kind(found: list[tokenize.TokenInfo], place: int) -> str | None:
    token = found[place]
    plain = {tokenize.NUMBER: "number", tokenize.STRING: "string", tokenize.COMMENT: "comment"}
    plain[tokenize.OP] = "operator"
    if token.type != tokenize.NAME:
        return plain.get(token.type)
    before = found[place - 1].string if place else ""
    after = found[place + 1].string if place + 1 < len(found) else ""
    if keyword.iskeyword(token.string):
        return "keyword"
    if before in ("def", "class"):
        return "defined"
    if before == ".":
        return "attribute"
    if token.string in _BUILTINS:
        return "builtin"
    return "called" if after == "(" else "name"


def _sources(split: str) -> Iterator[tuple[Path, bytes]]:
    """Files of the standard library; what a file's path hashes to tells on which side it is."""
    for path in sorted(_STANDARD_LIBRARY.rglob("*.py")):
        parts = path.relative_to(_STANDARD_LIBRARY).parts
        if {"site-packages", "dist-packages", "test", "tests", "lib2to3"} & set(parts):
            continue
        digest = hashlib.sha256("/".join(parts).encode()).digest()[0]
        if (digest < _TEST_SHARE) == (split == "test"):
            yield path, path.read_bytes()


def _tagged_windows(split: str, count: int, rng: np.random.Generator) -> Samples:
    texts, kinds = [], []
    for _, content in _sources(split):
        found = kinds_of(content)
        if found is not None and len(content) > LENGTH:
            texts.append(np.frombuffer(content, np.uint8))
            kinds.append(found)
    text, kind = np.concatenate(texts), np.concatenate(kinds)
    places = rng.integers(0, len(text) - LENGTH, count)[:, None] + np.arange(LENGTH)
    return Samples(text[places], kind[places].astype(np.int64))


def _token_windows(encoded: Array, count: int, rng: np.random.Generator) -> Samples:
    places = rng.integers(0, len(encoded) - CONTEXT - 1, count)[:, None] + np.arange(CONTEXT + 1)
    windows = encoded[places]
    return Samples(windows[:, :-1].astype(np.int16), windows[:, 1:].astype(np.int64))


def _merges(text: NDArray[np.int32], count: int) -> list[tuple[int, int]]:
    """The pairs of neighbours that byte-pair encoding joins, the most frequent first."""
    merges = []
    for index in range(count):
        pairs, counts = np.unique(text[:-1].astype(np.int64) * 65536 + text[1:], return_counts=True)
        left, right = divmod(int(pairs[counts.argmax()]), 65536)
        merges.append((left, right))
        text = _merged(text, left, right, 256 + index)
    return merges


def _encoded(text: bytes, merges: list[tuple[int, int]]) -> NDArray[np.int32]:
    encoded = np.frombuffer(text, np.uint8).astype(np.int32)
    for index, (left, right) in enumerate(merges):
        encoded = _merged(encoded, left, right, 256 + index)
    return encoded


def _merged(text: NDArray[np.int32], left: int, right: int, token: int) -> NDArray[np.int32]:
    places = np.flatnonzero((text[:-1] == left) & (text[1:] == right))
    if left == right:  # of three alike in a row, the first two
        runs = np.concatenate([[True], np.diff(places) > 1]).cumsum()
        first = np.flatnonzero(np.concatenate([[True], np.diff(places) > 1]))
        places = places[(np.arange(len(places)) - first[runs - 1]) % 2 == 0] if len(places) else places
    text = text.copy()
    text[places] = token
    return np.delete(text, places + 1)
