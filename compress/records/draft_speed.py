"""A draft beside a decoder: how many of its tokens are accepted, and what they save; measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from compress.records.latency import Interval, interval_or_none


@dataclass(frozen=True)
class DraftSpeed:
    """A decoder with a draft that writes ahead, against the same decoder alone, on the same beginnings of documents.

    Attributes:
        draft_sha256: sha256 of the draft's file.
        draft_bytes: Size of that file, in bytes.
        ahead: Number of tokens that the draft writes ahead.
        texts: Number of beginnings that were gone on with both ways.
        equal: Number of these whose text was the same, token by token.
        tokens: Number of tokens that the decoder alone wrote in all of them.
        drafted: Number of tokens that the draft wrote.
        accepted: Number of these that the decoder chose, too.
        ratio: Median over the texts of the time with the draft over the time without, both in turns.
        ratio_interval: Confidence interval of that median; None where there are too few texts.
    """

    draft_sha256: str
    draft_bytes: int
    ahead: int
    texts: int
    equal: int
    tokens: int
    drafted: int
    accepted: int
    ratio: float
    ratio_interval: Interval | None

    @property
    def acceptance(self) -> float:
        """Share of the drafted tokens that were accepted, from 0 to 1; 0 where none were drafted."""
        return self.accepted / max(self.drafted, 1)

    @property
    def is_proven(self) -> bool:
        """Whether every measured text was the same, and the upper bound of the ratio is below 1."""
        return (
            0 < self.texts == self.equal and self.ratio_interval is not None and self.ratio_interval.high < 1
        )

    def __str__(self) -> str:
        between = self.ratio_interval
        ends = "" if between is None else f" ({between.low:.2f} to {between.high:.2f})"
        verdict = (
            "it is shipped" if self.is_proven else "not proven faster with equal text, so it is not shipped"
        )
        return (
            f"the draft, {self.ahead} tokens ahead: {100 * self.acceptance:.0f} % of its tokens accepted, "
            f"{self.ratio:.2f}× the time{ends}, {self.equal} of {self.texts} measured texts equal to plain greedy text "
            f"({self.tokens} tokens): {verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return {**asdict(self), "acceptance": self.acceptance, "is_proven": self.is_proven}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what :meth:`to_dict` returned; what follows from the other figures is computed anew."""
        read = {name: value for name, value in data.items() if name not in ("acceptance", "is_proven")}
        return cls(**{**read, "ratio_interval": interval_or_none(data["ratio_interval"])})
