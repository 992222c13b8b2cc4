"""Check that the weights of an ONNX file fit into one message of protocol buffers."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from compress.errors import NetworkError
from compress.network.formats.detection import sniff
from compress.onnx_graph.files import LARGEST_SINGLE_FILE


def check_size(path: Path) -> None:
    """Refuse an ONNX file whose weights are too many to be held in one message, before they are read.

    Other files pass this check.

    Raises:
        NetworkError: The weights are over 2 GiB.
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
    if size >= LARGEST_SINGLE_FILE:
        raise NetworkError(
            "a network of at most 2 GiB",
            f"{path} with {size / 2**30:.1f} GiB of weights",
            "split it into parts of at most 2 GiB",
        )
