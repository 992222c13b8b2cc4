"""Room for the weights of a large network, asked before they are read."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from compress.machine.room import check_disk, check_memory
from compress.network.formats.detection import sniff
from compress.onnx_graph.weights import exceeds_message

#: Memory that a byte of weights takes at the least: a runtime packs matrices anew for its kernels.
_MEMORY_OF_BYTE = 1.5


def check_size(path: Path) -> None:
    """Refuse an ONNX file for whose weights there is no room, before they are read; other files pass this check.

    Raises:
        UsageError: There is too little memory.
        OutputError: There is too little space for temporary files.
    """
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
    check_room(size, str(path))


def check_room(size: int, told: str) -> None:
    """Refuse weights for which there is no room; those of less than 2 GiB pass.

    Args:
        size: Size of the weights in float32, in bytes.
        told: Name of the network, for the message.

    Raises:
        UsageError: There is too little memory.
        OutputError: There is too little space for temporary files.
    """
    if exceeds_message(size):
        work = f"for {told} with {size / 1e9:.3g} GB of weights"
        check_room_to_run(size, told)
        check_disk(Path(tempfile.gettempdir()), size, work, "make room, or set TMPDIR to another directory")


def check_room_to_run(size: int, told: str) -> None:
    """Refuse builds that this machine has no memory to open; those of less than 2 GiB pass.

    Args:
        size: Size of what is open at the same time, in bytes.
        told: Name of it, for the message.

    Raises:
        UsageError: There is too little memory.
    """
    if exceeds_message(size):
        check_memory(int(_MEMORY_OF_BYTE * size), f"for {told} with {size / 1e9:.3g} GB of weights")
