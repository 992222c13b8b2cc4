"""Arrays in memory and in .npz files, whole, damaged and hostile."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compress.data import Split, open_data
from compress.data.arrays import ArraySplit, read_npz
from compress.errors import CompressError, DataError


def _save(path: Path, compressed: bool = False, **arrays: Any) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.fixture
def x() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(10, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("compressed", [False, True])
def test_an_npz_gives_back_what_was_saved(tmp_path: Path, x: np.ndarray[Any, Any], compressed: bool) -> None:
    split = open_data(_save(tmp_path / "val.npz", compressed, x=x, y=np.arange(10, dtype=np.uint8)))
    (batch,) = split.batches(100)
    assert np.array_equal(batch.inputs["x"], x)
    assert batch.targets is not None
    assert batch.targets.dtype == np.int64
    assert split.labels is not None
    assert split.labels.tolist() == list(range(10))
    assert split.labelled
    assert dict(split.origin) == {"kind": "npz", "path": str(tmp_path / "val.npz")}


def test_the_ending_does_not_matter(tmp_path: Path, x: np.ndarray[Any, Any]) -> None:
    path = _save(tmp_path / "val.npz", x=x).rename(tmp_path / "val.data")
    assert len(open_data(path)) == 10


def test_column_major_and_foreign_byte_order_are_read(tmp_path: Path, x: np.ndarray[Any, Any]) -> None:
    arrays = read_npz(_save(tmp_path / "f.npz", x=np.asfortranarray(x)))
    assert np.array_equal(arrays["x"], x)
    (batch,) = open_data(_save(tmp_path / "b.npz", x=x.astype(">f4"))).batches(10)
    assert batch.inputs["x"].dtype.isnative
    assert np.array_equal(batch.inputs["x"], x)


def test_several_inputs_by_name(tmp_path: Path) -> None:
    path = _save(tmp_path / "val.npz", ids=np.zeros((4, 7), np.int32), mask=np.ones((4, 7), bool))
    split = open_data(path)
    assert set(next(split.batches(2)).inputs) == {"ids", "mask"}
    assert not split.labelled
    assert split.labels is None


def test_batches_cover_everything_in_order(x: np.ndarray[Any, Any]) -> None:
    split = open_data((x, np.arange(10)))
    sizes = [len(batch) for batch in split.batches(4)]
    assert sizes == [4, 4, 2]
    assert np.array_equal(np.concatenate([batch.inputs["x"] for batch in split.batches(4)]), x)


def test_a_subset_keeps_order_and_may_repeat(x: np.ndarray[Any, Any]) -> None:
    split = open_data((x, np.arange(10)))
    subset = split.take([7, 2, 2]).take([1, 0])
    (batch,) = subset.batches(5)
    assert np.array_equal(batch.inputs["x"], x[[2, 7]])
    assert subset.labels is not None
    assert subset.labels.tolist() == [2, 7]


@pytest.mark.parametrize("indices", [[-1], [10]])
def test_a_subset_stays_inside(x: np.ndarray[Any, Any], indices: list[int]) -> None:
    with pytest.raises(IndexError):
        open_data(x).take(indices)


def test_the_hash_is_of_inputs_targets_and_order(x: np.ndarray[Any, Any]) -> None:
    y = np.arange(10)
    same = open_data((x, y)).sha256
    assert open_data({"x": x.copy(), "y": y.astype(np.int32)}).sha256 == same
    assert open_data((x[::-1], y[::-1])).sha256 != same
    assert open_data((x, y[::-1])).sha256 != same
    assert open_data(x).sha256 != same
    assert open_data((x.reshape(10, 4, 3), y)).sha256 != same


@pytest.mark.parametrize("hashed_before", [True, False])
def test_a_subset_hashes_as_the_same_data_alone(x: np.ndarray[Any, Any], hashed_before: bool) -> None:
    y = np.arange(10)
    whole = open_data((x, y))
    assert not hashed_before or whole.sha256
    assert whole.take([1, 5]).sha256 == open_data((x[[1, 5]], y[[1, 5]])).sha256


def test_float_targets_keep_their_shape(x: np.ndarray[Any, Any]) -> None:
    split = open_data((x, x.sum(axis=2)))
    assert split.labelled
    assert split.labels is None
    targets = next(split.batches(10)).targets
    assert targets is not None
    assert targets.shape == (10, 3)


def test_a_column_of_labels_becomes_labels(x: np.ndarray[Any, Any]) -> None:
    labels = open_data((x, np.arange(10).reshape(10, 1))).labels
    assert labels is not None
    assert labels.shape == (10,)


def test_tensors_are_taken_without_naming_torch() -> None:
    torch = pytest.importorskip("torch")
    x = torch.ones(4, 2, requires_grad=True)
    (batch,) = open_data((x, torch.arange(4))).batches(4)
    assert np.array_equal(batch.inputs["x"], np.ones((4, 2)))
    with pytest.raises(DataError, match="'x' as an array of numbers"):
        open_data(torch.ones(4, 2, dtype=torch.bfloat16))


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x": np.zeros((4, 2)), "y": np.zeros(3)}, "the same number of samples.*x: 4, y: 3"),
        ({"x": np.array([[1.0, np.nan], [0, 0]])}, "NaN or infinity in 'x', sample 0"),
        ({"x": np.array([[1.0, 0], [0, np.inf]])}, "NaN or infinity in 'x', sample 1"),
        ({"x": np.zeros(3), "y": np.array([0, np.nan, 0])}, "NaN or infinity in 'y', sample 1"),
        ({"y": np.zeros(3)}, "at least one input"),
        ({"x": np.float32(3)}, "a single number"),
        ({"x": np.array(["a", "b"])}, "dtype <U1"),
        ({"x": np.zeros(3, complex)}, "dtype complex128"),
        ({"x": np.array([{}, {}], object)}, "dtype object"),
        ({"x": [[1, 2], [3]]}, "'x' as an array of numbers"),
        ({"x": np.zeros(2), "y": np.array([0, 2**63], np.uint64)}, "below 2"),
    ],
)
def test_what_is_not_data_is_told(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(arrays)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    path = _save(tmp_path / "val.npz", x=np.array([open], dtype=object))
    with pytest.raises(DataError, match="Python objects, which would run code"):
        open_data(path)


def test_arrays_without_names_are_refused(tmp_path: Path, x: np.ndarray[Any, Any]) -> None:
    np.savez(tmp_path / "val.npz", x, np.arange(10))
    with pytest.raises(DataError, match=r"arr_0, arr_1.*np\.savez\(path, x=…, y=…\)"):
        open_data(tmp_path / "val.npz")


def test_a_single_npy_is_told_apart(tmp_path: Path, x: np.ndarray[Any, Any]) -> None:
    np.save(tmp_path / "val.npy", x)
    with pytest.raises(DataError, match="a single array without a name"):
        open_data(tmp_path / "val.npy")


def test_a_network_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a PyTorch file"):
        open_data(_zip(tmp_path / "net.pt", {"net/data.pkl": b"", "net/version": b"3"}))


@pytest.mark.parametrize(
    "members, found",
    [({}, "a zip file without members"), ({"x.npy": b"", "readme.txt": b""}, "'readme.txt' in")],
)
def test_a_zip_without_arrays_is_told(tmp_path: Path, members: dict[str, bytes], found: str) -> None:
    path = _zip(tmp_path / "a.zip", members)
    with pytest.raises(DataError, match=rf"an \.npz file, which holds arrays alone; found {found}"):
        open_data(path)


def test_a_compression_that_numpy_does_not_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"  # LZMA and bzip2 expand far more than a zip's directory could be checked for
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", _npy(np.zeros(3)))
    with pytest.raises(DataError, match="compressed in a way that NumPy does not write"):
        open_data(path)


def test_npy_versions(tmp_path: Path, x: np.ndarray[Any, Any]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, x, version=(2, 0))
    second = buffer.getvalue()
    assert np.array_equal(read_npz(_zip(tmp_path / "2.npz", {"x.npy": second}))["x"], x)
    third = second.replace(b"\x93NUMPY\x02", b"\x93NUMPY\x03")
    with pytest.raises(DataError, match=r"version \(3, 0\)"):
        read_npz(_zip(tmp_path / "3.npz", {"x.npy": third}))


def test_a_member_that_ends_early_is_damaged(tmp_path: Path, x: np.ndarray[Any, Any]) -> None:
    path, short = tmp_path / "a.npz", _npy(x)[:-4]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", short)
    # The directory promises the four bytes that the header wants, with a checksum that fits what is there.
    content = path.read_bytes().replace(struct.pack("<I", len(short)), struct.pack("<I", len(short) + 4))
    path.write_bytes(content)
    with pytest.raises(DataError, match="'x' ends early"):
        open_data(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", _npy(np.zeros(3)))
        archive.writestr("x.npy", _npy(np.ones(3)))
    with pytest.raises(DataError, match="a name twice"):
        open_data(path)


def test_a_zip_bomb_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _save(tmp_path / "bomb.npz", compressed=True, x=np.zeros((4, 1 << 20), np.float32))
    assert len(open_data(path)) == 4  # small enough to do no harm
    monkeypatch.setattr("compress.data.arrays._HARMLESS_BYTES", 1 << 20)
    with pytest.raises(DataError, match="at most 200-fold"):
        open_data(path)


def test_more_than_the_memory_is_not_read(
    tmp_path: Path, x: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save(tmp_path / "val.npz", x=x)
    monkeypatch.setattr("compress.data.arrays._memory_bytes", lambda: 100)
    with pytest.raises(DataError, match="memory"):
        open_data(path)


@pytest.mark.parametrize(
    "shape", [b"(9999999999, 3)", b"(4611686018427387904, 8)", b"(-1, 3)", b"(2, 3)", b"(11, 3)"]
)
def test_a_header_that_promises_more_or_less_than_there_is(tmp_path: Path, shape: bytes) -> None:
    honest = _npy(np.zeros((10, 3), np.float32))
    start = honest.index(b"(10, 3)")
    end = honest.index(b"\n")
    lying = honest[:start] + shape + b", }"
    path = _zip(tmp_path / "val.npz", {"x.npy": lying + b" " * (end - len(lying)) + honest[end:]})
    with pytest.raises(DataError, match=r"declares shape|damaged"):
        open_data(path)


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path: Path) -> None:
    path = _save(tmp_path / "val.npz", x=np.zeros((100, 3), np.int32))
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged.*CRC"):
        open_data(path)


def test_a_header_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    code = b"__import__('os').mkdir('pwned')"
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(code)) + code
    with pytest.raises(DataError, match="damaged"):
        open_data(_zip(tmp_path / "val.npz", {"x.npy": header}))


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04", b"\x93NUMPY", b"hello", bytes(100)])
def test_other_bytes_are_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "val.npz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_data(path)
    assert str(path) in str(caught.value)


_HONEST = io.BytesIO()
np.savez_compressed(_HONEST, x=np.arange(60, dtype=np.float32).reshape(20, 3), y=np.arange(20) % 4)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, len(_HONEST.getvalue()) - 1), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, len(_HONEST.getvalue())),
)
def test_a_mutated_npz_is_read_or_told(tmp_path: Path, edits: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(_HONEST.getvalue())
    for position, value in edits:
        content[position] = value
    path = tmp_path / "mutated.npz"
    path.write_bytes(content[:cut] if cut % 2 else content)
    try:
        split: Split = open_data(path)
    except CompressError:
        return
    assert isinstance(split, ArraySplit)
    assert len(split.sha256) == 64


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200),
    magic=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY\x01\x00"]),
)
def test_arbitrary_bytes_are_told(tmp_path: Path, content: bytes, magic: bytes) -> None:
    path = tmp_path / "arbitrary.npz"
    path.write_bytes(magic + content)
    with pytest.raises(CompressError):
        open_data(path)
