"""What a statistic refuses, and that the error says which argument and what it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compress.statistics.bootstrap import mean_interval, paired_mean_difference_bounds
from compress.statistics.bounded_mean import bounded_mean_bounds
from compress.statistics.bounds import check_probability
from compress.statistics.change_points import change_points
from compress.statistics.paired import mcnemar_exact, samples_to_decide, tango_bounds
from compress.statistics.proportions import wilson
from compress.statistics.quantiles import median_log_ratio_bounds, quantile_interval
from compress.statistics.ratios import log_ratio_bounds
from compress.statistics.student_t import t_quantile

FOUR = [1.0, 2.0, 3.0, 4.0]

#: With a one-sided error as the last argument.
ONE_SIDED: dict[str, Callable[[float], Any]] = {
    "paired means": lambda alpha: paired_mean_difference_bounds(FOUR, FOUR, alpha),
    "bounded mean": lambda alpha: bounded_mean_bounds(FOUR, 0.0, 5.0, alpha),
    "change points": lambda alpha: change_points(FOUR, alpha),
    "paired shares": lambda alpha: tango_bounds(1, 2, 10, alpha),
    "samples": lambda alpha: samples_to_decide(0.1, 0.01, alpha),
    "ratios": lambda alpha: median_log_ratio_bounds(FOUR, alpha),
}

#: With a share strictly between 0 and 1, and its name.
SHARES: dict[str, tuple[str, Callable[[float], Any]]] = {
    "mean": ("level", lambda value: mean_interval(FOUR, value)),
    "wilson": ("level", lambda value: wilson(1, 5, value)),
    "quantile": ("q", lambda value: quantile_interval(FOUR, value)),
    "quantile's level": ("level", lambda value: quantile_interval(FOUR, 0.5, value)),
    "margin": ("margin", lambda value: samples_to_decide(0.1, value)),
    "power": ("power", lambda value: samples_to_decide(0.1, 0.01, 0.05, value)),
    "student": ("probability", lambda value: t_quantile(value, 3)),
    "any": ("share", lambda value: check_probability("share", value)),
}


@pytest.mark.parametrize("alpha", [0.0, 0.5, -0.1, 0.7, math.nan])
@pytest.mark.parametrize("name", ONE_SIDED)
def test_a_one_sided_error_is_inside_zero_and_a_half(name: str, alpha: float) -> None:
    with pytest.raises(ValueError, match=rf"^alpha must be inside \(0, 0\.5\), not {alpha}$"):
        ONE_SIDED[name](alpha)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.1, math.nan])
@pytest.mark.parametrize("name", SHARES)
def test_a_share_is_inside_zero_and_one(name: str, value: float) -> None:
    argument, call = SHARES[name]
    with pytest.raises(ValueError, match=rf"^{argument} must be inside \(0, 1\), not {value}$"):
        call(value)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf, 1.0], [[1.0, 2.0]], 1.0])
@pytest.mark.parametrize(
    "call",
    [
        mean_interval,
        lambda values: paired_mean_difference_bounds(values, FOUR),
        lambda values: paired_mean_difference_bounds(FOUR, values),
        lambda values: bounded_mean_bounds(values, 0.0, 5.0),
    ],
)
def test_a_mean_is_of_one_axis_of_finite_numbers(call: Callable[[Any], Any], values: Any) -> None:
    with pytest.raises(ValueError, match=r"^need one axis of at least one finite number, not shape \("):
        call(values)


@pytest.mark.parametrize("values", [[1.0, math.nan], [math.inf], [[1.0]]])
def test_a_series_is_one_axis_of_finite_numbers(values: Any) -> None:
    with pytest.raises(ValueError, match=r"^need one axis of finite numbers, not shape \("):
        change_points(values)


@pytest.mark.parametrize("values", [[1.0, math.nan], [[1.0]]])
def test_a_quantile_is_of_one_axis_without_nan(values: Any) -> None:
    with pytest.raises(ValueError, match=r"^need one axis of numbers without NaN, not shape \("):
        quantile_interval(values, 0.5)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: paired_mean_difference_bounds(FOUR, FOUR[:3]), "pairs need equal lengths, not 4 and 3"),
        (lambda: bounded_mean_bounds(FOUR, 2.0, 1.0), "lowest must not be above highest, not 2.0 and 1.0"),
        (lambda: wilson(6, 5), "need 0 <= successes <= n and n >= 1, not 6 of 5"),
        (lambda: wilson(-1, 5), "need 0 <= successes <= n and n >= 1, not -1 of 5"),
        (lambda: wilson(0, 0), "need 0 <= successes <= n and n >= 1, not 0 of 0"),
        (lambda: tango_bounds(3, 3, 5), "need b >= 0, c >= 0 and b + c <= n with n >= 1, not b=3, c=3, n=5"),
        (lambda: mcnemar_exact(-1, 3), "need b >= 0, c >= 0 and b + c <= n with n >= 1, not b=-1, c=3, n=2"),
        (lambda: mcnemar_exact(3, -1), "need b >= 0, c >= 0 and b + c <= n with n >= 1, not b=3, c=-1, n=2"),
        (lambda: samples_to_decide(1.1, 0.01), "psi must be in [0, 1], not 1.1"),
        (lambda: samples_to_decide(-0.1, 0.01), "psi must be in [0, 1], not -0.1"),
        (lambda: t_quantile(0.9, 0), "freedom must be at least 1, not 0"),
    ],
)
def test_an_argument_out_of_its_range_is_named(call: Callable[[], Any], told: str) -> None:
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == told


def test_the_ends_of_a_range_that_belong_to_it_are_taken() -> None:
    assert samples_to_decide(0.0, 0.01) >= 1
    assert samples_to_decide(1.0, 0.01) >= 1
    assert wilson(0, 1).lower == 0.0
    assert wilson(1, 1).upper == 1.0
    assert tango_bounds(0, 0, 1).upper <= 1.0
    assert tango_bounds(2, 3, 5).lower <= -0.2
    assert bounded_mean_bounds([1.0], 1.0, 1.0) == (1.0, 1.0)
    assert t_quantile(0.9, 1) > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
@pytest.mark.parametrize(
    "call",
    [
        mean_interval,
        lambda values: paired_mean_difference_bounds(values, values[::-1]),
        lambda values: bounded_mean_bounds(values, 0.0, 50.0),
        lambda values: quantile_interval(values, 0.5),
        lambda values: median_log_ratio_bounds(values),
        log_ratio_bounds,
        change_points,
    ],
)
def test_values_of_any_kind_count_as_float64(call: Callable[[Any], Any], dtype: type) -> None:
    """Latencies and scores come in the precision of a network; their sums are not rounded to it."""
    values = (np.random.default_rng(0).random(40) * 30).astype(dtype)
    assert call(values) == call(values.astype(np.float64))
