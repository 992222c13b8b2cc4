"""The file beside a graph that takes its large weights, in the order in which they come, and what lies in it.

With a journal it can be taken up where a killed run left it. The journal has a line for each matrix that lies in the
file whole, with the constants before it; lines are written once their bytes are on the disk. What stands behind the
last of them is cut off and written again, so the file is byte for byte that of a run that was never killed.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.core.digests import content_as_written, line_with_digest
from compress.core.files import written_safely

#: Weights in a file begin at multiples of this many bytes, so that kernels can read them where they are mapped.
_ALIGNMENT = 64

#: Constants of at most this many bytes stay inside the graph: a runtime folds them while it opens it.
_SMALL = 1 << 10

#: Bytes that are written before they are waited for, and what a killed run loses at most.
SYNC_BYTES = 256 << 20


@dataclass(frozen=True)
class Constant:
    """A constant that is written.

    Attributes:
        kind: Number of its data type in ONNX.
        shape: Its shape.
        size: Its size in bytes.
        offset: Its place in the file; None where it stays inside the graph.
        content: Its bytes in base64 where it stays inside the graph, else empty.
    """

    kind: int
    shape: tuple[int, ...]
    size: int
    offset: int | None
    content: str = ""

    def fill(self, tensor: onnx.TensorProto, location: str) -> None:
        """Tell a tensor what it is, and where its values lie."""
        tensor.data_type = self.kind
        tensor.dims.extend(self.shape)
        if self.offset is None:
            tensor.raw_data = base64.b64decode(self.content)
            return
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", self.offset), ("length", self.size)):
            tensor.external_data.add(key=key, value=str(value))


class WeightFile:
    """The file beside a graph that takes its large weights.

    Args:
        path: The file, as it is written.
        location: Name by which the graph finds it, relative to the graph.
        journal: File that says what lies in it, with which it is taken up where it was left; None writes it anew.

    Attributes:
        constants: Constants that are written, by name.
        matrices: Descriptions of matrices that an earlier run has written, by name.
    """

    def __init__(self, path: Path, location: str, journal: Path | None = None) -> None:
        self._path, self.location, self._journal = path, location, journal
        self.constants: dict[str, Constant] = {}
        self.matrices: dict[str, Mapping[str, Any]] = {}
        self._pending: dict[str, Constant] = {}
        self._lines: list[str] = []
        self._unsynced = 0
        end = 0 if journal is None else self._take_up(journal)
        with written_safely(path):
            self._file: BinaryIO = path.open("r+b" if end else "wb")
            self._file.truncate(end)
            self._file.seek(end)

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, sync: bool = False) -> None:
        """Close the file; with ``sync`` once all is on the disk.

        Raises:
            OutputError: It cannot be written.
        """
        if sync:
            self.sync()
        with written_safely(self._path):
            self._file.close()

    def store(self, name: str, values: NDArray[Any]) -> Constant:
        """Append a constant, unless it is there, and return where it is.

        Raises:
            OutputError: It cannot be written.
        """
        if name not in self.constants:
            kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
            self.constants[name] = self._pending[name] = (
                Constant(
                    kind, np.shape(values), values.nbytes, None, base64.b64encode(values.tobytes()).decode()
                )
                if values.nbytes <= _SMALL
                else Constant(kind, np.shape(values), values.nbytes, self._append(values))
            )
        return self.constants[name]

    def finish(self, name: str, description: Mapping[str, Any]) -> None:
        """Remember that a matrix is written whole.

        Args:
            name: Name of the matrix.
            description: Description of it for whoever takes it up, a dict that JSON can hold.

        Raises:
            OutputError: It cannot be written.
        """
        constants = {constant_name: asdict(constant) for constant_name, constant in self._pending.items()}
        self._pending = {}
        if self._journal is not None and name not in self.matrices:
            line = {"name": name, "matrix": dict(description), "constants": constants}
            self._lines.append(line_with_digest(line))
            if self._unsynced >= SYNC_BYTES:
                self.sync()

    def sync(self) -> None:
        """Wait until all is on the disk, and say so in the journal.

        Raises:
            OutputError: It cannot be written.
        """
        with written_safely(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._unsynced = 0
            if self._journal is not None and self._lines:
                with self._journal.open("a", encoding="utf-8") as file:
                    file.writelines(f"{line}\n" for line in self._lines)
                self._lines = []

    def _append(self, values: NDArray[Any]) -> int:
        with written_safely(self._path):
            offset = -(-self._file.tell() // _ALIGNMENT) * _ALIGNMENT
            self._file.write(bytes(offset - self._file.tell()))
            self._file.write(values.data)  # not tofile, which tells nothing of a full disk
        self._unsynced += values.nbytes
        return offset

    def _take_up(self, journal: Path) -> int:
        """Read what lies in the file, and return where that ends; lines that a crash has cut short are left out."""
        lines = journal.read_bytes().splitlines(keepends=True) if journal.is_file() else []
        there = self._path.stat().st_size if self._path.is_file() else 0
        end, whole_bytes = 0, 0
        for line in lines:
            try:
                content = content_as_written(line)
                constants = {
                    name: Constant(**{**entry, "shape": tuple(entry["shape"])})
                    for name, entry in content["constants"].items()
                }
            except (ValueError, KeyError, TypeError):
                break
            ends = [
                constant.offset + constant.size
                for constant in constants.values()
                if constant.offset is not None
            ]
            if max(ends, default=0) > there:
                break
            end, whole_bytes = max(end, *ends) if ends else end, whole_bytes + len(line)
            self.constants |= constants
            self.matrices[content["name"]] = content["matrix"]
        if whole_bytes < sum(map(len, lines)):
            with written_safely(journal):
                os.truncate(journal, whole_bytes)
        return end
