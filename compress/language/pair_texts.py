"""Inputs with the answers that are wanted: JSON lines of texts, or spectra with texts; a tokenizer reads them.

- JSON lines ``{"input": …, "target": …}``, each a text or a list of ids of tokens.
- An ``.npz`` file with ``features``, float32 [samples, bands, frames], and ``targets``: texts, or ids of tokens,
  integers [samples, tokens] filled up with -1.
- A folder with ``features.npy`` and ``targets.jsonl``, JSON lines ``{"target": …}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.core.bounded_reading import read_text
from compress.data.arrays import read_npy, read_npz
from compress.data.opening import follow_reference
from compress.data.split import Split
from compress.errors import DataError
from compress.language.documents import NO_TOKEN
from compress.language.pair_split import PairSplit
from compress.language.pairs import SOURCE_FEATURES, SOURCE_IDS
from compress.language.text_to_text import begin_of
from compress.language.vocabulary import vocabulary_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MOST_BYTES = 1 << 30
_WANTED = (
    "inputs with answers: JSON lines with 'input' and 'target'; or an .npz file with 'features' and 'targets', "
    "or a folder with features.npy and targets.jsonl"
)


def open_pairs(source: Any, tokenizer: Tokenizer, start: int, sequence_length: int) -> Split:
    """Read inputs with their answers, and take texts apart into tokens.

    Args:
        source: A path; ``package.module:callable`` that yields mappings with ``input`` and ``target``; or in Python an
            iterable of them. A Split is returned as it is.
        tokenizer: The tokenizer of the model.
        start: Id of the token that begins every answer.
        sequence_length: Largest number of tokens of an input, and of an answer, 2 or more; what is behind them is left
            out, and counted in the origin.

    Raises:
        DataError: The source holds no such samples, fewer than two, or one without tokens.
    """
    followed = follow_reference(source)
    if isinstance(followed, Split):
        return followed
    origin: dict[str, Any] = {"reference": str(source)} if followed is not source else {}
    features = None
    if isinstance(followed, str | Path):
        path = Path(followed)
        origin["path"] = str(followed)
        features, rows = _of_path(path)
    elif isinstance(followed, Iterable) and not isinstance(followed, Mapping | bytes):
        rows = ((f"sample {at}", sample) for at, sample in enumerate(followed, start=1))
    else:
        raise DataError(_WANTED, type(followed).__name__, "give one of these")
    begin = [] if features is None else begin_of(tokenizer, start, frozenset(_ends(tokenizer)))
    reader = _Reader(tokenizer, sequence_length)
    sources, answers = [], []
    for where, row in rows:
        if features is None:
            sources.append(reader.tokens(row, "input", where))
        ids = reader.tokens(row, "target", where)
        ids = ids[1:] if ids[0] == start else ids
        answers.append(np.concatenate([[start], ids]))
    if features is not None:
        if len(features) != len(answers):
            raise DataError("a target for each spectrum", f"{len(answers)} for {len(features)}", "correct it")
        sources = list(features)
    if len(answers) < 2:
        raise DataError("two inputs or more", str(len(answers)), "give more")
    whole_origin = {
        "kind": "pairs",
        **origin,
        "source": SOURCE_IDS if features is None else SOURCE_FEATURES,
        "answer_start": start,
        "answer_begin": len(begin)
        if all(answer[1 : 1 + len(begin)].tolist() == begin for answer in answers)
        else 0,
        "sequence_length": sequence_length,
        "vocabulary": vocabulary_of(tokenizer),
        "tokens": reader.total,
        "tokens_left_out": reader.left_out,
    }
    return PairSplit(sources, answers, whole_origin)


class _Reader:
    """Reads tokens of texts and counts them."""

    def __init__(self, tokenizer: Tokenizer, most: int) -> None:
        self._tokenizer, self._most = tokenizer, most
        self.total, self.left_out = 0, 0

    def tokens(self, row: Any, name: str, where: str) -> NDArray[np.int64]:
        """Return the tokens of a text, or ids as they are given.

        Raises:
            DataError: It is neither, or without tokens.
        """
        value = row.get(name) if isinstance(row, Mapping) else None
        if isinstance(value, str):
            ids = self._tokenizer.encode(value).ids
        elif isinstance(value, list) and all(type(number) is int for number in value):
            ids = value
        else:
            raise DataError(f"objects with a text, or ids of tokens, as '{name}'", where, "correct it")
        size = self._tokenizer.get_vocab_size()
        if not ids or not all(0 <= number < size for number in ids):
            problem = f"{where}: {'none' if not ids else f'id {max(ids)} of {size} tokens'}"
            raise DataError(f"'{name}' with tokens of the tokenizer", problem, "correct it")
        self.total += len(ids)
        self.left_out += max(0, len(ids) - self._most)
        return np.array(ids[: self._most], np.int64)


def _ends(tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that a tokenizer puts behind a text."""
    empty, some = tokenizer.encode("").ids, tokenizer.encode("a").ids
    kept = 0
    while kept < len(empty) and empty[kept] == some[kept]:
        kept += 1
    return list(empty[kept:])


def _of_path(path: Path) -> tuple[NDArray[np.float32] | None, Iterator[tuple[str, Any]]]:
    """Return spectra, None where inputs are texts, and the rows with texts, each with where it stands."""
    if path.is_dir():
        names = ("features.npy", "targets.jsonl")
        missing = next((name for name in names if not (path / name).is_file()), None)
        if missing is not None:
            raise DataError(_WANTED, f"no {missing} in {path}", "check the path")
        return _checked(read_npy(path / names[0], "spectra"), path), _of_lines(path / names[1])
    if not path.is_file():
        raise DataError(_WANTED, f"nothing at {path}", "check the path")
    if path.read_bytes()[:2] != b"PK":
        return None, _of_lines(path)
    arrays = read_npz(path)
    missing = next((name for name in ("features", "targets") if name not in arrays), None)
    if missing is not None:
        raise DataError(_WANTED, f"no '{missing}' in {path}", "correct it")
    return _checked(arrays["features"], path), _of_array(arrays["targets"], path)


def _checked(features: NDArray[Any], path: Path) -> NDArray[np.float32]:
    if features.ndim != 3 or features.dtype != np.float32:
        problem = f"{features.dtype} of {features.ndim} axes in {path}"
        raise DataError("features, float32 [samples, bands, frames]", problem, "correct it")
    return features


def _of_array(targets: NDArray[Any], path: Path) -> Iterator[tuple[str, Any]]:
    for at, row in enumerate(targets):
        if targets.dtype.kind == "U" and targets.ndim == 1:
            value: Any = str(row)
        elif targets.dtype.kind in "iu" and targets.ndim == 2:
            value = row[row != NO_TOKEN].tolist()
        else:
            problem = f"{targets.dtype} of {targets.ndim} axes in {path}"
            raise DataError("targets: texts, or integers [samples, tokens]", problem, "correct it")
        yield f"{path}, sample {at}", {"target": value}


def _of_lines(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        text = read_text(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        raise DataError("JSON lines in UTF-8", f"{path}: {error}", "check the file") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                yield where, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError("JSON lines with 'input' and 'target'", where, "correct it") from error
