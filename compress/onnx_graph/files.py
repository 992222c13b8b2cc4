"""ONNX files on disk: written whole or not at all, hashed together with their external data."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from compress.onnx_graph.external_data import external_files
from compress.writing import replaced_whole

if TYPE_CHECKING:
    import onnx

#: Protocol buffers end at 2 GiB; larger weights go into a file beside the graph.
_LARGEST_SINGLE_FILE = 2**31 - 2**20


def save_model(model: onnx.ModelProto, path: Path) -> Path:
    """Write a graph to ``path``, with its weights in ``<name>.data`` beside it where it is over 2 GB.

    Returns:
        ``path``.

    Raises:
        OutputError: It cannot be written.
    """
    import onnx

    from compress.onnx_graph.serialization import pieces

    with replaced_whole(path) as written:
        if model.ByteSize() < _LARGEST_SINGLE_FILE:
            with written.open("wb") as file:
                file.writelines(pieces(model))
        else:
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            weights = path.name + ".data"
            onnx.save(copy, written, save_as_external_data=True, location=weights)
            written.with_name(weights).replace(path.with_name(weights))
    return path


def check_size(path: Path) -> None:
    """Refuse an ONNX file whose weights are too many to be held in one message, before they are read.

    Anything that is no ONNX file passes: it is not for this check to tell.

    Raises:
        NetworkError: The weights are over 2 GiB.
    """
    import math

    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from compress.errors import NetworkError
    from compress.sniff import sniff

    if path.is_dir() or sniff(path).format != "onnx":
        return
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except (DecodeError, OSError, ValueError):
        return
    try:
        # int4 shares a byte between two; no such weight matters here.
        size = sum(
            math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            for tensor in graph.initializer
            if tensor.data_type != onnx.TensorProto.STRING
        )
    except KeyError:  # of a type that there is not
        return
    if size >= _LARGEST_SINGLE_FILE:
        raise NetworkError(
            "a network of at most 2 GiB",
            f"{path} with {size / 2**30:.1f} GiB of weights",
            "split it into parts of at most 2 GiB",
        )


def files_of(path: Path) -> tuple[Path, ...]:
    """The files an artifact consists of: the file, and where it is an ONNX graph those that it keeps weights in."""
    return (path, *external_files(path))


def copy_to(path: Path, directory: Path) -> Path:
    """Copy a graph into a directory, with the files of its weights under the names that it knows them by.

    Returns:
        The graph's copy.
    """
    for part in files_of(path):
        place = directory / part.relative_to(path.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, place)
    return directory / path.name


def sha256_of(path: Path) -> str:
    """The sha256 of a file followed by its external data, read in pieces."""
    digest = hashlib.sha256()
    for part in files_of(path):
        with part.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file and its external data."""
    return sum(part.stat().st_size for part in files_of(path))
