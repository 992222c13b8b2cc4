"""Exact binomial probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.statistics import binomial


@given(n=st.integers(1, 60), p=st.floats(0.01, 0.99))
def test_the_mass_is_the_formula(n: int, p: float) -> None:
    formula = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    assert binomial.pmf(n, p) == pytest.approx(formula, rel=1e-9)


@pytest.mark.parametrize("n, p", [(1, 0.5), (662, 0.99), (10_000, 0.02), (1_000_000, 0.5)])
def test_both_tails_agree_with_scipy(n: int, p: float) -> None:
    binom = pytest.importorskip("scipy.stats").binom
    mass = binomial.pmf(n, p)
    k = np.unique(binom.ppf([1e-9, 1e-4, 0.05, 0.5, 0.95, 0.9999], n, p).astype(int))
    assert binomial.at_most(mass)[k] == pytest.approx(binom.cdf(k, n, p), rel=1e-8)
    assert binomial.at_least(mass)[k] == pytest.approx(binom.sf(k - 1, n, p), rel=1e-8)
