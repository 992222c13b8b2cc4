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
