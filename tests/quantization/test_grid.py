from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.quantization.grid import (
    SMALLEST_SCALE,
    Range,
    activation_grid,
    quantize_weight,
    range_of,
    weight_scales,
)
from compress.target.target import TENSORRT_FLAVOUR, QuantizationFlavour

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)
S8S8 = replace(U8S8, activation="int8")

values = st.floats(-1e30, 1e30, allow_nan=False)


@given(first=values, second=values)
@pytest.mark.parametrize("flavour", [U8S8, S8S8, TENSORRT_FLAVOUR], ids=["u8", "s8", "symmetric"])
def test_every_range_has_a_usable_grid_with_zero_on_it(flavour, first, second):
    low, high = min(first, second), max(first, second)
    grid = activation_grid(Range(low, high), flavour)
    assert grid.scale >= SMALLEST_SCALE
    assert np.float32(grid.scale) == grid.scale
    assert np.dtype(flavour.activation) == np.min_scalar_type(-1 if flavour.activation == "int8" else 1)
    assert grid.lowest <= grid.zero_point <= grid.highest
    assert grid.round(np.zeros(1)) == 0
    inside = np.array([low, high])
    # No point of the range is further from the grid than a step: half of it, and half for the zero point.
    assert np.all(np.abs(grid.round(inside) - inside) <= 1.01 * grid.scale)


@given(high=st.floats(1e-3, 1e6))
def test_a_grid_from_zero_up_never_reaches_beyond_the_range(high):
    high = float(np.float32(high))
    grid = activation_grid(Range(0, high), U8S8)
    assert grid.zero_point == 0
    assert np.float32(grid.scale) * np.float32(255) <= np.float32(high)


def test_a_grid_that_rounding_would_push_beyond_the_range_is_one_step_of_float32_finer():
    scale = np.float32(np.float64(np.float32(7.97)) / 255)
    assert scale * np.float32(255) > np.float32(7.97)
    assert activation_grid(Range(0, float(np.float32(7.97))), U8S8).scale == np.nextafter(
        scale, np.float32(0)
    )


@given(first=values, second=values)
@pytest.mark.parametrize("flavour", [U8S8, S8S8, TENSORRT_FLAVOUR], ids=["u8", "s8", "symmetric"])
def test_a_grid_has_a_range_that_gives_it_back(flavour, first, second):
    grid = activation_grid(Range(min(first, second), max(first, second)), flavour)
    assert activation_grid(range_of(grid, flavour), flavour) == grid


def test_symmetric_grids_have_zero_point_zero_whatever_the_range():
    assert activation_grid(Range(2, 9), TENSORRT_FLAVOUR).zero_point == 0
    assert activation_grid(Range(-5, 1), TENSORRT_FLAVOUR).scale == np.float32(5 / 127)


def test_a_grid_of_uint8_without_negative_values_uses_all_its_steps():
    grid = activation_grid(Range(0, 255), U8S8)
    np.testing.assert_array_equal(grid.quantize(np.array([-3.0, 0.4, 254.6, 300.0])), [0, 0, 255, 255])


class TestWeights:
    weight = np.array([[[0.5, -1.0]], [[0.0, 0.0]], [[30.0, 20.0]]], np.float32)  # [3, 1, 2]

    def test_one_scale_for_each_channel(self):
        scales = weight_scales(self.weight, 0, U8S8)
        np.testing.assert_allclose(scales[[0, 2]], [1 / 127, 30 / 127], rtol=1e-6)
        integers = quantize_weight(self.weight, scales, 0)
        assert integers.dtype == np.int8
        np.testing.assert_array_equal(integers, [[[64, -127]], [[0, 0]], [[127, 85]]])

    def test_one_scale_in_all(self):
        scale = weight_scales(self.weight, None, U8S8)
        assert scale.shape == ()
        assert scale == np.float32(30 / 127)

    def test_a_reduced_range_uses_seven_bits(self):
        flavour = replace(U8S8, reduce_range=True)
        integers = quantize_weight(self.weight, weight_scales(self.weight, 0, flavour), 0)
        assert np.abs(integers).max() == 63

    def test_a_channel_of_zeros_has_no_subnormal_scale(self):
        assert weight_scales(self.weight, 0, U8S8)[1] == np.float32(SMALLEST_SCALE)

    def test_weights_beyond_a_learned_scale_saturate(self):
        scales = np.full(3, 0.1, np.float32)
        integers = quantize_weight(self.weight, scales, 0, highest=63)
        np.testing.assert_array_equal(integers, [[[5, -10]], [[0, 0]], [[63, 63]]])
