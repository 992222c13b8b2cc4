"""ONNX files on disk: written whole or not at all, hashed together with their external data."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from compress.core.replacing import replaced_whole
from compress.onnx_graph.external_data import external_files

if TYPE_CHECKING:
    import onnx

#: Protocol buffers end at 2 GiB; larger weights go into a file beside the graph.
LARGEST_SINGLE_FILE = 2**31 - 2**20


def save_model(model: onnx.ModelProto, path: Path) -> Path:
    """Write a graph to ``path``, with its weights in ``<name>.data`` beside it where it is over 2 GB.

    Returns:
        ``path``.

    Raises:
        OutputError: The file cannot be written.
    """
    import onnx

    from compress.onnx_graph.serialization import pieces

    with replaced_whole(path) as written:
        if model.ByteSize() < LARGEST_SINGLE_FILE:
            with written.open("wb") as file:
                file.writelines(pieces(model))
        else:
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            weights = path.name + ".data"
            onnx.save(copy, written, save_as_external_data=True, location=weights)
            written.with_name(weights).replace(path.with_name(weights))
    return path


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files of an artifact: the file, and for an ONNX graph those that hold its weights."""
    return (path, *external_files(path))


def copy_to(path: Path, directory: Path) -> Path:
    """Copy a graph into a directory, with the files of its weights under the names that it knows them by.

    Returns:
        The path of the copy.
    """
    for part in files_of(path):
        place = directory / part.relative_to(path.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, place)
    return directory / path.name


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file followed by its external data, read in pieces."""
    digest = hashlib.sha256()
    for part in files_of(path):
        with part.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Return the size of a file and its external data, in bytes."""
    return sum(part.stat().st_size for part in files_of(path))
