"""GPTQ keeps a layer's outputs, whatever its groups, and says where it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from compress.quantization.weights import Settings
from compress.quantization.weights.gptq import gptq
from compress.quantization.weights.grouped import NotApplicableError
from compress.quantization.weights.scale_search import search_blocks
from tests.quantization.weights.matrices import rows

INPUTS = 96


def _weight(outputs: int = 24, inputs: int = INPUTS) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((outputs, inputs)) / 8).astype(np.float32)


def _inputs(count: int, inputs: int, rank: int = 24) -> np.ndarray:
    """Return correlated inputs, as layers have them: what is lost in one column can be made up for in another."""
    mixed = rows(count, rank, seed=3) @ np.random.default_rng(4).standard_normal((rank, inputs))
    return mixed.astype(np.float32)


def _output_error(found: np.ndarray, wanted: np.ndarray, inputs: np.ndarray) -> float:
    return float(np.square(inputs @ (found - wanted).T).mean() / np.square(inputs @ wanted.T).mean())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("inputs", [INPUTS, 80])
def test_it_keeps_outputs_better_than_rounding_does(bits, symmetric, inputs):
    settings = Settings("gptq", bits=bits, symmetric=symmetric)
    x, wanted = _inputs(512, inputs), _weight(inputs=inputs)
    found = gptq(wanted, x, settings)
    rounded = search_blocks(wanted, settings)
    assert _output_error(found.dequantized(), wanted, x) < 0.5 * _output_error(
        rounded.dequantized(), wanted, x
    )
    assert found.integers.max() < 2**bits
    assert (found.zero_points is None) == symmetric


def test_the_block_of_columns_changes_no_more_than_rounding_errors(monkeypatch):
    x, wanted = _inputs(512, 160), _weight(inputs=160)
    found = gptq(wanted, x, Settings("gptq")).dequantized()
    monkeypatch.setattr("compress.quantization.weights.gptq._BLOCK", 7)
    other = gptq(wanted, x, Settings("gptq")).dequantized()
    assert np.mean(found != other) < 0.02


def test_uncorrelated_inputs_leave_plain_rounding_on_the_grid():
    x = np.eye(INPUTS, dtype=np.float32) * 3
    found = gptq(_weight(), x, Settings("gptq"))
    np.testing.assert_array_equal(
        found.dequantized(), search_blocks(_weight(), Settings("gptq")).dequantized()
    )


def test_an_input_that_is_always_zero_costs_nothing():
    x = _inputs(512, INPUTS)
    x[:, 5] = 0
    found = gptq(_weight(), x, Settings("gptq")).dequantized()
    assert np.isfinite(found).all()
    assert _output_error(found, _weight(), x) < 0.01


@pytest.mark.parametrize("value", [1e30, np.nan])
def test_it_says_where_it_cannot_work(value):
    x = np.full((4, INPUTS), value, np.float32)
    with pytest.raises(NotApplicableError, match="second moments"):
        gptq(_weight(), x, Settings("gptq"))
