"""The original's outputs, kept on disk while its accuracy is measured, so that no other build has to run it again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.core.digests import content_as_written, line_with_digest
from compress.onnx_graph.files import sha256_of

Array = np.ndarray[Any, np.dtype[Any]]

#: Bytes that are kept at the most; of larger outputs nothing is, and the original runs again.
MOST_BYTES = 1 << 30

_DONE = "done.json"


class KeptOutputs:
    """Outputs of one pass over the evaluation data, batch by batch.

    Args:
        directory: Directory of the outputs, made when the first batch comes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._bytes = 0
        self._full = False
        self._sums: dict[str, str] = {}

    @property
    def batch_size(self) -> int | None:
        """Number of samples in each batch but the last; None where outputs are missing or incomplete."""
        record = self._kept()
        return None if record is None else int(record["batch_size"])

    def add(self, number: int, outputs: Sequence[Array]) -> None:
        """Store a batch's outputs; once they grow too large, none are kept.

        Args:
            number: Number of the batch, from 0.
            outputs: Array of each output.
        """
        if self._full:
            return
        self._bytes += sum(output.nbytes for output in outputs)
        if self._bytes > MOST_BYTES or any(output.dtype.hasobject for output in outputs):
            self._full = True
            shutil.rmtree(self._directory, ignore_errors=True)
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        for index, output in enumerate(outputs):
            path = self._directory / f"{number}.{index}.npy"
            np.save(path, output)
            self._sums[path.name] = sha256_of(path)

    @property
    def lone(self) -> frozenset[str]:
        """Names of outputs that do not count samples; see :func:`compress.network.sample_axis.lone_outputs`."""
        return frozenset((self._kept() or {}).get("lone", ()))

    def finish(self, batch_size: int, lone: Iterable[str] = ()) -> None:
        """Mark the outputs as complete.

        Args:
            batch_size: Number of samples in each batch but the last.
            lone: Names of outputs that do not count samples; see :attr:`lone`.
        """
        if not self._full and self._directory.is_dir():
            record = {"batch_size": batch_size, "lone": sorted(lone), "files": self._sums}
            (self._directory / _DONE).write_text(line_with_digest(record), encoding="utf-8")

    def read(self, number: int, outputs: int) -> list[Array]:
        """Read a batch's outputs, as :meth:`add` stored them.

        Args:
            number: Number of the batch, from 0.
            outputs: Number of outputs.
        """
        return [np.load(self._directory / f"{number}.{index}.npy") for index in range(outputs)]

    def forget_damaged(self) -> None:
        """Delete all outputs where a file has changed; the original then runs again."""
        record = self._kept()
        if record is None or not all(
            self._is_as_written(name, sha256) for name, sha256 in record["files"].items()
        ):
            shutil.rmtree(self._directory, ignore_errors=True)

    def _is_as_written(self, name: str, sha256: str) -> bool:
        try:
            return Path(name).name == name and sha256_of(self._directory / name) == sha256
        except OSError:
            return False

    def _kept(self) -> dict[str, Any] | None:
        try:
            return content_as_written((self._directory / _DONE).read_bytes())
        except (OSError, ValueError):
            return None
