"""Check that a machine was quiet enough for its times to mean something.

Calls that come one after another are not independent: a spell of another load moves a whole run of them, and
the interval of a percentile, which takes them for independent, does not know. So the times are also asked
whether they agree with themselves. A median is doubtful where

- it drifted: the intervals of the medians of the first and the second half are disjoint, and the medians
  are more than 2 % apart, which is the margin that a gate holds latency to; or
- it is wide: its own interval is wider than 5 % of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from compress.records.profile import Latency
from compress.statistics.quantiles import quantile_interval

Times = np.ndarray[Any, np.dtype[np.float64]]

#: Halves whose medians are closer than this agree, as a share of the smaller one.
DRIFT = 0.02

#: Width of the median's interval, as a share of the median, above which it says little.
WIDTH = 0.05


def drift(times_ms: Times) -> float | None:
    """Return how far the second half's median lies from the first's, where the two disagree.

    Args:
        times_ms: Times in order, ``(n,)``, in milliseconds.

    Returns:
        The difference as a share of the first half's median; None where they agree, or are too few to tell.
    """
    first, second = np.array_split(np.asarray(times_ms, dtype=np.float64), 2)
    intervals = [quantile_interval(half, 0.5) if len(half) else None for half in (first, second)]
    before, after = intervals
    if before is None or after is None:
        return None
    change = float(np.median(second) / np.median(first)) - 1
    apart = before.upper < after.lower or after.upper < before.lower
    return change if apart and not -DRIFT / (1 + DRIFT) <= change <= DRIFT else None


def width(latency: Latency) -> float:
    """Return the width of the median's interval as a share of the median."""
    return (latency.interval.high - latency.interval.low) / latency.p50_ms


def doubts(latency: Latency) -> Iterator[str]:
    """Return a sentence for each reason to doubt a measured latency; a ratio has its own interval."""
    at = f"batch {latency.batch}"
    spent = latency.warm_up
    if spent is not None and not spent.steady:
        yield f"{at}: no steady state within {spent.seconds:.2g} s of warm-up ({spent.calls} calls)"
    if latency.drift is not None:
        finding = f"the median of the second half of the calls is {100 * latency.drift:+.1f} % from the first half's"
        yield f"{at}: {finding}"
    if latency.ratio is None and width(latency) > WIDTH:
        finding = f"the median's interval is {100 * width(latency):.1f} % of it wide"
        yield f"{at}: {finding}"
