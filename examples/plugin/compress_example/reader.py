"""A reader of data: text with a sample on each line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compress.data.arrays import ArraySplit
from compress.data.readers import DataReader, Images
from compress.data.split import Split
from compress.errors import DataError


class SampleRows(DataReader):
    """A first line ``samples 3 8 8`` with the shape of a sample, then on each line a label and its values."""

    def reads(self, path: Path, start: bytes) -> bool:
        """Look at the first word."""
        return start == b"samples "

    def open(self, path: Path, image_options: Images) -> Split:
        """Read every line."""
        first, *lines = path.read_text(encoding="utf-8").splitlines()
        try:
            shape = [int(size) for size in first.split()[1:]]
            rows = np.array([line.split() for line in lines], dtype=np.float32)
            x = rows[:, 1:].reshape(len(rows), *shape)
        except (ValueError, IndexError) as error:
            raise DataError(
                f"lines with a label and as many numbers as {first}", f"{path}: {error}", "correct it"
            ) from error
        return ArraySplit.from_arrays({"x": x, "y": rows[:, 0].astype(np.int64)}, str(path))
