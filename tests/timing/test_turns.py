"""How long a burst of calls is, and which of its calls count."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from compress.backends.base import Artifact
from compress.timing.processes import Times
from compress.timing.turns import take_turns


@dataclass
class Caller:
    """Answers calls whose time halves from one call to the next after another build's, down to ``ms``."""

    ms: float
    size_bytes: int
    made: list[int] = field(default_factory=list)

    @property
    def artifact(self) -> Artifact:
        return Artifact(Path("model.onnx"), "0" * 64, self.size_bytes, "onnxruntime", {})

    def calls(
        self, batch: int, seconds: float, least: int = 1, most: int = 1 << 30, period_s: float | None = None
    ) -> Times:
        count = max(least, round(1e3 * seconds / self.ms))
        self.made.append(count)
        return self.ms * (1 + 0.5 ** np.arange(count))


@pytest.mark.parametrize(
    ("ms", "size_bytes", "made", "median"),
    [
        (1.0, 100_000, 3, 1.375),  # the first of three is dropped
        (1.0, 19_000_000, 6, 1.0625),  # weights are back in the cache after half of the calls
        (10.0, 100_000, 2, 15.0),
        (10.0, 19_000_000, 2, 15.0),  # longer bursts would meet another machine
        (30.0, 19_000_000, 1, 60.0),  # slow: the one call counts
    ],
)
def test_a_burst_is_longer_where_weights_share_the_cache(
    ms: float, size_bytes: int, made: int, median: float
) -> None:
    caller = Caller(ms, size_bytes)
    turns = take_turns([caller], 1, 0.0)  # type: ignore[list-item]
    assert set(caller.made[1:]) == {made}
    assert turns.medians_ms[:, 0] == pytest.approx([median] * len(turns.medians_ms))
