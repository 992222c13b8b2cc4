"""Texts that a language model writes by itself, held against those of the original: how long both are the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class GreedyText:
    """Greedy answers to the beginnings of documents: at each step the likeliest token. They decide nothing.

    Attributes:
        asked: Largest number of tokens of an answer, 1 or more.
        prompts_sha256: Hash of the beginnings, as ids of tokens, in order.
        answers: Ids of the tokens that the original answers each beginning with, in its own vocabulary; one that ends
            an answer is the last.
        same: Number of tokens at the beginning of each of these answers that the build gives, too; None for the
            original itself.
    """

    asked: int
    prompts_sha256: str
    answers: tuple[tuple[int, ...], ...]
    same: tuple[int, ...] | None = None

    @property
    def median(self) -> float | None:
        """Median of ``same`` in tokens, the lower one of two; None for the original."""
        return self.quantile(0.5)

    @property
    def whole(self) -> int | None:
        """Number of answers that are the same from the first token to the last; None for the original."""
        if self.same is None:
            return None
        return sum(count == len(answer) for count, answer in zip(self.same, self.answers, strict=True))

    def quantile(self, share: float) -> float | None:
        """Return the number of same tokens that this share of the answers has at most; None for the original.

        Args:
            share: Share of the answers, from 0 to 1.
        """
        if not self.same:
            return None
        return float(sorted(self.same)[max(0, math.ceil(share * len(self.same)) - 1)])

    def __str__(self) -> str:
        """One line for people; empty for the original, which is compared with nothing."""
        if not self.same:
            return ""
        low, middle, high = (self.quantile(share) for share in (0.25, 0.5, 0.75))
        return (
            f"greedy answers to {len(self.same)} beginnings of documents, {self.asked} tokens at most: the first "
            f"{middle:g} tokens (median; quartiles {low:g} and {high:g}) are the original's, and {self.whole} answers "
            "are the same as a whole"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold, an answer as numbers in a string."""
        data: dict[str, Any] = {
            "asked": self.asked,
            "prompts_sha256": self.prompts_sha256,
            "answers": [" ".join(map(str, answer)) for answer in self.answers],
        }
        if self.same is not None:
            data |= {"same": list(self.same), "median": self.median, "whole": self.whole}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what :meth:`to_dict` returned.

        Raises:
            ValueError: There is not one number of same tokens for each answer, or one that it cannot have.
        """
        answers = tuple(tuple(map(int, answer.split())) for answer in data["answers"])
        same = None if data.get("same") is None else tuple(int(count) for count in data["same"])
        if same is not None and (
            len(same) != len(answers)
            or any(not 0 <= count <= len(answer) for count, answer in zip(same, answers, strict=True))
        ):
            raise ValueError("numbers of same tokens that the answers do not have")
        return cls(int(data["asked"]), str(data["prompts_sha256"]), answers, same)
