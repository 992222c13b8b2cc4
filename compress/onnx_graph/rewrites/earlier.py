"""Steps that put an operator back to an earlier version, one for each change beyond further types.

From "Operator Changelog" in ONNX's documentation. Changes without a step only added types, or attributes whose
defaults do what was done before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from compress.onnx_graph.graph import Graph, attribute

#: Nodes to put before the one that was changed in place, and after it; or why there is no earlier form.
Step = Callable[[onnx.NodeProto, Graph], "tuple[Sequence[onnx.NodeProto], Sequence[onnx.NodeProto]] | str"]

_DONE: tuple[list[onnx.NodeProto], list[onnx.NodeProto]] = ([], [])
_Result = tuple[Sequence[onnx.NodeProto], Sequence[onnx.NodeProto]] | str


def _axes_as_attribute(node: onnx.NodeProto, graph: Graph) -> _Result:
    """Undo for reductions that ``axes`` became an input in 18."""
    name = node.input[1] if len(node.input) > 1 else ""
    axes = _constant(name, graph) if name else np.array([], np.int64)
    if axes is None:
        return "its axes are computed at run time"
    if not axes.size and attribute(node, "noop_with_empty_axes", 0):
        return "it reduces no axis"
    _remove(node, "noop_with_empty_axes")
    del node.input[1:]
    if axes.size:
        node.attribute.append(helper.make_attribute("axes", axes.reshape(-1).tolist()))
    return _DONE


def _sizes_of_split(node: onnx.NodeProto, graph: Graph) -> _Result:
    """Undo for Split that ``num_outputs``, and parts of unequal size, came in 18."""
    _remove(node, "num_outputs")
    if len(node.input) > 1 and node.input[1]:
        return _DONE
    shape = graph.shape(node.input[0])
    size = shape[attribute(node, "axis", 0)] if shape is not None else None
    if not isinstance(size, int):
        return "it splits an axis of unknown size"
    parts = len(node.output)
    largest = -(-size // parts)
    sizes = [largest] * (parts - 1) + [size - largest * (parts - 1)]
    if sizes[-1] < 1:
        return "it makes empty parts"
    if len(set(sizes)) > 1:
        node.input[:] = [node.input[0], graph.store(f"{node.output[0]}_sizes", np.array(sizes, np.int64))]
    return _DONE


def _pads_of_every_axis(node: onnx.NodeProto, graph: Graph) -> _Result:
    """Undo for Pad that ``axes`` came in 18."""
    if len(node.input) < 4 or not node.input[3]:
        del node.input[3:]
        return _DONE
    pads, axes = (_constant(node.input[index], graph) for index in (1, 3))
    rank = graph.rank(node.input[0])
    if pads is None or axes is None or rank is None:
        return "its pads are computed at run time"
    every = np.zeros((2, rank), np.int64)
    every[:, axes] = pads.reshape(2, -1)
    node.input[1] = graph.store(f"{node.output[0]}_pads", every.reshape(-1))
    del node.input[3:]
    return _DONE


def _no_wrapping(node: onnx.NodeProto, graph: Graph) -> _Result:
    """Refuse for Pad the mode ``wrap``, which came in 19."""
    return "it wraps around" if attribute(node, "mode", b"constant") == b"wrap" else _DONE


def _sizes_of_every_axis(node: onnx.NodeProto, graph: Graph) -> _Result:
    """Undo for Resize that ``axes`` and ``keep_aspect_ratio_policy`` came in 18."""
    axes, rank = attribute(node, "axes"), graph.rank(node.input[0])
    if axes is None:
        return _DONE
    if rank is None:
        return "it resizes some axes of a tensor of unknown rank"
    for position, other_axes in ((1, 0.0), (2, 1.0), (3, None)):
        name = node.input[position] if position < len(node.input) else ""
        if not name:
            continue
        values = _constant(name, graph)
        if values is None:
            return "its sizes are computed at run time"
        if position == 1:
            if not values.size:
                continue
            every = np.repeat(np.array([[0.0], [1.0]], values.dtype), rank, axis=1)
            every[:, axes] = values.reshape(2, -1)
        elif other_axes is not None:
            every = np.full(rank, other_axes, values.dtype)
            every[list(axes)] = values
        else:
            shape = graph.shape(node.input[0]) or ()
            if any(not isinstance(size, int) for axis, size in enumerate(shape) if axis not in axes):
                return "it resizes to given sizes a tensor whose other sizes are open"
            every = np.array([size if isinstance(size, int) else 0 for size in shape], np.int64)
            every[list(axes)] = values
        node.input[position] = graph.store(f"{node.output[0]}_resize", every.reshape(-1))
    _remove(node, "axes")
    return _DONE


def _no_new_transformation(node: onnx.NodeProto, graph: Graph) -> _Result:
    """Refuse for Resize the coordinates ``half_pixel_symmetric``, which came in 19."""
    mode = attribute(node, "coordinate_transformation_mode", b"half_pixel")
    return "its coordinates are half_pixel_symmetric" if mode == b"half_pixel_symmetric" else _DONE


def _older_reduction(node: onnx.NodeProto, graph: Graph) -> _Result:
    """Refuse for ScatterElements and ScatterND the reductions ``min`` and ``max``, which came in 18."""
    reduction = attribute(node, "reduction", b"none").decode()
    return _DONE if reduction in ("none", "add", "mul") else f"its reduction is {reduction}"


def _undilated(node: onnx.NodeProto, graph: Graph) -> _Result:
    """Refuse for pooling ``dilations``, which came to AveragePool in 19 and to LpPool in 18."""
    if set(attribute(node, "dilations", ())) <= {1}:
        _remove(node, "dilations")
    return _DONE


def _older_grid_modes(node: onnx.NodeProto, graph: Graph) -> _Result:
    """Undo for GridSample that the modes got other names in 20."""
    names = {b"linear": "bilinear", b"cubic": "bicubic", b"nearest": "nearest"}
    mode = names[attribute(node, "mode", b"linear")]
    _remove(node, "mode")
    node.attribute.append(helper.make_attribute("mode", mode))
    return _DONE


def _explicit_type(node: onnx.NodeProto, graph: Graph) -> _Result:
    """Undo for QuantizeLinear that ``output_dtype`` and blocks came in 21; before, the zero point sets the type."""
    if attribute(node, "block_size", 0):
        return "it has a scale for each block"
    element_type = attribute(node, "output_dtype", 0)
    _remove(node, "output_dtype")
    if element_type and (len(node.input) < 3 or not node.input[2]):
        scale = graph.shape(node.input[1])
        if scale is None or any(not isinstance(size, int) for size in scale):
            return "its scale has no known shape"
        dtype = helper.tensor_dtype_to_np_dtype(element_type)
        zeros = np.zeros([size for size in scale if isinstance(size, int)], dtype)
        node.input[:] = [*node.input[:2], graph.store(f"{node.output[0]}_zero_point", zeros)]
    return _DONE


def _float32_scale(node: onnx.NodeProto, graph: Graph) -> _Result:
    """Undo for Q/DQ that half precision came in 19; before, both sides are float32."""
    scale = graph.element_type(node.input[1])
    if scale not in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        return _DONE
    values = _constant(node.input[1], graph)
    if values is None:
        return "its scale is computed at run time"
    node.input[1] = graph.store(f"{node.input[1]}_float32", values.astype(np.float32))
    if node.op_type == "QuantizeLinear":
        wide = graph.free_name(f"{node.input[0]}_float32")
        cast = helper.make_node("Cast", [node.input[0]], [wide], f"{wide}_cast", to=TensorProto.FLOAT)
        node.input[0] = wide
        return [cast], []
    narrow, wide = node.output[0], graph.free_name(f"{node.output[0]}_float32")
    node.output[0] = wide
    return [], [helper.make_node("Cast", [wide], [narrow], f"{wide}_cast", to=scale)]


def _constant(name: str, graph: Graph) -> NDArray[Any] | None:
    """Return the value of an initialiser or of a Constant node."""
    producer = graph.producers.get(name)
    if producer is not None and producer.op_type == "Constant":
        tensor = attribute(producer, "value")
        return None if tensor is None else onnx.numpy_helper.to_array(tensor)
    return graph.constant(name)


def _remove(node: onnx.NodeProto, name: str) -> None:
    attributes_left = [entry for entry in node.attribute if entry.name != name]
    node.ClearField("attribute")
    node.attribute.extend(attributes_left)


_REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare"]

#: (operator, version) → how to write it in the version before.
EARLIER: Mapping[tuple[str, int], Step] = {
    **{(f"Reduce{name}", 18): _axes_as_attribute for name in _REDUCTIONS},
    ("Split", 18): _sizes_of_split,
    ("Pad", 18): _pads_of_every_axis,
    ("Pad", 19): _no_wrapping,
    ("Resize", 18): _sizes_of_every_axis,
    ("Resize", 19): _no_new_transformation,
    ("ScatterElements", 18): _older_reduction,
    ("ScatterND", 18): _older_reduction,
    ("LpPool", 18): _undilated,
    ("AveragePool", 19): _undilated,
    ("GridSample", 20): _older_grid_modes,
    ("QuantizeLinear", 21): _explicit_type,
    ("QuantizeLinear", 19): _float32_scale,
    ("DequantizeLinear", 19): _float32_scale,
}
