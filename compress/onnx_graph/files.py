"""ONNX files on disk: written whole or not at all, hashed together with their external data."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from compress.core.moved import names_of
from compress.core.replacing import replaced_whole
from compress.onnx_graph.external_data import external_files

if TYPE_CHECKING:
    import onnx

#: Bytes that a constant in the file beside a graph has at the least; smaller ones stay inside.
_SMALL = 1 << 10

#: Weights in that file begin at multiples of this many bytes, so that kernels can read them where they are mapped.
_ALIGNMENT = 64


def save_model(model: onnx.ModelProto, path: Path) -> Path:
    """Write a graph to ``path``, with its weights in ``<name>.data`` beside it where it is over 2 GB.

    Returns:
        ``path``.

    Raises:
        OutputError: The file cannot be written.
    """
    from compress.onnx_graph.serialization import pieces
    from compress.onnx_graph.weights import exceeds_message, folder_of, size_of_model, without_files

    with replaced_whole(path) as written:
        if not exceeds_message(size_of_model(model)):
            with written.open("wb") as file:
                file.writelines(pieces(model if folder_of(model) is None else without_files(model)))
        else:
            weights = path.name + ".data"
            light = _with_weights_beside(model, written.with_name(weights), weights)
            written.write_bytes(light.SerializeToString())
            written.with_name(weights).replace(path.with_name(weights))
    return path


def _with_weights_beside(model: onnx.ModelProto, path: Path, location: str) -> onnx.ModelProto:
    """Write the large weights to a file, one after another, and return a model that finds them there."""
    import numpy as np

    from compress.onnx_graph.weights import is_outside, values_of, without_weights

    light = without_weights(model)
    with path.open("wb") as file:
        for tensor in model.graph.initializer:
            if not is_outside(tensor) and len(tensor.raw_data) < _SMALL:
                light.graph.initializer.append(tensor)
                continue
            content = values_of(tensor) if is_outside(tensor) else np.frombuffer(tensor.raw_data, np.uint8)
            file.write(bytes(-file.tell() % _ALIGNMENT))
            added = light.graph.initializer.add(
                name=tensor.name, data_type=tensor.data_type, dims=tensor.dims
            )
            added.data_location = tensor.EXTERNAL
            entries = {"location": location, "offset": file.tell(), "length": content.nbytes}
            for key, value in entries.items():
                added.external_data.add(key=key, value=str(value))
            file.write(np.ascontiguousarray(content).data)
    return light


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


def move_to(written: Path, path: Path) -> None:
    """Move a graph that :func:`save_model` wrote to a place on the same disk, with the file of its weights.

    Raises:
        OSError: The system refuses it.
    """
    beside = external_files(written)
    if beside:
        import onnx

        (weights,) = beside
        location = path.name + ".data"
        model = onnx.load(written, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        written.write_bytes(model.SerializeToString())
        weights.replace(path.with_name(location))
    written.replace(path)


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


if not TYPE_CHECKING:  # names that have left; no type checker shall take any name for one
    __getattr__ = names_of(__name__, __name__)
