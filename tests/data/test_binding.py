"""Data under a network's names, shapes and dtypes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.core.tensor_spec import TensorSpec
from compress.data import open_data
from compress.data.binding import bind_split
from compress.errors import DataError


def _spec(name: str, dtype: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, dtype, ("batch", *shape))


def test_a_single_input_is_renamed() -> None:
    split = bind_split(open_data(np.zeros((4, 3), np.float32)), [_spec("image", "float32", 3)], "data")
    assert set(next(split.batches(2)).inputs) == {"image"}


def test_labels_hashes_and_subsets_are_those_of_the_data() -> None:
    data = open_data((np.arange(12.0).reshape(4, 3), np.arange(4)))
    split = bind_split(data, [_spec("image", "float32", 3)], "data")
    assert len(split) == 4
    assert split.sha256 == data.sha256
    assert split.digests == data.digests
    assert split.labelled
    assert split.labels is data.labels
    assert split.origin == data.origin
    subset = split.take([2])
    assert next(subset.batches(2)).inputs["image"].tolist() == [[6, 7, 8]]
    assert subset.sha256 == data.take([2]).sha256


@pytest.mark.parametrize(
    "found, wanted",
    [
        ("float64", "float32"),
        ("float16", "float32"),
        ("float32", "float16"),
        ("int32", "int64"),
        ("int64", "int32"),
        ("uint8", "int64"),
        ("float32", "float32"),
    ],
)
def test_widths_are_adapted(found: str, wanted: str) -> None:
    data = open_data(np.arange(12).reshape(4, 3).astype(found))
    batch = next(bind_split(data, [_spec("x", wanted, 3)], "data").batches(4))
    assert batch.inputs["x"].dtype == wanted
    assert np.array_equal(batch.inputs["x"], np.arange(12).reshape(4, 3))


@pytest.mark.parametrize(
    "values, found, wanted, message",
    [
        ([0, 255], "uint8", "float32", r"found uint8; scale it .*x\.astype\('float32'\) / 255"),
        ([0, 255], "int64", "float32", "scale it as for training"),
        ([True, False], "bool", "float32", "found bool; scale it"),
        ([1.0, 2.0], "float32", "int64", "found float32; save it as int64"),
        ([0, 1], "int64", "bool", "save it as bool"),
        ([0, 2**40], "int64", "int32", "values that int32 can hold.*from 0 to 1099511627776"),
        ([0, -1], "int64", "uint8", "values that uint8 can hold.*from -1 to 0"),
        ([0, -1], "int64", "uint64", "values that uint64 can hold"),
        ([0, 1e6], "float32", "float16", "values that float16 can hold"),
        ([0.0, 1.0], "float32", "bfloat16", "export the network with float32 inputs"),
    ],
)
def test_what_would_change_values_is_told(values: list[Any], found: str, wanted: str, message: str) -> None:
    data = open_data(np.array(values, dtype=found).reshape(1, 2))
    with pytest.raises(DataError, match=message):
        bind_split(data, [_spec("x", wanted, 2)], "evaluation data")


def test_a_value_that_does_not_fit_is_found_in_later_batches_too() -> None:
    data = open_data(np.array([[0], [2**40]]))
    split = bind_split(data, [_spec("x", "int32", 1)], "data")
    with pytest.raises(DataError, match="int32 can hold"):
        list(split.batches(1))


@given(
    value=st.integers(-(2**63), 2**63 - 1),
    wanted=st.sampled_from(["int8", "uint8", "int32", "uint32", "uint64"]),
)
def test_integers_are_cast_exactly_or_not_at_all(value: int, wanted: str) -> None:
    data, limits = open_data(np.array([[value]])), np.iinfo(wanted)
    if limits.min <= value <= limits.max:
        batch = next(bind_split(data, [_spec("x", wanted, 1)], "data").batches(1))
        assert int(batch.inputs["x"][0, 0]) == value
    else:
        with pytest.raises(DataError):
            bind_split(data, [_spec("x", wanted, 1)], "data")


def test_a_dtype_that_fits_stays_whatever_it_is() -> None:
    mask = np.array([[True, False], [False, True]])
    batch = next(bind_split(open_data(mask), [_spec("mask", "bool", 2)], "data").batches(2))
    assert np.array_equal(batch.inputs["mask"], mask)


def test_several_inputs_are_matched_by_name() -> None:
    inputs = [_spec("mask", "float32", 2), _spec("ids", "int64", 2)]
    data = open_data({"ids": np.ones((4, 2), np.int32), "mask": np.zeros((4, 2), np.float32)})
    batch = next(bind_split(data, inputs, "data").batches(1))
    assert batch.inputs["ids"].tolist() == [[1, 1]]
    for names in (("ids", "masks"), ("ids",), ("ids", "mask", "others")):
        other = open_data({name: np.zeros((4, 2), np.float32) for name in names})
        with pytest.raises(
            DataError, match=r"mask: float32\[batch, 2\], ids: int64.*arrays named ids.*targets y"
        ):
            bind_split(other, inputs, "evaluation data")


@pytest.mark.parametrize(
    "found, wanted, message",
    [
        ((28, 28), (1, 28, 28), r"found float32\[samples, 28, 28\]; add the axis: x\[:, None\]"),
        ((32, 24, 3), (3, 32, 24), r"x\.transpose\(0, 3, 1, 2\)"),
        ((3, 32, 24), (32, 24, 3), r"x\.transpose\(0, 2, 3, 1\)"),
        ((3, 32, 32), (3, "height", 28), "give data of that shape"),
        ((), (1,), r"found float32\[samples\]; add the axis"),
        ((5,), (4,), r"evaluation data for input x: float32\[batch, 4\]; found float32\[samples, 5\]"),
    ],
)
def test_a_wrong_shape_is_told_with_advice(
    found: tuple[int, ...], wanted: tuple[int | str, ...], message: str
) -> None:
    data = open_data(np.zeros((4, *found), np.float32))
    with pytest.raises(DataError, match=message):
        bind_split(data, [_spec("x", "float32", *wanted)], "evaluation data")


def test_a_dynamic_axis_takes_any_length() -> None:
    data = open_data(np.zeros((4, 3, 17), np.float32))
    assert len(bind_split(data, [_spec("x", "float32", 3, "length")], "data")) == 4


def test_images_are_told_which_options_to_set(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / name / "1.png")
    data = open_data(tmp_path)
    with pytest.raises(DataError, match=r'set size = \[28, 32\], mode = "L" in compress-data\.toml'):
        bind_split(data, [_spec("x", "float32", 1, 28, 32)], "evaluation data")
    with pytest.raises(DataError, match=r'size = \[28, 32\], mode = "RGB", layout = "NHWC"'):
        bind_split(data, [_spec("x", "float32", 28, 32, 3)], "evaluation data")
