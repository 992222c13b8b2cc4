from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.backends.base import Artifact
from compress.timing.settings import Compared


def compared(relative: dict[int, list[float]]) -> Compared:
    count = len(next(iter(relative.values())))
    artifacts = tuple(Artifact(Path(f"{number}.onnx"), "", 1, "onnxruntime", {}) for number in range(count))
    return Compared(artifacts, {batch: np.array(times) for batch, times in relative.items()})


def test_the_runtimes_default_keeps_its_place_against_what_is_hardly_faster() -> None:
    assert compared({1: [1.0, 0.98], 32: [1.0, 1.0]}).chosen(1) == 0
    assert compared({1: [1.0, 0.98]}).fastest(1) == 0


def test_the_fastest_is_taken_where_it_is_clearly_faster() -> None:
    found = compared({1: [1.0, 0.9, 0.7], 32: [1.0, 1.0, 1.02]})
    assert found.chosen(1) == 2
    assert found.fastest(1) == 2
    assert found.fastest(32) == 0


def test_what_is_slower_than_the_default_at_another_batch_size_is_not_taken() -> None:
    """One thread is faster for a single sample, and twice as slow for a batch."""
    found = compared({1: [1.0, 0.7, 0.9], 32: [1.0, 1.9, 1.0]})
    assert found.chosen(1) == 2
    assert compared({1: [1.0, 0.7], 32: [1.0, 1.9]}).chosen(1) == 0
    assert found.chosen(32) == 0


def test_a_build_may_get_slower_at_another_batch_size_as_long_as_fp32_is_slower_there() -> None:
    """Contenders: the default, one thread, fp32. One thread is best for a single sample, which decides."""
    times = {1: [1.0, 0.7, 2.0], 32: [1.0, 1.9, 2.5]}
    assert compared(times).chosen(1, range(2), {1: 2, 32: 2}) == 1
    assert compared(times).chosen(1, range(2)) == 0
    assert compared({**times, 32: [1.0, 1.9, 1.5]}).chosen(1, range(2), {1: 2, 32: 2}) == 0
    assert compared({**times, 32: [1.0, 1.02, 0.8]}).chosen(1, range(2), {1: 2, 32: 2}) == 1  # as by default


def test_the_batch_size_that_decides_is_the_objectives() -> None:
    found = compared({1: [1.0, 1.01, 0.8], 32: [1.0, 0.8, 1.0]})
    assert (found.chosen(1), found.chosen(32)) == (2, 1)


def test_among_the_builds_own_settings_the_users_file_is_the_limit() -> None:
    """The first contender is the user's own file, and the build's default may be slower than that."""
    found = compared({1: [1.0, 1.0, 0.8], 32: [1.0, 1.3, 1.2]})
    assert found.chosen(1, range(1, 3)) == 1


def test_settings_cost_what_others_would_have_saved() -> None:
    found = compared({1: [1.0, 0.5], 32: [1.0, 1.25]})
    assert found.costs(1) == {1: 1.0, 32: 1.25}
    assert found.costs(0) == {1: 2.0, 32: 1.0}
    assert found.costs(0, [0]) == {1: 1.0, 32: pytest.approx(1.0)}
