"""DataLoaders and other iterables of batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.core.tensor_spec import TensorSpec
from compress.data import open_data
from compress.data.binding import bind_split
from compress.data.loaders import LoaderSplit
from compress.errors import DataError

X = np.arange(60, dtype=np.float32).reshape(20, 3)
Y = np.arange(20) % 4


class Batches:
    """An iterable that can be read again and again, and counts how far it was read."""

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.read = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self.items:
            self.read += 1
            yield item


def _in_batches(size: int) -> Batches:
    return Batches(*((X[start : start + size], Y[start : start + size]) for start in range(0, 20, size)))


@given(stored=st.integers(1, 25), asked=st.integers(1, 25))
def test_batches_are_cut_anew(stored: int, asked: int) -> None:
    split = open_data(_in_batches(stored))
    assert isinstance(split, LoaderSplit)
    batches = list(split.batches(asked))
    assert [len(batch) for batch in batches] == [
        len(X[start : start + asked]) for start in range(0, 20, asked)
    ]
    assert np.array_equal(np.concatenate([batch.inputs["x"] for batch in batches]), X)


@given(stored=st.integers(1, 25), asked=st.integers(1, 25), rows=st.lists(st.integers(0, 19), min_size=1))
def test_a_subset_is_what_the_arrays_subset_is(stored: int, asked: int, rows: list[int]) -> None:
    ours, theirs = open_data(_in_batches(stored)).take(rows), open_data((X, Y)).take(rows)
    assert len(ours) == len(rows)
    assert ours.sha256 == theirs.sha256
    assert np.array_equal(ours.labels, theirs.labels)  # type: ignore[arg-type]
    for one, other in zip(ours.batches(asked), theirs.batches(asked), strict=True):
        assert np.array_equal(one.inputs["x"], other.inputs["x"])
        assert np.array_equal(one.targets, other.targets)  # type: ignore[arg-type]


def test_a_subset_of_a_subset() -> None:
    subset = open_data(_in_batches(6)).take([2, 9, 15]).take([1, 2])
    assert next(subset.batches(5)).inputs["x"].tolist() == X[[9, 15]].tolist()
    assert subset.labels is not None
    assert subset.labels.tolist() == Y[[9, 15]].tolist()


def test_a_subset_without_labels() -> None:
    subset = open_data(Batches(X[:9], X[9:])).take([3, 12])
    assert subset.labels is None
    assert next(subset.batches(5)).inputs["x"].tolist() == X[[3, 12]].tolist()


def test_a_subset_reads_no_further_than_it_must() -> None:
    batches = _in_batches(5)
    subset = open_data(batches).take([1, 6])
    batches.read = 0
    (batch,) = subset.batches(9)
    assert batch.inputs["x"].tolist() == X[[1, 6]].tolist()
    assert batches.read == 2


def test_inputs_alone_mappings_and_nested_mappings() -> None:
    assert not open_data(Batches(X, X)).labelled
    assert not open_data(Batches((X,), (X,))).labelled
    assert open_data(Batches({"x": X, "y": Y})).labels is not None
    nested = open_data(Batches(({"ids": X, "mask": X}, Y)))
    assert set(next(nested.batches(1)).inputs) == {"ids", "mask"}
    assert nested.labelled


def test_a_torch_dataloader() -> None:
    data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")
    dataset = data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    split = open_data(data.DataLoader(dataset, batch_size=6))
    assert split.sha256 == open_data((X, Y)).sha256
    with pytest.raises(DataError, match=r"a DataLoader that shuffles.*shuffle=False"):
        open_data(data.DataLoader(dataset, batch_size=6, shuffle=True))
    with pytest.raises(DataError, match="wrap it in a DataLoader"):
        open_data(dataset)


def test_shuffling_of_any_kind_is_found() -> None:
    class Shuffled:
        passes = 0

        def __iter__(self) -> Iterator[Any]:
            self.passes += 1
            yield np.roll(X, self.passes, axis=0), Y

    with pytest.raises(DataError, match="the same samples on every pass"):
        open_data(Shuffled())


def test_a_later_batch_that_changes_is_found() -> None:
    batches = _in_batches(5)
    split = open_data(batches)
    batches.items = (*batches.items[:3], batches.items[0])
    with pytest.raises(DataError, match="the same samples on every pass"):
        list(split.batches(5))


@pytest.mark.parametrize("change", [slice(0, 3), slice(0, 0)])
def test_samples_that_vanish_are_found(change: slice) -> None:
    batches = _in_batches(5)
    split = open_data(batches)
    batches.items = batches.items[change]
    with pytest.raises(DataError, match=r"20 samples on every pass|batches of samples"):
        list(split.batches(5))


def test_samples_that_are_added_are_found() -> None:
    batches = _in_batches(5)
    split = open_data(batches)
    batches.items = (*batches.items, batches.items[0])
    with pytest.raises(DataError, match="the same samples on every pass"):
        list(split.batches(5))


def test_an_iterator_is_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_data(iter(_in_batches(6))).sha256 == open_data((X, Y)).sha256
    monkeypatch.setattr("compress.data.loaders.MAX_ITERATOR_BYTES", 100)
    with pytest.raises(DataError, match="can be read only once"):
        open_data(iter(_in_batches(6)))


@pytest.mark.parametrize(
    "items, message",
    [
        ((), "batches of samples; found none"),
        (((X[:0], Y[:0]),), "batches of samples; found none"),
        (((X, Y), (X[:, :2, None], Y)), "batches like the first"),
        (((X, Y), (X, Y.astype(np.float32))), "batches like the first"),
        (((X, Y), (X,)), "batches like the first"),
        (((X, Y, Y),), "tuple of 3"),
        (("text",), "str of 4"),
        (((X[0], 3),), "give batches"),
        (((X * np.nan, Y),), "NaN or infinity"),
    ],
)
@pytest.mark.parametrize("once", [False, True])
def test_what_is_not_batches_is_told(items: tuple[Any, ...], message: str, once: bool) -> None:
    with pytest.raises(DataError, match=message):
        open_data(iter(items) if once else Batches(*items))


def test_an_error_of_ours_from_the_users_code_stays_as_it_is() -> None:
    class Missing:
        def __iter__(self) -> Iterator[Any]:
            yield X, Y
            raise DataError("a file", "none", "look")

    with pytest.raises(DataError, match=r"^wanted a file; found none; look$"):
        open_data(Missing())


def test_a_failure_of_the_users_code_is_one_line_with_its_cause() -> None:
    class Broken:
        def __iter__(self) -> Iterator[Any]:
            yield X, Y
            raise OSError("disk\ngone")

    with pytest.raises(DataError, match="OSError in the data given: disk gone") as caught:
        open_data(Broken())
    assert isinstance(caught.value.__cause__, OSError)


class TestDifferentLengths:
    LENGTHS = (5, 5, 9, 9, 9, 3)

    def batches(self, rows: int = 2) -> list[tuple[np.ndarray, np.ndarray]]:
        random = np.random.default_rng(0)
        return [
            (random.random((rows, length, 4), np.float32), np.full(rows, index % 3))
            for index, length in enumerate(self.LENGTHS)
        ]

    def test_batches_end_where_the_length_changes_and_keep_the_order(self) -> None:
        split = open_data(self.batches())
        assert len(split) == 12
        found = list(split.batches(4))
        assert [batch.inputs["x"].shape[:2] for batch in found] == [(4, 5), (4, 9), (2, 9), (2, 3)]
        np.testing.assert_array_equal(np.concatenate([batch.targets for batch in found]), split.labels)

    def test_a_generator_of_them_is_kept(self) -> None:
        split = open_data(iter(self.batches()))
        assert [batch.inputs["x"].shape[1] for batch in split.batches(100)] == [5, 9, 3]

    def test_rows_are_taken_in_any_order(self) -> None:
        split = open_data(self.batches())
        taken = split.take([11, 0, 4])
        assert [batch.inputs["x"].shape for batch in taken.batches(8)] == [(1, 3, 4), (1, 5, 4), (1, 9, 4)]
        whole = [batch.rows(slice(row, row + 1)) for batch in split.batches(1) for row in range(len(batch))]
        for batch, row in zip(taken.batches(8), (11, 0, 4), strict=True):
            np.testing.assert_array_equal(batch.inputs["x"], whole[row].inputs["x"])

    def test_the_network_says_which_lengths_it_takes(self) -> None:
        split = open_data(self.batches())
        any_length = bind_split(split, [TensorSpec("x", "float32", ("batch", "steps", 4))], "data")
        assert sum(len(batch) for batch in any_length.batches(8)) == 12
        five = bind_split(split, [TensorSpec("x", "float32", ("batch", 5, 4))], "data")
        with pytest.raises(DataError, match="9"):
            list(five.batches(8))
