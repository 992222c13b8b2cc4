"""A vocabulary without the tokens that a user's texts do not need; the tokenizer takes these texts apart as before.

Byte-pair encoding joins two neighbours at a time, the pair that was joined first in training before all others. What
is kept is closed under the joins that make it, so a text whose tokens are all kept is joined step by step as by the
whole tokenizer: of the pairs that the trimmed one still knows, its first is the whole one's first. Any other text is
taken apart into smaller tokens, down to single bytes, and comes back unchanged too.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.errors import NetworkError, RecipeError
from compress.language.spelling import Spelling
from compress.language.tokenizer import SAMPLE, back, gives_back

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


@dataclass(frozen=True)
class Trimmed:
    """A trimmed vocabulary.

    Attributes:
        tokenizer: The tokenizer with the tokens that were kept, numbered anew.
        spelling: Spelling of the whole vocabulary with its tokens.
    """

    tokenizer: Tokenizer
    spelling: Spelling


def trimmed(
    tokenizer: Tokenizer, needed: Iterable[int], further: Iterable[int] = (), remove: float | None = None
) -> Trimmed:
    """Trim a tokenizer to the tokens that texts need.

    Args:
        tokenizer: Tokenizer with byte-pair encoding, or with a unigram model; it is not changed.
        needed: Numbers of the tokens that the texts hold.
        further: Numbers that stay though no token may have them, such as those that end an answer.
        remove: Share of the tokens to remove, in (0, 1): more are then kept than the texts need, the first ones of the
            vocabulary, which are the most frequent in byte-pair encoding. None removes all that nothing needs.

    Raises:
        NetworkError: The tokenizer is of another kind, or does not give back texts when it is trimmed.
        RecipeError: More is to be removed than the texts allow.
    """
    content = json.loads(tokenizer.to_str())
    model = _model(content)
    numbers = model.numbers()
    names = {number: token for token, number in numbers.items()}
    added = {int(entry["id"]): str(entry["content"]) for entry in content.get("added_tokens", ())}
    size = vocabulary_of(tokenizer)
    kept_ids = set(added) | set(further) | {numbers[token] for token in model.ground() if token in numbers}
    _add_closed(kept_ids, needed, names, numbers, model)
    if remove is not None:
        most = math.ceil((1 - remove) * size)
        if len(kept_ids) > most:
            raise RecipeError(
                f"at most {1 - len(kept_ids) / size:.1%} of the vocabulary to remove, as the texts allow",
                f"{remove:.1%}",
                "leave remove out: it takes as much as can go",
            )
        for number in sorted(names):
            if len(kept_ids) >= most:
                break
            _add_closed(kept_ids, [number], names, numbers, model)
    order = sorted(kept_ids)
    renumbered = {old: new for new, old in enumerate(order)}
    smaller = _rebuilt(content, model, renumbered)
    removed = {number: token for number, token in names.items() if number not in kept_ids}
    spelled = {
        number: [piece.id for piece in smaller.model.tokenize(token)] for number, token in removed.items()
    }
    spelling = Spelling.of(order, spelled, size)
    if gives_back(tokenizer, SAMPLE) and not gives_back(smaller, SAMPLE):
        raise NetworkError(
            "a tokenizer that gives back texts when its vocabulary is trimmed",
            f"{back(smaller, SAMPLE)[:80]!r} for {SAMPLE[:40]!r}…",
            "leave trim_vocabulary out",
        )
    return Trimmed(smaller, spelling)


def vocabulary_of(tokenizer: Tokenizer) -> int:
    """Return the number of rows that a tokenizer's tokens take up: one more than the largest number of a token."""
    return 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)


def needed_tokens(documents: Iterable[Any], tokenizer: Tokenizer, texts: Iterable[str] = ()) -> Counter[int]:
    """Count the tokens of documents, and of further texts such as a template of conversations.

    Args:
        documents: Numbers of the tokens of each document, int64 [tokens].
        tokenizer: The whole tokenizer, which takes the further texts apart.
        texts: These texts.
    """
    counts: Counter[int] = Counter()
    for document in documents:
        counts.update(document.tolist())
    for text in texts:
        counts.update(tokenizer.encode(text).ids)
    return counts


def _add_closed(
    kept_ids: set[int],
    needed: Iterable[int],
    names: Mapping[int, str],
    numbers: Mapping[str, int],
    model: _BytePairs | _Unigram,
) -> None:
    """Add tokens, and all that it takes to make them."""
    pending = [token for token in needed if token not in kept_ids]
    while pending:
        number = pending.pop()
        if number in kept_ids:
            continue
        kept_ids.add(number)
        if number in names:
            pending += [numbers[part] for part in model.parts(names[number]) if numbers[part] not in kept_ids]


def _rebuilt(
    content: Mapping[str, Any], model: _BytePairs | _Unigram, renumbered: Mapping[int, int]
) -> Tokenizer:
    """Return the tokenizer of a tokenizer.json, with the tokens that are left under their new numbers."""
    from tokenizers import Tokenizer

    changed = dict(content)
    changed["model"] = model.without(renumbered)
    changed["added_tokens"] = [
        {**entry, "id": renumbered[entry["id"]]} for entry in content.get("added_tokens", ())
    ]
    if content.get("post_processor"):
        changed["post_processor"] = _with_numbers(content["post_processor"], renumbered)
    return Tokenizer.from_str(json.dumps(changed))


def _with_numbers(part: Any, renumbered: Mapping[int, int]) -> Any:
    """Return a part of a post-processor with the new numbers of the special tokens that it adds."""
    if isinstance(part, list):
        return [_with_numbers(item, renumbered) for item in part]
    if not isinstance(part, dict):
        return part
    renumbered_part = {key: _with_numbers(value, renumbered) for key, value in part.items()}
    if isinstance(part.get("ids"), list):  # of TemplateProcessing
        renumbered_part["ids"] = [renumbered[old] for old in part["ids"]]
    for key in ("sep", "cls"):  # of BertProcessing and RobertaProcessing
        if isinstance(part.get(key), list):
            token, number = part[key]
            renumbered_part[key] = [token, renumbered[number]]
    return renumbered_part


class _BytePairs:
    """Byte-pair encoding, as tokenizer.json holds it."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._told = content
        self._numbers: dict[str, int] = content["vocab"]
        self._merges = [_pair(merge) for merge in content["merges"]]
        self._made_of: dict[str, list[tuple[str, str]]] = {}
        for first, second in self._merges:
            self._made_of.setdefault(first + second, []).append((first, second))

    def numbers(self) -> dict[str, int]:
        return self._numbers

    def ground(self) -> Iterator[str]:
        """Yield the tokens that every text can be written with."""
        if self._told.get("unk_token") is not None:
            yield self._told["unk_token"]
        if self._told.get("byte_fallback"):
            yield from _BYTES
        else:
            yield from (token for token in self._numbers if len(token) == 1)

    def parts(self, token: str) -> Iterator[str]:
        """Yield the tokens that a token is joined of, in every way that is known."""
        for pair in self._made_of.get(token, ()):
            yield from pair

    def without(self, renumbered: Mapping[int, int]) -> dict[str, Any]:
        vocabulary = {
            token: renumbered[number] for token, number in self._numbers.items() if number in renumbered
        }
        merges = [
            [first, second]
            for first, second in self._merges
            if first in vocabulary and second in vocabulary and first + second in vocabulary
        ]
        return {**self._told, "vocab": vocabulary, "merges": merges}


class _Unigram:
    """A unigram model, whose likeliest way to write a text stays the likeliest where all of its pieces stay."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._told = content
        self._pieces: list[tuple[str, float]] = [
            (str(piece), float(score)) for piece, score in content["vocab"]
        ]

    def numbers(self) -> dict[str, int]:
        return {piece: number for number, (piece, _) in enumerate(self._pieces)}

    def ground(self) -> Iterator[str]:
        """Yield the tokens that every text can be written with."""
        if self._told.get("unk_id") is not None:
            yield self._pieces[self._told["unk_id"]][0]
        if self._told.get("byte_fallback"):
            yield from _BYTES
        else:
            yield from (piece for piece, _ in self._pieces if len(piece) == 1)

    def parts(self, token: str) -> Iterator[str]:
        return iter(())

    def without(self, renumbered: Mapping[int, int]) -> dict[str, Any]:
        pieces_left = [list(piece) for number, piece in enumerate(self._pieces) if number in renumbered]
        unknown = self._told.get("unk_id")
        return {
            **self._told,
            "vocab": pieces_left,
            "unk_id": None if unknown is None else renumbered[unknown],
        }


def _model(content: Mapping[str, Any]) -> _BytePairs | _Unigram:
    kind, marks = content["model"].get("type"), ("continuing_subword_prefix", "end_of_word_suffix")
    if kind == "BPE" and not any(content["model"].get(mark) for mark in marks):
        return _BytePairs(content["model"])
    if kind == "Unigram":
        return _Unigram(content["model"])
    raise NetworkError(
        "a tokenizer with byte-pair encoding or a unigram model, to trim its vocabulary",
        f"one of kind {kind}",
        "leave trim_vocabulary out",
    )


def _pair(merge: Any) -> tuple[str, str]:
    """Return the two parts of a join, which older files write with a space between them."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return str(first), str(second)
