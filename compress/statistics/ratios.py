"""The ratio of two builds' times, from starts of both in processes of their own.

How a process's memory lies and where its threads run makes it a few percent faster or slower for as long as it lives,
so that the many calls of one start are one observation: d = ln(time of the build / time of the reference). Over n
starts the mean of d has the interval of Student's t::

    mean ± t(n - 1) · max(s, FLOOR) / √n

Few starts may agree by chance; so s, their standard deviation, counts as :data:`FLOOR` at the least, which is what
starts of one file differ by on a quiet machine. Measuring may stop after any start, so each look is taken at
:data:`LOOK_LEVEL`; then all looks together hold 95 %: by simulation with up to six starts 1 to 5 % of the intervals
miss, for normal and for heavy-tailed (t with 3 degrees of freedom) starts of standard deviations from 0.003 to 0.1
(``python -m benchmarks run coverage``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compress.statistics.bounds import UNBOUNDED, Bounds
from compress.statistics.student_t import t_quantile

#: Standard deviation between starts that is assumed at the least, in ln.
FLOOR = 0.01

#: Two-sided level of a single look.
LOOK_LEVEL = 0.975


def log_ratio_bounds(log_ratios: Sequence[float], level: float = LOOK_LEVEL) -> Bounds:
    """Return the interval of the mean of ln(time / reference's time).

    Args:
        log_ratios: Values of ln(time / reference's time), one for each start, finite.
        level: Two-sided coverage, in (0, 1).

    Returns:
        The interval; infinite on both sides for fewer than two starts.
    """
    values = np.asarray(log_ratios, dtype=np.float64)
    if len(values) < 2:
        return UNBOUNDED
    spread = max(float(values.std(ddof=1)), FLOOR)
    reach = t_quantile((1 + level) / 2, len(values) - 1) * spread / math.sqrt(len(values))
    return Bounds(float(values.mean()) - reach, float(values.mean()) + reach)
