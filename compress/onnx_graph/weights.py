"""Weights beside the graph: the large ones lie in temporary files, once, however many variants of the graph are made.

It is ONNX's own form for weights outside of a model ("external data"), with the file's whole path as its location. To
copy such a model costs what its nodes cost, and ONNX Runtime maps the files into memory instead of copying them. A
model of 2 GiB or more, which no message can hold, has no other form: its files last as long as the process.
Whatever reads a constant through :class:`compress.onnx_graph.graph.Graph` reads either form.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from compress.core.replacing import temporary_directory
from compress.errors import OutputError

#: Bytes from which on a tensor is worth a file of its own.
LARGE = 1 << 16

#: Protocol buffers end at 2 GiB; larger models have their weights in files.
LARGEST_MESSAGE = 2**31 - 2**20

#: Bytes that are copied at once.
_PIECE = 16 << 20

#: Types that numpy knows itself; a tensor of another one stays inside.
_TYPES = frozenset(
    {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}
    | {TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64}
    | {TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}
)

_FILES = count()  # names of files are never used twice, so that a folder can be shared


@contextmanager
def spooled(model: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """Yield a copy of a model whose large weights lie in temporary files, which exist inside the block.

    Args:
        model: Model, which is not modified. One whose weights already lie in files shares these.

    Raises:
        OutputError: The temporary directory has no room for the weights.
    """
    with temporary_directory() as folder:
        yield _spooled(model, folder_of(model) or folder)


def exceeds_message(size: int) -> bool:
    """Whether a model of so many bytes is too large for a message."""
    return size >= LARGEST_MESSAGE


@functools.cache
def lasting_folder() -> Path:
    """Return the temporary directory of models that are too large for a message; it goes when the process ends.

    Raises:
        OutputError: It cannot be made.
    """
    return _lasting.enter_context(temporary_directory())


_lasting = ExitStack()


def drop_lasting_files() -> None:
    """Delete the lasting files; no model that has its weights in them is used again."""
    lasting_folder.cache_clear()
    _lasting.close()


def without_files(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model with all its weights inside, or where a message cannot hold them in lasting files."""
    with_weights = without_weights(model)
    lasting = exceeds_message(size_of_model(model))
    for tensor in model.graph.initializer:
        if lasting and is_outside(tensor):
            with_weights.graph.initializer.append(_lasts(tensor))
        else:
            _add_inside(with_weights, tensor)
    return with_weights


def _lasts(tensor: TensorProto) -> TensorProto:
    folder = lasting_folder()
    return tensor if _location(tensor).parent == folder else stored(tensor.name, values_of(tensor), folder)


def in_files(tensors: Iterable[TensorProto], model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model with other initializers, the large ones in lasting files.

    Args:
        tensors: Initializers with their values inside, made one after another: no two need be in memory.
        model: Model whose initializers are left out.

    Raises:
        OutputError: The temporary directory has no room for them.
    """
    light = without_weights(model)
    for tensor in tensors:
        light.graph.initializer.append(_light(tensor, lasting_folder()))
    return light


def values_of(tensor: TensorProto) -> NDArray[Any]:
    """Return a tensor's values, read-only; those in a file are mapped, not read."""
    if not is_outside(tensor):
        return np.asarray(numpy_helper.to_array(tensor))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.asarray(np.memmap(_location(tensor), dtype, "r", shape=tuple(tensor.dims)))


def is_outside(tensor: TensorProto) -> bool:
    """Whether the values lie in a file."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def size_of_tensor(tensor: TensorProto) -> int:
    """Return the size of a tensor's values in bytes, wherever they lie."""
    if not is_outside(tensor):
        return int(tensor.ByteSize())
    size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(math.prod(tensor.dims) * size)


def size_of_model(model: onnx.ModelProto) -> int:
    """Return the size of a model with all its weights in bytes, wherever they lie."""
    outside = sum(size_of_tensor(tensor) for tensor in model.graph.initializer if is_outside(tensor))
    return int(model.ByteSize()) + outside


def folder_of(model: onnx.ModelProto) -> Path | None:
    """Return the folder of the model's large weights; None where all are inside."""
    outside = (tensor for tensor in model.graph.initializer if is_outside(tensor))
    first = next(outside, None)
    return None if first is None else _location(first).parent


def stored(name: str, values: NDArray[Any], folder: Path | None) -> TensorProto:
    """Return a tensor with these values: in its own file where it is large and there is a folder, else inside."""
    if folder is None or values.nbytes < LARGE:
        return numpy_helper.from_array(values, name)
    path = folder / str(next(_FILES))
    with _roomy(folder, values.nbytes), path.open("wb") as file:
        np.ascontiguousarray(values).tofile(file)
    data_type = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    return _outside(TensorProto(name=name, data_type=data_type, dims=values.shape), path)


def copied(tensor: TensorProto, source: Path, offset: int) -> TensorProto:
    """Return a tensor whose values are copied from a file to a lasting file of its own, not by way of memory.

    Args:
        tensor: Name, type and sizes of the tensor, of a type that numpy knows.
        source: File with the values.
        offset: Number of bytes before the first of them.

    Raises:
        ValueError: The file is too short.
        OutputError: The temporary directory has no room for them.
    """
    folder = lasting_folder()
    path, size = folder / str(next(_FILES)), size_of_values(tensor)
    with source.open("rb") as values:
        if os.fstat(values.fileno()).st_size < offset + size:
            raise ValueError(f"{source.name} ends before the values of '{tensor.name[:80]}'")
        with _roomy(folder, size), path.open("wb") as file:
            values.seek(offset)
            while size:
                piece = values.read(min(size, _PIECE))
                file.write(piece)
                size -= len(piece)
    return _outside(TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims), path)


def is_copied(tensor: TensorProto) -> bool:
    """Whether a tensor is large enough for a file of its own, and of a type that numpy knows."""
    return tensor.data_type in _TYPES and size_of_values(tensor) >= LARGE


def size_of_values(tensor: TensorProto) -> int:
    """Return the size of the values of a type that numpy knows, in bytes."""
    return int(math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _outside(tensor: TensorProto, path: Path) -> TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(path))
    return tensor


@contextmanager
def _roomy(folder: Path, size: int) -> Iterator[None]:
    """Turn a failed write of so many bytes into an error for the user."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"room for {size / 1e6:.0f} MB in {folder.parent}",
            str(error),
            "make room, or set TMPDIR to another directory",
        ) from error


def _spooled(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    light = without_weights(model)
    for tensor in model.graph.initializer:
        light.graph.initializer.append(_light(tensor, folder))
    return light


def _light(tensor: TensorProto, folder: Path) -> TensorProto:
    if is_outside(tensor) or tensor.ByteSize() < LARGE or tensor.data_type not in _TYPES:
        return tensor
    return stored(tensor.name, values_of(tensor), folder)


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without initialisers."""
    light = onnx.ModelProto()
    _copy_fields(model, light, "graph")
    _copy_fields(model.graph, light.graph, "initializer")
    return light


def _copy_fields(source: Any, target: Any, left_out: str) -> None:
    for field, value in source.ListFields():
        if field.name == left_out:
            continue
        if hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        else:
            setattr(target, field.name, value)


def _add_inside(model: onnx.ModelProto, tensor: TensorProto) -> None:
    if not is_outside(tensor):
        model.graph.initializer.append(tensor)
        return
    # Not numpy_helper.from_array: to append what it makes would copy the values once more.
    inside = model.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    inside.raw_data = values_of(tensor).tobytes()


def _location(tensor: TensorProto) -> Path:
    return Path(next(entry.value for entry in tensor.external_data if entry.key == "location"))
