"""Rounding on the best of several grids: never worse than plain rounding, and better where that is possible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compress.quantization.weights import Settings
from compress.quantization.weights.grouped import GroupedWeight
from compress.quantization.weights.onnxruntime import round_blocks
from compress.quantization.weights.scale_search import name_of, round_alone, search_blocks

_FINITE = st.floats(-1e4, 1e4, width=32)


def _loss(found: GroupedWeight, weight: np.ndarray, importance: np.ndarray | None = None) -> float:
    errors = np.square(found.dequantized().astype(np.float64) - weight)
    return float((errors if importance is None else errors * importance).sum())


@settings(deadline=None, max_examples=150)
@given(
    weight=st.tuples(st.integers(1, 5), st.sampled_from([16, 32, 40, 80])).flatmap(
        lambda shape: arrays(np.float32, shape, elements=_FINITE)
    ),
    symmetric=st.booleans(),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_no_matrix_loses_more_than_by_plain_rounding(weight, symmetric, weighted, seed):
    form = Settings("search", 4, 16, symmetric)
    importance = None
    if weighted:
        random = np.random.default_rng(seed)
        importance = (random.exponential(size=weight.shape[1]) * random.integers(0, 2)).astype(np.float32)
    plain, found = round_blocks(weight, form), search_blocks(weight, form, importance)
    assert np.isfinite(found.dequantized()).all()
    assert (found.zero_points is None) == symmetric
    assert found.integers.max(initial=0) < 16
    bound = _loss(plain, weight, importance)
    assert _loss(found, weight, importance) <= bound * (1 + 1e-5) + 1e-30


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("size", [16, 32, 128])
def test_bell_shaped_weights_lose_less(size, symmetric):
    weight = np.random.default_rng(0).standard_normal((300, 256)).astype(np.float32)
    form = Settings("search", 4, size, symmetric)
    assert _loss(round_alone(weight, form), weight) < 0.95 * _loss(round_blocks(weight, form), weight)


def test_importance_spares_the_inputs_that_matter():
    random = np.random.default_rng(0)
    weight = random.standard_normal((64, 128)).astype(np.float32)
    importance = np.where(np.arange(128) % 16 == 0, 50, 1).astype(np.float32)
    form = Settings("search", 4, 32)
    alike, weighted = search_blocks(weight, form), search_blocks(weight, form, importance)
    assert _loss(weighted, weight, importance) < 0.9 * _loss(alike, weight, importance)


def test_a_matrix_in_pieces_is_rounded_as_a_whole(monkeypatch):
    weight = np.random.default_rng(0).standard_normal((50, 80)).astype(np.float32)
    form = Settings("search", 4, 32)
    whole = search_blocks(weight, form)
    monkeypatch.setattr("compress.quantization.weights.scale_search._PIECE", 700)
    np.testing.assert_array_equal(search_blocks(weight, form).dequantized(), whole.dequantized())


@pytest.mark.parametrize(
    ("algorithm", "bits", "name"),
    [
        ("rtn", 4, "rtn"),
        ("onnxruntime", 4, "rtn"),
        ("search", 8, "rtn"),
        ("search", 4, "search"),
        ("gptq", 4, "search"),
    ],
)
def test_rounding_without_data_is_plain_where_it_is_asked_for_and_at_8_bits(algorithm, bits, name):
    weight = np.random.default_rng(0).standard_normal((20, 64)).astype(np.float32)
    form = Settings(algorithm, bits)
    assert name_of(form) == name
    same = np.array_equal(round_alone(weight, form).integers, round_blocks(weight, form).integers)
    assert same == (name == "rtn")
