"""Outputs that hold no numbers at all are kept whole by every build."""

from __future__ import annotations

import numpy as np
import pytest

from compress.metrics.unlabelled.equality import equality_metric
from compress.metrics.unlabelled.values import value_metric


@pytest.mark.parametrize("shape", [(5, 0, 8), (5, 0)])
@pytest.mark.parametrize(
    "metric, dtype", [(value_metric, np.float32), (equality_metric, np.int64)], ids=["values", "integers"]
)
def test_nothing_is_lost(metric, dtype, shape):
    output = [np.zeros(shape, dtype)]
    made = metric("y", 0)
    rows = made.per_sample(output, None, output)
    kept = rows if made.over_data is None else made.over_data(rows)
    np.testing.assert_array_equal(kept, np.ones(5))


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_a_sample_of_which_another_number_is_found_is_lost(dtype):
    made = (value_metric if dtype is np.float32 else equality_metric)("y", 0)
    rows = []
    for ours, theirs in [(3, 3), (2, 3), (4, 3), (0, 3), (3, 0), (0, 0)]:
        build, original = (
            [np.ones((1, count, 4), dtype) * np.arange(4, dtype=dtype)] for count in (ours, theirs)
        )
        rows += list(made.per_sample(build, None, original))
    kept = np.asarray(rows) if made.over_data is None else made.over_data(rows)
    np.testing.assert_array_equal(kept, [1, 0, 0, 0, 0, 1])
