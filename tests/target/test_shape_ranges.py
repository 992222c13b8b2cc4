"""What is known of the shapes that engines take, and what is told of it."""

from __future__ import annotations

import json

from compress.core.tensor_spec import TensorSpec
from compress.target.shape_ranges import ShapeRange, range_notes, recorded_ranges, usual_shapes

RANGE = ShapeRange((1, 3, 8, 8), (1, 3, 16, 8), (8, 3, 32, 8), 0)


def test_a_shape_lies_inside_whatever_the_number_of_samples() -> None:
    assert RANGE.takes((100, 3, 32, 8))
    assert not RANGE.takes((1, 3, 33, 8))
    assert not RANGE.takes((1, 3, 16))
    fixed = ShapeRange((1, 8), (1, 8), (1, 9), None)
    assert not fixed.takes((2, 8))


def test_it_fits_inputs_of_the_same_fixed_axes() -> None:
    assert RANGE.fits(TensorSpec("x", "float32", ("batch", 3, "h", 8)))
    assert not RANGE.fits(TensorSpec("x", "float32", ("batch", 3, 16, 8)))
    assert not RANGE.fits(TensorSpec("x", "float32", ("batch", 1, "h", 8)))
    assert not RANGE.fits(TensorSpec("x", "float32", ("batch", "h")))


def test_only_what_fits_is_fed() -> None:
    inputs = [TensorSpec("x", "float32", ("batch", 3, "h", 8)), TensorSpec("y", "float32", (4,))]
    assert usual_shapes({"x": RANGE, "y": RANGE}, inputs) == (("x", (1, 3, 16, 8)),)


def test_a_manifest_gives_back_what_was_written() -> None:
    written = json.loads(json.dumps({"target": {"input_shapes": {"x": RANGE.to_dict()}}}))
    assert recorded_ranges(written) == {"x": RANGE}
    for other in ({}, {"target": {}}, {"target": {"input_shapes": {"x": {"smallest": [1]}}}}):
        assert recorded_ranges(other) == {}


def test_the_sizes_are_told_in_one_line() -> None:
    (told,) = range_notes({"x": RANGE})
    assert "x 1x3x8x8 to 8x3x32x8 (fastest at 1x3x16x8)" in told
    assert "--shape" in told
    assert range_notes({}) == ()
