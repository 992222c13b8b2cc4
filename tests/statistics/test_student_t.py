from __future__ import annotations

import pytest

from compress.statistics.bounds import normal_quantile
from compress.statistics.student_t import t_quantile


# D. B. Owen's tables, as textbooks print them.
@pytest.mark.parametrize(
    "probability, freedom, value",
    [
        (0.95, 1, 6.3138),
        (0.95, 2, 2.9200),
        (0.95, 3, 2.3534),
        (0.95, 4, 2.1318),
        (0.95, 5, 2.0150),
        (0.975, 10, 2.2281),
        (0.99, 30, 2.4573),
        (0.5, 7, 0.0),
    ],
)
def test_printed_tables(probability, freedom, value):
    assert t_quantile(probability, freedom) == pytest.approx(value, abs=5e-5)
    assert t_quantile(1 - probability, freedom) == pytest.approx(-value, abs=5e-5)


def test_many_degrees_of_freedom_are_the_normal_distribution():
    assert t_quantile(0.95, 5000) == pytest.approx(normal_quantile(0.95), abs=1e-3)


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ValueError, match="freedom"):
        t_quantile(0.9, 0)
    with pytest.raises(ValueError, match="probability"):
        t_quantile(1.0, 3)
