"""Samples of arrays: in memory, or mapped from an ``.npz`` file, of which a batch is in memory at a time."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from compress.core.bounded_reading import opened_file
from compress.data.checks import checked_batch, labels_of, origin_of_targets, with_targets
from compress.data.split import Array, Batch, Split
from compress.errors import DataError

_SAVE_AS = "save it with np.savez(path, x=…, y=…)"
_READ_AT_ONCE = 1 << 24

#: Arrays from so many bytes on are mapped where they can be; and the bytes of a zip member's local header.
_MAPPED_FROM, _LOCAL_HEADER = 1 << 22, 30

# np.savez_compressed reaches about 1000:1 on constant data only. Below 256 MiB that does no harm.
_MAX_EXPANSION = 200
_HARMLESS_BYTES = 1 << 28


class ArraySplit(Split):
    """Samples of arrays.

    Args:
        samples: All samples; ``rows`` chooses among them.
        origin: Source of the samples; see :class:`Split`.
        rows: Indices into ``samples``; None for all. Arrays are shared between subsets, never copied.
    """

    def __init__(
        self, samples: Batch, origin: Mapping[str, Any], rows: NDArray[np.int64] | None = None
    ) -> None:
        self._samples = samples
        self._rows = rows
        self.origin = origin
        self.labelled = samples.targets is not None
        labels = labels_of(samples.targets)
        self.labels = labels if labels is None or rows is None else labels[rows]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], where: str = "the arrays given") -> ArraySplit:
        """Check and wrap arrays by input name; ``y`` holds the targets, or else ``labels`` or ``label``.

        Raises:
            DataError: See :func:`compress.data.checks.checked_batch`.
        """
        named, targets = with_targets(arrays)
        return cls(checked_batch(named, where), {"kind": "arrays", **origin_of_targets(targets)})

    @classmethod
    def from_npz(cls, path: Path) -> ArraySplit:
        """Read an ``.npz`` file: ``x``, or an array per input name, and ``y`` (``labels``, ``label``) for targets.

        Raises:
            DataError: The file is damaged, too large once expanded, or what it holds is no data.
        """
        arrays = read_npz(path)
        unnamed = [name for name in arrays if name.startswith("arr_")]
        if len(unnamed) > 1:
            raise DataError("arrays with names", f"{', '.join(unnamed)} in {path}", _SAVE_AS)
        named, targets = with_targets(arrays)
        origin = {"kind": "npz", "path": str(path), **origin_of_targets(targets)}
        return cls(checked_batch(named, str(path)), origin)

    def __len__(self) -> int:
        return len(self._samples) if self._rows is None else len(self._rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """See :meth:`Split.batches`."""
        for start in range(0, len(self), size):
            chosen = slice(start, start + size)
            batch = self._samples.rows(chosen if self._rows is None else self._rows[chosen])
            # Rows of a mapped file are read only and may lie at any address.
            yield Batch({name: _own(array) for name, array in batch.inputs.items()}, batch.targets)

    def _taken(self, indices: NDArray[np.int64]) -> ArraySplit:
        rows = indices if self._rows is None else self._rows[indices]
        return ArraySplit(self._samples, self.origin, rows)


def _own(array: Array) -> Array:
    return array if array.flags.writeable else np.array(array)


def read_npz(path: Path) -> dict[str, Array]:
    """Return all arrays of an ``.npz`` file by name, without unpickling anything.

    Large arrays that are stored as they are, as ``np.savez`` does, are mapped: their rows are read when they are used.
    Sizes are compared before memory is taken: what the zip directory declares with the file's own size and
    the machine's memory, and what each array's header declares with its member's. Checksums are verified.

    Raises:
        DataError: The file cannot be read, is damaged, would expand absurdly, or holds more than arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(path, members)
            return {
                member.filename.removesuffix(".npy"): _read_member(path, archive, member)
                for member in members
            }
    except DataError:
        raise
    # zipfile, zlib and NumPy's header parser raise a dozen types on damaged bytes.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise DataError(
            "a whole .npz file", f"{path}, which is damaged ({reason})", "copy or save it again"
        ) from error


def read_npy(path: Path, what: str) -> Array:
    """Return the array of a ``.npy`` file, mapped, without unpickling anything.

    Args:
        path: The file.
        what: Expected content, as a noun phrase, for messages.

    Raises:
        DataError: The file cannot be read, is damaged, or holds objects.
    """
    try:
        with opened_file(path) as file:
            shape, order, dtype, size = _header(file, path.stem, path, os.fstat(file.fileno()).st_size)
            if not size:
                return np.empty(shape, dtype, order)
            return np.memmap(path, dtype, "r", file.tell(), shape, order)
    except DataError:
        raise
    except OSError as error:
        raise DataError(
            f"{what} in a .npy file", f"{path}: {error.strerror or error}", "check the path"
        ) from error
    # NumPy's header parser raises a dozen types on damaged bytes, and its words propose to unpickle them.
    except Exception as error:
        problem = f"{path}, which is damaged or of another kind"
        raise DataError(f"{what} in a .npy file", problem, "save it with np.save") from error


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    if any(name.endswith("data.pkl") for name in names):
        raise DataError(
            "data in an .npz file", f"a PyTorch file, {path}", "give networks as the model, not as data"
        )
    other = next((name for name in names if not name.endswith(".npy")), None)
    if other is not None or not names:
        problem = f"'{other}' in {path}" if other is not None else f"a zip file without members, {path}"
        raise DataError("an .npz file, which holds arrays alone", problem, _SAVE_AS)
    if len(set(names)) < len(names):
        raise DataError("one array a name", f"a name twice in {path}", _SAVE_AS)
    expanded = sum(member.file_size for member in members)
    stored, memory = path.stat().st_size, _memory_bytes()
    if expanded > max(_HARMLESS_BYTES, _MAX_EXPANSION * stored):
        raise DataError(
            f"an .npz file that expands at most {_MAX_EXPANSION}-fold",
            f"{path}, {_size(stored)} that would become {_size(expanded)}",
            "do not open it if it is not yours; else save it with np.savez, not compressed",
        )
    packed = sum(member.file_size for member in members if not _mappable(member))
    if memory is not None and packed > memory:
        raise DataError(
            f"data that fits into this machine's {_size(memory)} of memory",
            f"{_size(packed)} in {path}, compressed",
            "save it with np.savez, not compressed, and it is read batch by batch",
        )


def _mappable(member: zipfile.ZipInfo) -> bool:
    return member.compress_type == zipfile.ZIP_STORED and member.file_size >= _MAPPED_FROM


def _read_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"'{member.filename}' is compressed in a way that NumPy does not write")
    with archive.open(member) as file:
        name = member.filename.removesuffix(".npy")
        shape, order, dtype, size = _header(file, name, path, member.file_size)
        if _mappable(member):
            start = _data_offset(path, member) + file.tell()
            while file.read(_READ_AT_ONCE):  # to the end, where the checksum is verified
                pass
            return np.memmap(path, dtype, "r", start, shape, order)
        content = np.empty(size, dtype=np.uint8)
        for start in range(0, size, _READ_AT_ONCE):
            block = content[start : start + _READ_AT_ONCE]
            chunk = file.read(len(block))
            if len(chunk) < len(block):
                raise EOFError(f"'{name}' ends early")
            block[:] = np.frombuffer(chunk, dtype=np.uint8)
        file.read(1)  # at the end, where the checksum is verified
    array: Array = content.view(dtype)
    return array.reshape(shape, order=order)


def _header(
    file: IO[bytes], name: str, path: Path, file_size: int
) -> tuple[tuple[int, ...], Literal["F", "C"], np.dtype[Any], int]:
    """Read the shape, order, type and size in bytes from the header of a ``.npy`` file.

    Args:
        file: The open file; its position is left where the values begin.
        name: Name of the array, for messages.
        path: The file on disk, for messages.
        file_size: Size of the ``.npy`` file, in bytes.

    Raises:
        DataError: The array holds objects.
        Exception: One of a dozen types from NumPy's parser: the header is damaged, or announces other values than there
            are.
    """
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, fortran_order, dtype = npy.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran_order, dtype = npy.read_array_header_2_0(file)
    else:
        raise ValueError(f"'{name}' has .npy version {version}")
    if dtype.hasobject:
        raise DataError(
            f"'{name}' as an array of numbers",
            f"Python objects, which would run code, in {path}",
            "save it again from arrays with dtype float32 or int64",
        )
    size = dtype.itemsize
    for length in shape:
        size *= length  # Python integers: NumPy's product would wrap around
    if min(shape, default=0) < 0 or size != file_size - file.tell():
        raise ValueError(f"'{name}' declares shape {shape} of {dtype}, which is not what it holds")
    return shape, "F" if fortran_order else "C", dtype, size


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Return the offset of a member's bytes in the file: after its local header, whose names may differ in length."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER)
    name, extra = struct.unpack("<HH", header[26:30])
    return int(member.header_offset + _LOCAL_HEADER + name + extra)


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
