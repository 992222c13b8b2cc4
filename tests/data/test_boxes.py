"""Boxes as targets: in memory, and flat in .npz files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.core.tensor_spec import TensorSpec
from compress.data import Batch, Split, open_data
from compress.data.binding import bind_split
from compress.data.boxes import is_ragged, ragged
from compress.errors import DataError

Array = np.ndarray[Any, Any]

X = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
BOXES = [
    np.array([[0.0, 0, 4, 4, 1], [2, 2, 8, 8, 0]]),
    np.zeros((0, 5)),
    np.array([[1.0, 1, 5, 6, 2]]),
    np.array([[0.0, 3, 4, 7, 0]]),
]


def _targets(split: Split, size: int = 3) -> list[Array]:
    batches = list(split.batches(size))
    for batch in batches:
        assert batch.targets is not None
        assert batch.targets.dtype == object
        assert batch.targets.shape == (len(batch),)
    return [row for batch in batches if batch.targets is not None for row in batch.targets]


def _assert_boxes(split: Split, wanted: list[Array] = BOXES) -> None:
    found = _targets(split)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == np.float64
        assert np.array_equal(ours, theirs)


def _flat() -> dict[str, Array]:
    return {"boxes": np.vstack(BOXES), "boxes_of": np.repeat(np.arange(4), [len(each) for each in BOXES])}


def test_a_list_for_each_sample() -> None:
    split = open_data((X, BOXES))
    assert split.labelled
    assert split.labels is None
    _assert_boxes(split)
    _assert_boxes(split.take([2, 0, 0]), [BOXES[2], BOXES[0], BOXES[0]])
    _assert_boxes(open_data({"x": X, "y": ragged(BOXES)}))


def test_torchvisions_form() -> None:
    torch = pytest.importorskip("torch")
    targets = [
        {"boxes": torch.from_numpy(each[:, :4]), "labels": torch.from_numpy(each[:, 4].astype(np.int64))}
        for each in BOXES
    ]
    _assert_boxes(open_data((X, targets)))
    with pytest.raises(DataError, match=r"boxes \(k, 4\) and labels \(k,\)"):
        open_data((X, [{"boxes": np.zeros((2, 4)), "labels": np.zeros(3)}] * 4))


def test_a_file_holds_them_flat(tmp_path: Path) -> None:
    np.savez(tmp_path / "val.npz", x=X, **_flat())
    split = open_data(tmp_path / "val.npz")
    _assert_boxes(split)
    assert split.sha256 == open_data((X, BOXES)).sha256


def test_the_order_of_flat_boxes_does_not_matter_across_samples() -> None:
    flat, order = _flat(), [2, 0, 3, 1]
    _assert_boxes(open_data({"x": X, **{name: array[order] for name, array in flat.items()}}))


def test_objects_in_a_file_are_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "val.npz", x=X, y=ragged(BOXES))
    with pytest.raises(DataError, match="Python objects, which would run code"):
        open_data(tmp_path / "val.npz")


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_loader_yields_them(batch_size: int) -> None:
    loader = [(X[i : i + batch_size], BOXES[i : i + batch_size]) for i in range(0, 4, batch_size)]
    split = open_data(loader)
    _assert_boxes(split)
    _assert_boxes(split.take([3, 1]), [BOXES[3], BOXES[1]])
    _assert_boxes(open_data(iter(loader)))


def test_the_hash_is_of_every_box() -> None:
    digest = open_data((X, BOXES)).sha256
    moved = [each.copy() for each in BOXES]
    moved[2][0, 3] += 0.25
    assert open_data((X, moved)).sha256 != digest
    assert open_data((X, [BOXES[1], BOXES[0], *BOXES[2:]])).sha256 != digest
    assert open_data((X, BOXES)).take([0, 1, 2, 3]).sha256 == digest


def test_a_network_is_bound_to_them() -> None:
    bound = bind_split(open_data((X, BOXES)), [TensorSpec("images", "float32", ("batch", 3, 8, 8))], "data")
    _assert_boxes(bound)
    batch = next(bound.batches(4))
    assert set(batch.inputs) == {"images"}
    joined = Batch.joined([batch, batch])
    assert joined.targets is not None
    assert joined.targets.shape == (8,)


@given(lengths=st.lists(st.integers(0, 3), min_size=2, max_size=6))
def test_any_number_of_boxes_is_kept(lengths: list[int]) -> None:
    boxes = [np.tile([0.0, 0, 1, 1, 2], (length, 1)) for length in lengths]
    split = open_data((np.zeros((len(lengths), 2)), boxes))
    assert [len(each) for each in _targets(split, 4)] == lengths


@pytest.mark.parametrize(
    "value, ragged_",
    [
        ([np.zeros((2, 5)), np.zeros((2, 5))], True),
        ([np.zeros((2, 6))], True),
        ([np.zeros((2, 5), int)], False),  # maps of class numbers
        ([np.zeros((2, 4))], False),
        ([], False),
        (np.zeros((2, 3, 5)), False),
        (np.array(["cat", "dog"], dtype=object), False),
        ([[0.0, 1.0]], False),
    ],
)
def test_what_counts_as_boxes(value: Any, ragged_: bool) -> None:
    assert is_ragged(value) == ragged_


def _boxes(*box: float) -> list[Array]:
    return [np.array([box], dtype=np.float64), *BOXES[1:]]


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"y": _boxes(0, 0, np.nan, 4, 1)}, "NaN or infinity for sample 0"),
        ({"y": _boxes(5, 0, 4, 4, 1)}, r"x1 < x2 and y1 < y2.*\[5.0, 0.0, 4.0, 4.0\] for sample 0"),
        ({"y": _boxes(0, 4, 4, 4, 1)}, "x1 < x2 and y1 < y2"),
        ({"y": _boxes(0, 0, 4, 4, -1)}, "class numbers from 0; found -1"),
        ({"y": _boxes(0, 0, 4, 4, 1.5)}, "class numbers from 0; found 1.5"),
        ({"y": BOXES[:3]}, "the same number of samples"),
        ({**_flat(), "y": np.zeros(4)}, "targets of one kind"),
        ({**_flat(), "boxes_of": np.array([0, 0, 2, 4])}, "boxes_of from 0 to 3, the samples; found 0 to 4"),
        ({**_flat(), "boxes_of": np.array([0, 0, 2])}, r"boxes \(total, 5 or 6\)"),
        ({**_flat(), "boxes_of": np.zeros(4)}, "integers boxes_of"),
        ({**_flat(), "boxes": np.zeros((4, 4))}, "boxes .k, 5 or 6. of each sample"),
        ({**_flat(), "boxes": np.array([["a"] * 5] * 4)}, "boxes as numbers"),
    ],
)
def test_wrong_boxes_are_told(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data({"x": X, **arrays})


def test_an_input_may_be_called_boxes() -> None:
    split = open_data({"x": X, "boxes": np.zeros((4, 9, 4), np.float32)})
    assert not split.labelled
    assert set(next(split.batches(2)).inputs) == {"x", "boxes"}
