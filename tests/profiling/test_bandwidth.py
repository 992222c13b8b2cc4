"""Memory's rate is measured; nothing here says how fast it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.profiling.bandwidth import _largest_cache, measure_bandwidth


@pytest.mark.parametrize("threads", [1, 3])
def test_a_rate_with_its_interval(threads: int):
    bandwidth = measure_bandwidth(threads, 0.0, 1 << 16)
    assert 0 < bandwidth.interval.low <= bandwidth.gb_s <= bandwidth.interval.high
    assert (bandwidth.threads, bandwidth.read_bytes) == (threads, 1 << 16)


def test_the_largest_cache_is_asked_of_the_system(tmp_path: Path):
    for index, size in enumerate(("32K", "1M", "36608K")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{size}\n", encoding="ascii")
    assert _largest_cache(tmp_path) == 36608 << 10
    assert _largest_cache(tmp_path / "none") == 0
