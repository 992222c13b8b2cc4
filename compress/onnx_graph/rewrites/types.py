"""Narrower types where nothing is lost by them: int32 for int64, float for double at the edge of the graph."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from compress.onnx_graph.graph import Graph, attribute, replace_nodes, subgraphs
from compress.onnx_graph.rewrites.replacement import Replacement, replace_each

#: What a wide type of an input or an output becomes.
NARROWER = {int(TensorProto.INT64): int(TensorProto.INT32), int(TensorProto.DOUBLE): int(TensorProto.FLOAT)}

_INT32 = np.iinfo(np.int32)


def int32_constants(model: onnx.ModelProto) -> list[str]:
    """Write the int64 constants of a node as int32 wherever ONNX lets that input be int32, in place.

    Only values that int32 holds; a bound of Slice beyond it means "to the end", which int32's own bound says too.
    """
    graph = Graph(model)
    names: dict[str, str] = {}
    changed = []
    for node in graph.nodes:
        for positions in _int64_groups(node, graph):
            arrays = [_narrowed(graph, node, position) for position in positions]
            if any(array is None for array in arrays):
                continue
            for position, array in zip(positions, arrays, strict=True):
                wide = node.input[position]
                if wide not in names and array is not None:
                    names[wide] = graph.store(f"{wide}_int32", array)
                node.input[position] = names[wide]
            changed.append(str(node.name or node.output[0]))
    return changed


def narrow_inputs_and_outputs(model: onnx.ModelProto, wide: Collection[int]) -> list[str]:
    """Declare wide inputs and outputs in the narrower type and cast behind them, in place.

    Whoever feeds the graph has to feed the narrower type from then on.

    Args:
        model: Model with inferred types.
        wide: Types of :data:`NARROWER` that are narrowed.

    Returns:
        Names of the inputs and outputs that changed.
    """
    graph = Graph(model)
    changed = []
    before: list[onnx.NodeProto] = []
    after: list[onnx.NodeProto] = []
    for value in model.graph.input:
        kind = value.type.tensor_type
        if value.name not in graph.inputs or kind.elem_type not in wide:
            continue
        readers = graph.consumers.get(value.name, [])
        if any(value.name not in reader.input for reader in readers) or value.name in graph.outputs:
            continue  # a body captures it, or it is handed through
        cast = graph.free_name(f"{value.name}_wide")
        narrow = NARROWER[kind.elem_type]
        not_taking = [reader for reader in readers if not _takes(reader, value.name, narrow, graph)]
        for reader in not_taking:
            reader.input[:] = [cast if name == value.name else name for name in reader.input]
        if not_taking:
            before.append(helper.make_node("Cast", [value.name], [cast], f"{cast}_cast", to=kind.elem_type))
        kind.elem_type = narrow
        changed.append(value.name)
    for value in model.graph.output:
        kind = value.type.tensor_type
        producer = graph.producers.get(value.name)
        if kind.elem_type not in wide or producer is None:
            continue
        cast = graph.free_name(f"{value.name}_wide")
        producer.output[:] = [cast if name == value.name else name for name in producer.output]
        for reader in graph.consumers.get(value.name, []):
            _rename_everywhere(reader, value.name, cast)
        kind.elem_type = NARROWER[kind.elem_type]
        after.append(helper.make_node("Cast", [cast], [value.name], f"{value.name}_cast", to=kind.elem_type))
        changed.append(value.name)
    if before or after:
        replace_nodes(model, [*before, *graph.nodes, *after])
    return changed


def float_biases(model: onnx.ModelProto) -> list[str]:
    """Write a constant int32 behind DequantizeLinear, which is what a quantized bias is, as float32, in place."""
    return replace_each(model, "DequantizeLinear", _float_bias)


def cast_instead_of_cast_like(model: onnx.ModelProto) -> list[str]:
    """Write CastLike as Cast to the type that its second input has, in place."""
    return replace_each(model, "CastLike", _cast_like)


def _cast_like(node: onnx.NodeProto, written: Replacement) -> bool:
    element_type = written.graph.element_type(node.input[1])
    if element_type:
        written.add("Cast", node.input[0], to=element_type, output=node.output[0])
    return bool(element_type)


def _float_bias(node: onnx.NodeProto, written: Replacement) -> bool:
    graph = written.graph
    values, scale = graph.constant(node.input[0]), graph.constant(node.input[1])
    result = node.output[0]
    if values is None or scale is None or values.dtype != np.int32 or result in graph.outputs:
        return False
    if scale.dtype != np.float32 or attribute(node, "block_size", 0):
        return False
    axis = attribute(node, "axis", 1) if scale.size > 1 else 0
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    floats = values.astype(np.float32) * scale.reshape(shape) if values.ndim else values * scale.reshape(())
    graph.model.graph.initializer.append(onnx.numpy_helper.from_array(floats.astype(np.float32), result))
    return True


def _int64_groups(node: onnx.NodeProto, graph: Graph) -> list[list[int]]:
    """Yield inputs that must have one type, are int64, may be int32, and decide no output's type."""
    schema = _schema(node, graph.opset)
    if schema is None or any(subgraphs(node)):
        return []
    outputs = {output.type_str for output in schema.outputs}
    groups: dict[str, list[int]] = {}
    for position, name in enumerate(node.input):
        parameter = schema.inputs[min(position, len(schema.inputs) - 1)]
        if name and "tensor(int32)" in parameter.types and parameter.type_str not in outputs:
            groups.setdefault(parameter.type_str, []).append(position)
    return [
        group
        for group in groups.values()
        if all(graph.element_type(node.input[position]) == TensorProto.INT64 for position in group)
    ]


def _narrowed(graph: Graph, node: onnx.NodeProto, position: int) -> NDArray[np.int32] | None:
    """Return the constant as int32; None where it is no constant, or does not fit."""
    values = graph.constant(node.input[position])
    if values is None:
        return None
    if node.op_type == "Slice" and position in (1, 2):
        values = values.clip(_INT32.min, _INT32.max)
    fits = not values.size or (values.min() >= _INT32.min and values.max() <= _INT32.max)
    return values.astype(np.int32) if fits else None


def _takes(node: onnx.NodeProto, name: str, element_type: int, graph: Graph) -> bool:
    """Whether the node may read the tensor in another type without any other tensor changing its own."""
    schema = _schema(node, graph.opset)
    if schema is None:
        return False
    if node.op_type == "Cast":
        return True
    parameters = [schema.inputs[min(index, len(schema.inputs) - 1)] for index in range(len(node.input))]
    written = helper.tensor_dtype_to_string(element_type).removeprefix("TensorProto.").lower()
    kinds = {
        parameter.type_str for parameter, read in zip(parameters, node.input, strict=True) if read == name
    }
    others = [
        parameter.type_str
        for parameter, read in zip(parameters, node.input, strict=True)
        if read and read != name
    ]
    others += [output.type_str for output in schema.outputs]
    return all(
        kind not in others
        and any(formal.type_str == kind and f"tensor({written})" in formal.types for formal in parameters)
        for kind in kinds
    )


def _schema(node: onnx.NodeProto, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return None


def _rename_everywhere(node: onnx.NodeProto, old: str, new: str) -> None:
    node.input[:] = [new if name == old else name for name in node.input]
    for body in subgraphs(node):
        for inner in body.node:
            _rename_everywhere(inner, old, new)
        for value in body.output:
            if value.name == old:
                value.name = new
