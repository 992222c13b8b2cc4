"""The spread of two networks' difference, paired by sample: by the values, and by drawing samples anew."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gate.data_set_metrics import SIMULATED, bootstrap_error, difference, standard_error
from compress.metrics import load_metric


@pytest.mark.parametrize("name", SIMULATED)
def test_the_spread_is_that_of_a_paired_bootstrap(name: str) -> None:
    random = np.random.default_rng(1)
    text, simulate = SIMULATED[name]
    metric = load_metric(text)
    rows = simulate(random, metric, 150)
    drawn = bootstrap_error(random, metric, rows, resamples=200)  # which know it to 5 %
    assert standard_error(difference(metric, rows)) == pytest.approx(drawn, rel=0.2)
