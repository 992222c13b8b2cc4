"""The rate at which this machine's processor reads memory: the limit of whatever reads much and computes little.

Threads add up the integers in parts of an array that is larger than the caches, again and again. In a cache, these sums
take a fraction of the time, so that memory is what holds them back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.profiling.latency import LEVEL
from compress.records.decoder_speed import Bandwidth
from compress.records.latency import Interval
from compress.statistics.quantiles import quantile_interval

#: Bytes that a pass reads, at the least and at the most; between them, so many times the largest cache's size.
_LEAST, _MOST, _CACHES = 128 << 20, 1 << 30, 4

#: Passes at the least: fewer than six bound no median at 95 %.
_LEAST_PASSES = 10

_CACHE_SIZES = Path("/sys/devices/system/cpu/cpu0/cache")


def measure_bandwidth(threads: int, seconds: float = 0.5, read_bytes: int | None = None) -> Bandwidth:
    """Measure the rate at which memory is read.

    Args:
        threads: Number of threads that read, 1 or more.
        seconds: Time to read, in seconds; a few passes are made in any case.
        read_bytes: Bytes that a pass reads; None takes several times the size of the caches.
    """
    size = min(max(_LEAST, _CACHES * _largest_cache()), _MOST) if read_bytes is None else read_bytes
    words = np.ones(max(threads, size // 8), np.int64)
    parts = np.array_split(words, threads)
    with ThreadPoolExecutor(threads) as pool:
        times = _seconds(lambda: list(pool.map(np.add.reduce, parts)), seconds)
    rates = words.nbytes / times / 1e9
    between = quantile_interval(rates, 0.5, LEVEL)
    assert between is not None
    return Bandwidth(
        float(np.median(rates)), Interval(between.lower, between.upper, LEVEL), threads, words.nbytes
    )


def _seconds(one_pass: Callable[[], object], seconds: float) -> NDArray[np.float64]:
    """Return the time of each pass in seconds, after one that is dropped."""
    one_pass()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _LEAST_PASSES or time.perf_counter() < end:
        start = time.perf_counter()
        one_pass()
        times.append(time.perf_counter() - start)
    return np.array(times)


def _largest_cache(directory: Path = _CACHE_SIZES) -> int:
    """Return the size of the largest cache of a core in bytes; 0 where the system does not tell."""
    sizes = [0]
    for path in directory.glob("index*/size"):
        text = path.read_text(encoding="ascii").strip()
        number = text.rstrip("KMG")
        if number.isdigit():
            sizes.append(int(number) << {"K": 10, "M": 20, "G": 30}.get(text[-1], 0))
    return max(sizes)
