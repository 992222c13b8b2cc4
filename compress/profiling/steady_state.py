"""The end of warm-up, detected in the times of the calls, never after a fixed number of calls.

MSER-5 (White, Cobb and Spratt, "A comparison of five steady-state truncation heuristics for simulation", Winter
Simulation Conference 2000): the times are put into batches of five, and the beginning is cut where the standard
error of what is left is smallest. For batches z₁ … z_k the cut d minimises

    MSER(d) = Σ over i > d of (zᵢ - z̄_d)² / (k - d)²        z̄_d: the mean of z after the cut

A cut in the second half means that the series is too short to tell: then it goes on. Cuts that leave fewer than
five batches are not looked at, where the formula is small by chance (Franklin and White, "Stationarity tests
and MSER-5", Winter Simulation Conference 2008). Two things differ here: a batch is told by its median, where
they take its mean, because a call that the operating system interrupted must not move the cut; and where calls
are so slow that the time allows for fewer than sixteen batches of five, the batches are smaller.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from compress.records.profile import WarmUp

Times = np.ndarray[Any, np.dtype[np.float64]]

#: Calls in a batch, as the name of the method says, …
BATCH = 5

#: … how many batches are wanted before anything is said, and how many a cut leaves at least.
LEAST_BATCHES, LEAST_LEFT = 16, 5

#: No look comes earlier, in seconds: frequency governors take some ten milliseconds to react.
LEAST_SECONDS = 0.05


def warm_up(call: Callable[[], float], seconds: float) -> WarmUp:
    """Call until the times are steady, or the time is up.

    Args:
        call: Function that makes one call and returns its duration, in any unit.
        seconds: Longest wall time, in seconds; at least two calls are made.

    Returns:
        Calls and time that were spent, and whether a steady state was reached.
    """
    start = time.perf_counter()
    times = [call(), call()]
    look = BATCH * LEAST_BATCHES
    while (spent := time.perf_counter() - start) < seconds:
        times.append(call())
        if len(times) >= look and spent >= LEAST_SECONDS:
            if is_steady(np.array(times)):
                return WarmUp(len(times), time.perf_counter() - start, True)
            look = 2 * len(times)  # so that half of what the next look sees is new
    return WarmUp(len(times), time.perf_counter() - start, is_steady(np.array(times)))


def is_steady(times: Times) -> bool:
    """Whether MSER-5 cuts no more than the first half.

    Args:
        times: Durations in order, ``(n,)``; fewer than :data:`LEAST_BATCHES` tell nothing.
    """
    return len(times) >= LEAST_BATCHES and truncation(times) <= len(times) / 2


def truncation(times: Times) -> int:
    """Return the number of calls at the beginning that MSER-5 cuts.

    Args:
        times: Durations in order, ``(n,)``. Those at the beginning that fill no batch count as cut.

    Raises:
        ValueError: There are fewer than :data:`LEAST_BATCHES`.
    """
    if len(times) < LEAST_BATCHES:
        raise ValueError(f"need {LEAST_BATCHES} times, not {len(times)}")
    size = min(BATCH, len(times) // LEAST_BATCHES)
    count, remainder = divmod(len(times), size)
    batches = np.median(np.asarray(times[remainder:], dtype=np.float64).reshape(count, size), axis=1)
    errors = [float(batches[cut:].var()) / (count - cut) for cut in range(count - LEAST_LEFT + 1)]
    return remainder + size * int(np.argmin(errors))
