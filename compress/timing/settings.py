"""The fastest session options of a build, and the fastest fp32, at each batch size.

Both are looked for by letting the contenders take turns (:mod:`compress.timing.turns`), each in a process of its own
with its threads as the runtime leaves them. What the runtime does by default is the first contender and keeps its place
unless another one is clearly faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.timing.processes import Worker, workers
from compress.timing.turns import take_turns

if TYPE_CHECKING:
    from compress.backends.base import Artifact

#: Another contender must be faster than the first by this factor; less could be noise.
WORTH_IT = 0.97

#: Seconds of turns at each batch size.
_SECONDS = 0.3

#: Bytes of files that are open at the same time; of more, each contender meets the first alone.
_OPEN_BYTES = 100_000_000

#: Milliseconds of a call from which on options are not compared: what threads cost is a small share of it, and a
#: comparison would take minutes.
_LONG_MS = 400.0


@dataclass(frozen=True)
class Compared:
    """Contenders timed in turns.

    Attributes:
        artifacts: The contenders, the first of which the others must beat.
        relative: Time of each contender over the first's, ``(contenders,)``, by batch size; all 1 where calls are so
            long that they were not compared.
    """

    artifacts: tuple[Artifact, ...]
    relative: Mapping[int, np.ndarray[Any, np.dtype[np.float64]]]

    #: A contender counts as slower than the first from this factor on.
    limit: ClassVar[float] = 1.03

    def fastest(self, batch: int) -> int:
        """Return the position of the fastest contender at a batch size: the first, unless another is clearly faster."""
        best = int(np.argmin(self.relative[batch]))
        return best if self.relative[batch][best] < WORTH_IT else 0

    def chosen(
        self,
        decisive: int,
        among: Sequence[int] | None = None,
        never_slower_than: Mapping[int, int] | None = None,
    ) -> int:
        """Return the position of the contender to take: fastest at one batch size, and not too slow at the others.

        Args:
            decisive: Batch size that decides.
            among: Positions to choose from; None for all. The first of them is taken where nothing clearly beats it.
            never_slower_than: Position of another contender, fp32, up to whose time it may get slower, by batch size.
                Where there is none, or it is the faster of the two, it may be as slow as the first of all.
        """
        allowed = {
            batch: max(self.limit, float(times[(never_slower_than or {}).get(batch, 0)]))
            for batch, times in self.relative.items()
        }
        positions = range(len(self.artifacts)) if among is None else among
        best = positions[0]
        for position in positions[1:]:
            slower = any(times[position] > allowed[batch] for batch, times in self.relative.items())
            times = self.relative[decisive]
            if not slower and times[position] < WORTH_IT * times[best]:
                best = position
        return best

    def costs(self, position: int, among: Sequence[int] | None = None) -> dict[int, float]:
        """Return a contender's time over that of the fastest one, by batch size.

        Args:
            position: Position of the contender.
            among: Positions of those that it is compared with; None for all.
        """
        positions = list(range(len(self.artifacts)) if among is None else among)
        return {
            batch: float(times[position] / times[positions].min()) for batch, times in self.relative.items()
        }


def compare(artifacts: Sequence[Artifact], feeds: Mapping[int, Path], seconds: float = _SECONDS) -> Compared:
    """Time contenders in turns, at every batch size.

    Args:
        artifacts: Contenders: files with session options, at least one.
        feeds: Path of the batch that is fed, by batch size.
        seconds: Wall time at each batch size in seconds, for all contenders that are open together.

    Raises:
        NetworkError: A contender cannot be run, or crashes.
    """
    first, others = artifacts[0], list(artifacts[1:])
    together = sum(artifact.size_bytes for artifact in artifacts) <= _OPEN_BYTES
    relative: dict[int, list[float]] = {batch: [1.0] for batch in feeds}
    for group in [others] if together else [[other] for other in others]:
        with workers([first, *group], feeds) as opened:
            sample_ms = _sample_ms(opened[0], next(iter(feeds)))
            for batch in feeds:
                long = batch * sample_ms > _LONG_MS
                relative[batch] += [1.0] * len(group) if long else _ratios(opened, batch, seconds)
    return Compared(tuple(artifacts), {batch: np.array(times) for batch, times in relative.items()})


def _sample_ms(worker: Worker, batch: int) -> float:
    """Return the approximate milliseconds of a call for each sample in it."""
    return float(worker.calls(batch, 0.0, least=2).min()) / batch


def _ratios(opened: Sequence[Worker], batch: int, seconds: float) -> list[float]:
    """Return each other contender's time over the first's."""
    turns = take_turns(opened, batch, seconds)
    return [float(np.exp(turns.log_ratio(other, 0))) for other in range(1, len(opened))]
