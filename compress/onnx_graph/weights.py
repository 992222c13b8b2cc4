"""Weights beside the graph: the large ones lie in temporary files, once, however many variants of the graph are made.

It is ONNX's own form for weights outside of a model ("external data"), with the file's whole path as its location. To
copy such a model costs what its nodes cost, and ONNX Runtime maps the files into memory instead of copying them.
Whatever reads a constant through :class:`compress.onnx_graph.graph.Graph` reads either form.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from compress.errors import OutputError

#: Bytes from which on a tensor is worth a file of its own.
LARGE = 1 << 16

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
    with tempfile.TemporaryDirectory(prefix="compress-weights-") as folder:
        yield _spooled(model, folder_of(model) or Path(folder))


def without_files(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model with all its weights inside."""
    whole = _without_weights(model)
    for tensor in model.graph.initializer:
        _add_inside(whole, tensor)
    return whole


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
    try:
        with path.open("wb") as file:
            np.ascontiguousarray(values).tofile(file)
    except OSError as error:
        raise OutputError(
            f"room for {values.nbytes / 1e6:.0f} MB in {folder.parent}",
            str(error),
            "make room, or set TMPDIR to another directory",
        ) from error
    data_type = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    tensor = TensorProto(name=name, data_type=data_type, dims=values.shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(path))
    return tensor


def _spooled(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    light = _without_weights(model)
    for tensor in model.graph.initializer:
        if is_outside(tensor) or tensor.ByteSize() < LARGE or tensor.data_type not in _TYPES:
            light.graph.initializer.append(tensor)
        else:
            light.graph.initializer.append(stored(tensor.name, values_of(tensor), folder))
    return light


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
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
