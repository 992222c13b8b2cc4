"""Sizes of open axes: from the data, from --shape, and between inputs that share an axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compress.cli.shape_option import read_shapes
from compress.core.tensor_spec import TensorSpec
from compress.data import open_data
from compress.data.binding import bind_split
from compress.data.sizes import Asked, input_ranges, resized
from compress.errors import DataError, UsageError
from compress.target.shape_ranges import ShapeRange

IMAGE = TensorSpec("x", "float32", ("batch", 3, "height", "width"))
IDS = TensorSpec("ids", "int64", ("batch", "length"))
MASK = TensorSpec("mask", "int64", ("batch", "length"))


def images(*sizes: tuple[int, int]) -> list[dict[str, np.ndarray]]:
    return [{"x": np.zeros((2, 3, *size), np.float32)} for size in sizes]


def ranges(data: Any, *inputs: TensorSpec, given_sizes: Asked | None = None) -> dict[str, ShapeRange]:
    splits = () if data is None else (bind_split(open_data(data), inputs, "data"),)
    return input_ranges(inputs, splits, (1, 8), given_sizes)


def test_the_smallest_the_commonest_and_the_largest_of_the_data() -> None:
    found = ranges(images((32, 48), (16, 64), (32, 48), (24, 20)), IMAGE)["x"]
    assert found == ShapeRange((1, 3, 16, 20), (1, 3, 32, 48), (8, 3, 32, 64), 0)
    assert str(found) == "1x3x16x20 to 8x3x32x64"
    assert not found.one_size


def test_data_of_one_size_is_one_size_for_any_number_of_samples() -> None:
    found = ranges({"x": np.zeros((5, 3, 32, 48), np.float32)}, IMAGE)["x"]
    assert found.one_size
    assert (found.smallest, found.largest) == ((1, 3, 32, 48), (8, 3, 32, 48))


def test_a_fixed_number_of_samples_stays_that() -> None:
    spec = TensorSpec("x", "float32", (1, 3, 32, "width"))
    found = ranges(images((32, 48), (32, 20), (32, 48)), spec)["x"]
    assert found == ShapeRange((1, 3, 32, 20), (1, 3, 32, 48), (1, 3, 32, 48), None)


def test_samples_along_another_axis() -> None:
    spec = TensorSpec("x", "float32", ("time", "batch", 4))
    data = [{"x": np.zeros((2, length, 4), np.float32)} for length in (9, 9, 5)]
    assert ranges(data, spec)["x"] == ShapeRange((5, 1, 4), (9, 1, 4), (9, 8, 4), 1)


def test_nothing_is_told_where_only_the_number_of_samples_is_open() -> None:
    fixed = TensorSpec("x", "float32", ("batch", 3, 8, 8))
    assert ranges({"x": np.zeros((5, 3, 8, 8), np.float32)}, fixed) == {}
    # and every input is told where another one needs it: all have as many samples
    both = ranges({"x": np.zeros((5, 3, 8, 8), np.float32), "ids": np.zeros((5, 7), np.int64)}, fixed, IDS)
    assert (both["x"].largest, both["ids"].largest) == ((8, 3, 8, 8), (8, 7))


def test_a_state_without_samples_keeps_its_size() -> None:
    state = TensorSpec("state", "float32", ("rows", 4))
    data = {"ids": np.zeros((6, 7), np.int64), "state": np.ones((6, 20, 4), np.float32)}
    found = ranges(data, IDS, state)["state"]
    assert found == ShapeRange((20, 4), (20, 4), (20, 4), None)


def test_the_user_says_a_range_and_the_data_what_is_usual() -> None:
    data = {"x": np.zeros((5, 3, 32, 48), np.float32)}
    asked = {"x": [(1, 3, 16, 16), (1, 3, 64, 64)]}
    assert ranges(data, IMAGE, given_sizes=asked)["x"] == ShapeRange(
        (1, 3, 16, 16), (1, 3, 32, 48), (8, 3, 64, 64), 0
    )
    assert ranges(None, IMAGE, given_sizes=asked)["x"].usual == (1, 3, 64, 64)
    three = {"": [(1, 3, 16, 16), (1, 3, 24, 24), (4, 3, 64, 64)]}
    assert ranges(data, IMAGE, given_sizes=three)["x"].usual == (1, 3, 24, 24)
    many = {"x": [(1, 3, 32, 48), (16, 3, 32, 48)]}
    assert ranges(data, IMAGE, given_sizes=many)["x"].largest == (16, 3, 32, 48)


def test_inputs_share_the_axes_of_one_name() -> None:
    data = {"ids": np.zeros((5, 7), np.int64), "mask": np.ones((5, 7), np.int64)}
    found = ranges(data, IDS, MASK, given_sizes={"ids": [(1, 1), (1, 128)]})
    assert found["mask"] == found["ids"] == ShapeRange((1, 1), (1, 7), (8, 128), 0)
    assert ranges(None, IDS, MASK, given_sizes={"ids": [(1, 9)]})["mask"].one_size


def test_what_nothing_tells_is_left_out() -> None:
    assert ranges(None, IMAGE) == {}
    assert set(ranges(None, IMAGE, IDS, given_sizes={"ids": [(1, 9)]})) == {"ids"}


@pytest.mark.parametrize(
    "asked, told",
    [
        ({"y": [(1, 3, 8, 8)]}, "--shape of an input of the network; found 'y'"),
        ({"x": [(1, 3, 8)]}, "--shape that fits x"),
        ({"x": [(1, 1, 8, 8)]}, "--shape that fits x"),
        ({"x": [(1, 3, 9, 9), (1, 3, 8, 10)]}, "the smallest shape first"),
        ({"x": [(1, 3, 8, 8), (1, 3, 9)]}, "--shape of the form"),
        ({"x": [(1, 3, 8, 8)] * 4}, "--shape of the form"),
    ],
)
def test_a_shape_that_fits_no_input_is_refused(asked: Asked, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        ranges(images((8, 8)), IMAGE, given_sizes=asked)


def test_a_shape_without_a_name_is_for_an_only_input() -> None:
    with pytest.raises(UsageError, match="write --shape ids="):
        ranges(None, IDS, MASK, given_sizes={"": [(1, 9)]})


def test_data_outside_of_what_is_asked_is_refused() -> None:
    with pytest.raises(DataError, match="a sample of 1x3x64x64; widen --shape"):
        ranges(images((8, 8), (64, 64)), IMAGE, given_sizes={"x": [(1, 3, 8, 8), (1, 3, 32, 32)]})


def test_the_option_is_read() -> None:
    assert read_shapes(()) is None
    assert read_shapes(("x=1x3x8x8", "1X3x8x8..1x3x9x9")) == {
        "x": [(1, 3, 8, 8)],
        "": [(1, 3, 8, 8), (1, 3, 9, 9)],
    }
    for wrong in ("x=1x3x", "x=", "x=0x3", "x=1x3..", "x=1x-3", "axb"):
        with pytest.raises(UsageError, match="--shape of the form"):
            read_shapes((wrong,))
    with pytest.raises(UsageError, match="one --shape of 'x'; found two"):
        read_shapes(("x=1x3", "x=1x4"))


def test_an_example_of_another_size_holds_the_values_of_the_first() -> None:
    example = {"ids": np.arange(10).reshape(2, 5)}
    longer = resized(example, {"ids": [(1, 5), (1, 7)]}, {})
    assert longer is not None
    np.testing.assert_array_equal(longer["ids"], [[0, 1, 2, 3, 4, 0, 1], [5, 6, 7, 8, 9, 5, 6]])
    shorter = resized(example, {"": [(1, 3), (1, 5)]}, {})
    assert shorter is not None
    np.testing.assert_array_equal(shorter["ids"], [[0, 1, 2], [5, 6, 7]])
    assert resized(example, {"ids": [(1, 5)]}, {}) is None
    along = resized(example, {"ids": [(5, 1), (7, 1)]}, {"": 1})
    assert along is not None
    assert along["ids"].shape == (2, 7)
