"""Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) from Debian's package ``dataset-fashion-mnist``.

The package holds the authors' four gzip-compressed IDX files: 60,000 training and 10,000 test images of
28×28 grey pixels in ten balanced classes.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError

DIRECTORY = Path("/usr/share/datasets/fashion-mnist")

# Of the 60,000 training images, pixels scaled to [0, 1].
MEAN = 0.2860
STANDARD_DEVIATION = 0.3530

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

_UNSIGNED_BYTE = 0x08  # the IDX element type of all four files


def load(split: str, directory: Path = DIRECTORY) -> tuple[Images, Labels]:
    """Read one split, normalised to mean 0 and standard deviation 1 over the training images.

    Args:
        split: ``"train"`` (60,000 images) or ``"t10k"`` (10,000 test images), as in the files' names.
        directory: Directory of the IDX files.

    Returns:
        Images, float32 [n, 1, 28, 28], and labels, int64 [n] in 0–9.

    Raises:
        DataError: A file is missing or is not the IDX file it should be.
    """
    pixels = _read_idx(directory / f"{split}-images-idx3-ubyte.gz", dimensions=3)
    labels = _read_idx(directory / f"{split}-labels-idx1-ubyte.gz", dimensions=1)
    if len(pixels) != len(labels):
        raise DataError(
            f"as many labels as images in {directory}",
            f"{len(pixels)} images and {len(labels)} labels",
            "apt-get install --reinstall dataset-fashion-mnist",
        )
    images = (pixels[:, np.newaxis].astype(np.float32) / 255 - MEAN) / STANDARD_DEVIATION
    return images.astype(np.float32), labels.astype(np.int64)


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file: two zero bytes, type, number of dimensions, big-endian uint32 sizes, elements."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError("Fashion-MNIST", f"no {path}", "apt-get install dataset-fashion-mnist") from error
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from error
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes([0, 0, _UNSIGNED_BYTE, dimensions]):
        raise _damaged(path, "another header")
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).astype(np.int64)
    if len(content) - start != shape.prod():
        raise _damaged(path, f"{len(content) - start} elements for the shape {shape.tolist()}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _damaged(path: Path, found: str) -> DataError:
    return DataError(f"an IDX file at {path}", found, "apt-get install --reinstall dataset-fashion-mnist")
