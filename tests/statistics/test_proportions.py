"""Wilson's interval of one proportion."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.statistics import binomial, wilson


@pytest.mark.parametrize(
    "successes, n, lower, upper",
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_intervals(successes: int, n: int, lower: float, upper: float) -> None:
    assert wilson(successes, n) == pytest.approx((lower, upper), abs=5e-5)


@given(n=st.integers(1, 10_000), share=st.floats(0, 1), level=st.floats(0.5, 0.999))
def test_the_bounds_are_where_the_score_is_z(n: int, share: float, level: float) -> None:
    successes = round(share * n)
    z = NormalDist().inv_cdf((1 + level) / 2)
    bounds = wilson(successes, n, level)
    assert 0.0 <= bounds.lower <= successes / n <= bounds.upper <= 1.0
    for bound in bounds:
        if 0.0 < bound < 1.0:
            score = abs(successes / n - bound) / math.sqrt(bound * (1 - bound) / n)
            assert score == pytest.approx(z, rel=1e-6)


def test_it_covers_as_often_as_it_says() -> None:
    n, level = 300, 0.95
    bounds = np.array([wilson(k, n, level) for k in range(n + 1)])
    covered = [
        float(binomial.pmf(n, p)[(bounds[:, 0] <= p) & (p <= bounds[:, 1])].sum())
        for p in np.linspace(0.05, 0.95, 91)
    ]
    assert np.mean(covered) == pytest.approx(level, abs=0.005)
    assert min(covered) > 0.92


@pytest.mark.parametrize(
    "successes, n, level", [(-1, 5, 0.95), (6, 5, 0.95), (0, 0, 0.95), (1, 5, 1.0), (1, 5, 0.0)]
)
def test_what_is_out_of_range_is_refused(successes: int, n: int, level: float) -> None:
    with pytest.raises(ValueError):
        wilson(successes, n, level)
