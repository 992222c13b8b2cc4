from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.pruning.staircase import Staircase, points, staircase, steps, widths


def test_widths_are_few_and_end_with_the_full_one() -> None:
    assert widths(5) == (1, 2, 3, 4, 5)
    assert widths(64) == tuple(range(4, 65, 4))
    assert widths(100, 4) == (32, 64, 96, 100)
    assert widths(1) == (1,)


@given(st.integers(1, 3000), st.sampled_from([2, 4, 8, 16]))
def test_no_more_widths_than_asked_for(full, most) -> None:
    found = widths(full, most)
    assert len(found) <= most
    assert found[-1] == full
    assert list(found) == sorted(set(found))


def test_steps_are_the_widths_that_no_larger_one_is_as_fast_as() -> None:
    sizes = (8, 12, 16, 20, 24, 28, 32)
    assert steps(sizes, (1.0, 1.0, 1.0, 1.8, 2.0, 2.0, 2.0)) == (16, 20, 32)
    # 28 fills no whole block and takes longer than 32: nobody wants it. 24 is faster by noise alone.
    assert steps(sizes, (1.0, 1.0, 1.0, 1.8, 1.99, 2.6, 2.0)) == (16, 20, 32)
    assert steps(sizes, (1.0, 1.0, 1.0, 1.8, 1.99, 2.6, 2.0), noise=0.001) == (16, 20, 24, 32)


def time_of(inputs: int, outputs: int) -> float:
    """Blocks of 16 outputs, a fixed part, and an inner loop over inputs."""
    return 3 + inputs * -(-outputs // 16)


def measured(inputs, outputs) -> Staircase:
    times = {point: time_of(*point) for point in points(inputs, outputs, tied=False)}
    return staircase(inputs, outputs, times, tied=False)


def test_what_was_measured_is_told_again() -> None:
    inputs, outputs = widths(32), widths(64)
    found = measured(inputs, outputs)
    for point in points(inputs, outputs, tied=False):
        assert found.ms(*point) == pytest.approx(time_of(*point))
    assert found.full_ms == time_of(32, 64)
    assert found.ms(32, 61) == time_of(32, 64)  # between two widths the larger counts


def test_both_widths_at_once_are_near_what_they_are() -> None:
    found = measured(widths(64), widths(64))
    for one in range(8, 65, 4):
        for other in range(8, 65, 4):
            assert found.ms(one, other) == pytest.approx(time_of(one, other), rel=0.15)


def test_tied_widths_are_measured_together() -> None:
    where = points((64,), widths(64, 4), tied=True)
    assert where == ((16, 16), (32, 32), (48, 48), (64, 64))
    found = staircase((64,), widths(64, 4), {point: float(point[0]) for point in where}, tied=True)
    assert [found.ms(width, width) for width in (16, 32, 64)] == [16, 32, 64]


def test_it_is_kept_as_json() -> None:
    found = measured(widths(8), widths(16))
    data = json.loads(json.dumps(found.to_dict()))
    assert Staircase.from_dict(data) == found
    assert data["output_steps"] == [16]
    assert data["input_steps"] == list(range(1, 9))
