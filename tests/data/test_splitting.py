"""Calibration and evaluation never share a sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.data import open_data
from compress.data.splitting import choose_rows, rows_shared, split_rows
from compress.errors import DataError


@given(total=st.integers(8, 400), wanted=st.integers(1, 200), seed=st.integers(0, 2**40))
def test_both_parts_are_apart_and_complete(total: int, wanted: int, seed: int) -> None:
    calibration, evaluation = split_rows(range(total), wanted, seed)
    assert sorted([*calibration, *evaluation]) == list(range(total))
    assert 1 <= len(calibration) <= min(wanted, total // 4)
    assert (np.diff(calibration) > 0).all()
    assert (np.diff(evaluation) > 0).all()


@given(content=st.lists(st.integers(0, 12), min_size=8, max_size=100), seed=st.integers(0, 99))
def test_equal_samples_stay_together(content: list[int], seed: int) -> None:
    if len(set(content)) == 1:
        with pytest.raises(DataError, match="all equal"):
            split_rows(content, 50, seed)
        return
    calibration, evaluation = split_rows(content, 50, seed)
    assert sorted([*calibration, *evaluation]) == list(range(len(content)))
    assert not {content[row] for row in calibration} & {content[row] for row in evaluation}
    assert len(calibration) >= 1
    assert len(evaluation) >= 2


def test_so_many_evaluate_that_one_point_can_be_shown_where_that_can_be() -> None:
    evaluating = {total: len(split_rows(range(total), 512, 0)[1]) for total in (40, 299, 300, 330, 400, 5000)}
    assert evaluating == {40: 30, 299: 225, 300: 270, 330: 297, 400: 300, 5000: 4488}


def test_the_seed_chooses() -> None:
    first, _ = split_rows(range(100), 10, seed=1)
    again, _ = split_rows(range(100), 10, seed=1)
    other, _ = split_rows(range(100), 10, seed=2)
    assert first.tolist() == again.tolist() != other.tolist()


def test_too_few_to_split_is_told() -> None:
    with pytest.raises(DataError, match="at least 8 samples"):
        split_rows(range(7), 512, 0)


@given(total=st.integers(1, 100), samples=st.integers(1, 200), seed=st.integers(0, 99))
def test_chosen_rows_are_distinct_and_inside(total: int, samples: int, seed: int) -> None:
    rows = choose_rows(total, samples, seed)
    assert len(rows) == min(total, samples)
    assert (np.diff(rows) > 0).all()
    assert rows.min() >= 0
    assert rows.max() < total


def test_shared_samples_are_found_whatever_their_targets_and_names() -> None:
    x = np.arange(30, dtype=np.float32).reshape(10, 3)
    ours = open_data({"image": x[5:], "y": np.arange(5)})
    assert rows_shared(ours, open_data(x[:7])).tolist() == [0, 1]
    assert rows_shared(ours, open_data(x[:5])).tolist() == []


def test_names_of_several_inputs_do_matter() -> None:
    x = np.arange(30, dtype=np.float32).reshape(10, 3)
    for other in ({"a": x + 1, "b": x}, {"a": x, "c": x + 1}):
        assert not len(rows_shared(open_data({"a": x, "b": x + 1}), open_data(other)))
