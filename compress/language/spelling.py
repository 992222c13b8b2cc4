"""Spelling of a whole vocabulary with the tokens of a trimmed one.

A token that was kept is one token still, under another number. One that was not is spelled: "pruning" becomes "prun"
and "ing", or its bytes. A build carries the spelling in its metadata, so that documents taken apart with the whole
vocabulary can be read with the trimmed one, and both be judged at the same places.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.core.decoder_texts import SPELLING_KEY
from compress.errors import BundleError, DataError
from compress.language.fields import MOST_TOKENS

#: Pieces of a token that no kept ones can write.
_NONE: tuple[int, ...] = ()

#: Largest content that is unpacked: beyond that of any published vocabulary.
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Spelling:
    """A trimmed vocabulary, seen from the whole one.

    Attributes:
        kept: For each token of the trimmed vocabulary its number in the whole one, ascending.
        pieces: For each token of the whole vocabulary the tokens of the trimmed one that write it, one where it was
            kept; empty where none do.
    """

    kept: tuple[int, ...]
    pieces: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, kept: Sequence[int], spelled: Mapping[int, Sequence[int]], whole: int) -> Spelling:
        """Make a spelling.

        Args:
            kept: Numbers of the tokens that are kept, ascending.
            spelled: The tokens of the trimmed vocabulary that write each token that is not kept.
            whole: Number of tokens of the whole vocabulary.
        """
        renumbered = {old: (new,) for new, old in enumerate(kept)}
        pieces = (renumbered.get(old) or tuple(spelled.get(old, _NONE)) for old in range(whole))
        return cls(tuple(kept), tuple(pieces))

    @property
    def whole(self) -> int:
        """Number of tokens of the whole vocabulary."""
        return len(self.pieces)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Number of each token of the whole vocabulary in the trimmed one, int64 [whole]; -1 where it was not kept."""
        new_ids = np.full(self.whole, -1, np.int64)
        for new, old in enumerate(self.kept):
            if old < self.whole:
                new_ids[old] = new
        return new_ids

    def spelled(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a text in the trimmed vocabulary, and where each of its tokens begins there.

        Args:
            ids: Numbers of the text's tokens in the whole vocabulary.

        Returns:
            Numbers of its tokens in the trimmed one, int64 [pieces], and for each token of ``ids`` the position of its
            first piece, int64 [tokens].

        Raises:
            DataError: A token cannot be written with those that were kept.
        """
        parts = [self.pieces[number] for number in ids.tolist()]
        if not all(parts):
            token = int(ids[[not part for part in parts].index(True)])
            raise DataError(
                "texts that the trimmed vocabulary can write",
                f"token {token}, which has no spelling",
                "give the text to calibrate on, and build again",
            )
        lengths = np.array([len(part) for part in parts], np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        return np.array([piece for part in parts for piece in part], np.int64), starts

    def to_text(self) -> str:
        """Return it as a text of ASCII, for a graph's metadata."""
        kept_ids = set(self.kept)
        spelled = {old: pieces for old, pieces in enumerate(self.pieces) if old not in kept_ids and pieces}
        content = {"kept": self.kept, "spelled": spelled, "whole": self.whole}
        packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 9)
        return base64.b64encode(packed).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> Spelling:
        """Read back what :meth:`to_text` returned.

        Raises:
            BundleError: It is something else.
        """
        try:
            unpacking = zlib.decompressobj()
            unpacked = unpacking.decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
            spelling = cls._checked(json.loads(unpacked))
        except (ValueError, TypeError, KeyError, AttributeError, zlib.error, RecursionError) as error:
            raise BundleError(
                "a language model that compress trimmed",
                f"damaged metadata '{SPELLING_KEY}'",
                "build it again",
            ) from error
        return spelling

    @classmethod
    def _checked(cls, content: Mapping[str, Any]) -> Spelling:
        """Make a spelling of what a file says.

        Raises:
            ValueError: A number is out of range.
        """
        kept, size = [int(number) for number in content["kept"]], int(content["whole"])
        spelled = {int(old): [int(number) for number in pieces] for old, pieces in content["spelled"].items()}
        pieces = {piece for some in spelled.values() for piece in some}
        if kept != sorted(set(kept)) or not 0 <= size <= MOST_TOKENS or not pieces <= set(range(len(kept))):
            raise ValueError("numbers out of range")
        return cls.of(kept, spelled, size)
