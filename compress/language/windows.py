"""Windows over a document that is longer than what a decoder reads at once; each token is judged in one of them.

A window of ``length`` tokens begins every ``stride`` tokens. The first judges all its tokens but the first of the
document; each later one the tokens that no window before it had, behind ``length - stride`` tokens or more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Windows:
    """Windows over documents.

    Attributes:
        length: Largest number of tokens of a window, 2 or more.
        stride: Number of tokens between the beginnings of windows, from 1 to ``length - 1``: a token is predicted
            behind another.
    """

    length: int
    stride: int

    @classmethod
    def of(cls, origin: Mapping[str, Any]) -> Windows | None:
        """Return the windows in which documents of this source are read; None where they are cut."""
        stride = origin.get("stride")
        return None if stride is None else cls(int(origin["sequence_length"]), int(stride))

    def over(self, count: int) -> Iterator[tuple[int, int, int]]:
        """Yield windows over the tokens of a document that have a next one.

        Args:
            count: Number of these tokens.

        Yields:
            The first token of the window, the first whose next one it judges, and the end of its tokens.
        """
        begin = judged = 0
        while judged < count:
            stop = min(begin + self.length - 1, count)
            yield begin, judged, stop
            begin, judged = begin + self.stride, stop

    @property
    def note(self) -> str:
        """Sentence on how documents are read."""
        return (
            f"documents are read in windows of {self.length} tokens (--sequence-length), one every {self.stride} "
            "(--stride); each token is judged once"
        )
