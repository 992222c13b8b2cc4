"""Texts as documents of tokens: plain text, a file a document; JSON lines with a ``text``; a folder of such files.

The content tells the kind, never a file's ending. Text means nothing to a network without the tokenizer of its model,
so whoever knows the model reads the data here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.core.bounded_reading import read_bytes
from compress.core.suggestions import did_you_mean
from compress.data.opening import follow_reference
from compress.data.split import Split
from compress.errors import DataError
from compress.language.document_split import DocumentSplit
from compress.language.vocabulary import vocabulary_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Largest number of tokens of a document, where nothing else is said and the context allows it.
SEQUENCE_LENGTH = 512

#: Fewer tokens have no next one to be judged by.
_LEAST_TOKENS = 2

_MOST_BYTES = 1 << 30
_WANTED = (
    "texts: a file of JSON lines with a 'text', a folder of text files, or package.module:callable that "
    "yields strings"
)


def open_documents(
    source: Any, tokenizer: Tokenizer, sequence_length: int, stride: int | None = None
) -> Split:
    """Read texts, and take them apart into tokens.

    Args:
        source: A path of a file or a folder; ``package.module:callable`` that yields texts; or in Python an iterable of
            them. A Split is returned as it is.
        tokenizer: The tokenizer of the model.
        sequence_length: Largest number of tokens of a document, 2 or more; what is behind them is left out, and counted
            in the origin.
        stride: Number of tokens after which another window of so many tokens begins, so that nothing is left out; None
            leaves it out.

    Raises:
        DataError: The source holds no texts, fewer than two, or one without two tokens.
    """
    followed = follow_reference(source)
    if isinstance(followed, Split):
        return followed
    reference = {"reference": str(source)} if followed is not source else {}
    if isinstance(followed, str | Path):
        named, origin = _of_path(Path(followed)), {"path": str(followed)}
    elif isinstance(followed, Iterable) and not isinstance(followed, Mapping | bytes):
        named, origin = _of_iterable(followed), {}
    else:
        raise DataError(_WANTED, type(followed).__name__, "give one of these")
    documents, left_out, total = [], 0, 0
    for name, text in named:
        tokens = np.array(tokenizer.encode(text).ids, np.int64)
        if len(tokens) < _LEAST_TOKENS:
            problem = "an empty text" if not text else f"a text of {len(tokens)} token"
            raise DataError(
                "documents of two tokens or more", f"{problem}: {name}", "leave it out of the data"
            )
        total += len(tokens)
        if stride is None:
            left_out += max(0, len(tokens) - sequence_length)
            tokens = tokens[:sequence_length]
        documents.append(tokens)
    if len(documents) < 2:
        number_found = "1" if documents else "none"
        raise DataError(
            "two documents or more", number_found, "a document is a sample: give a folder, or JSON lines"
        )
    return DocumentSplit(
        documents,
        {
            "kind": "documents",
            **origin,
            **reference,
            "sequence_length": sequence_length,
            **({} if stride is None else {"stride": stride}),
            "vocabulary": vocabulary_of(tokenizer),
            "tokens": total,
            "tokens_left_out": left_out,
        },
    )


def _of_path(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each document of a file or a folder."""
    if path.is_dir():
        hidden = (part for part in sorted(path.rglob("*")) if part.is_file())
        files = [file for file in hidden if not any(name[0] == "." for name in file.relative_to(path).parts)]
        for file in files:
            yield from _of_file(file, alone=False)
        return
    if not path.exists():
        names = (entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else ()
        raise DataError(_WANTED, f"nothing at {path}", did_you_mean(path.name, names) or "check the path")
    yield from _of_file(path, alone=True)


def _of_file(path: Path, *, alone: bool) -> Iterator[tuple[str, str]]:
    """Yield the documents of a file: one in a folder that begins like JSON and is none with texts is a text itself."""
    try:
        text = read_bytes(path, _MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            "text in UTF-8", f"{path}: other bytes", "leave the file out, or convert it"
        ) from error
    except (OSError, ValueError) as error:
        problem = f"{path}: {getattr(error, 'strerror', None) or error}"
        raise DataError("a file that can be read", problem, "check the path and its permissions") from error
    if "\0" in text:
        raise DataError("text", f"{path}: a file of another kind", "leave the file out")
    first = text.lstrip().partition("\n")[0]
    if _line(first) is None and not (alone and first.startswith("{")):
        yield str(path), text
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        document = _line(line)
        if document is None:
            raise DataError(
                "JSON lines, each an object with a text as 'text'", f"{path}, line {number}", "correct it"
            )
        yield f"{path}, line {number}", document


def _line(line: str) -> str | None:
    """Return the text of a JSON line; None where it holds none."""
    if not line.startswith("{"):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    text = entry.get("text") if isinstance(entry, dict) else None
    return text if isinstance(text, str) else None


def _of_iterable(texts: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise DataError(_WANTED, f"a {type(text).__name__} as text {number}", "yield strings")
        yield f"text {number}", text
