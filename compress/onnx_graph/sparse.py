"""Sparse constants written as dense ones, which is how every runtime computes with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from compress.onnx_graph.graph import graphs


def dense_constants(model: onnx.ModelProto) -> None:
    """Write sparse initialisers, and Constant nodes that hold a sparse tensor, as dense ones, in place."""
    for graph in graphs(model.graph):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(numpy_helper.from_array(_dense(sparse), sparse.values.name))
        graph.ClearField("sparse_initializer")
        for node in graph.node:
            for entry in node.attribute:
                if node.op_type == "Constant" and entry.name == "sparse_value":
                    value = numpy_helper.from_array(_dense(entry.sparse_tensor))
                    entry.CopyFrom(helper.make_attribute("value", value))


def _dense(sparse: onnx.SparseTensorProto) -> NDArray[Any]:
    """Return the dense values; positions count through the whole tensor, or give an index of each axis."""
    values = numpy_helper.to_array(sparse.values)
    places = numpy_helper.to_array(sparse.indices)
    shape = tuple(sparse.dims)
    if places.ndim == 2:
        places = np.ravel_multi_index(tuple(places.T), shape)
    dense = np.zeros(int(np.prod(shape)), values.dtype)
    dense[places] = values
    return dense.reshape(shape)
