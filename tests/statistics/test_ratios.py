from __future__ import annotations

import math

import numpy as np
import pytest

from compress.statistics.ratios import FLOOR, log_ratio_bounds


def test_one_start_bounds_nothing() -> None:
    assert log_ratio_bounds([-0.5]) == (-math.inf, math.inf)


def test_starts_that_agree_by_chance_are_not_believed_beyond_the_floor() -> None:
    low, high = log_ratio_bounds([-0.5, -0.5, -0.5])
    # Student's t of 2 degrees of freedom at 97.5 %, two-sided: 6.205.
    reach = 6.205 * FLOOR / math.sqrt(3)
    assert (low, high) == pytest.approx((-0.5 - reach, -0.5 + reach), abs=1e-4)


@pytest.mark.parametrize("spread", [0.003, 0.03, 0.1])
def test_looks_after_every_start_hold_their_level_together(spread: float) -> None:
    random, missed = np.random.default_rng(0), 0
    for _ in range(2000):
        starts = random.normal(-0.05, spread, 6)
        for count in range(2, 7):
            low, high = log_ratio_bounds(list(starts[:count]))
            if low > 0 or high < 0 or count == 6:
                missed += not low <= -0.05 <= high
                break
    assert missed / 2000 <= 0.05


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_interval_is_students(count: int) -> None:
    """t(0.9875) of 1, 2 and 5 degrees of freedom, from printed tables."""
    quantile = {2: 25.452, 3: 6.205, 6: 3.163}[count]
    values = [0.3, -0.1, 0.25, 0.7, 0.0, 0.4][:count]
    mean = sum(values) / count
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    reach = quantile * spread / math.sqrt(count)
    assert log_ratio_bounds(values) == pytest.approx((mean - reach, mean + reach), rel=1e-3)
