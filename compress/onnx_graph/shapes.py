"""Shape and element type of every tensor once the open axes have sizes, for counting bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import inliner, numpy_helper, shape_inference

from compress.core.tensor_spec import TensorSpec
from compress.errors import NetworkError
from compress.onnx_graph.operators import names

#: Values up to this many elements may decide a shape; larger ones are weights.
_SHAPE_ELEMENTS = 64

#: What exporters write between ``Shape`` and the operator that takes the computed shape.
_SHAPE_ARITHMETIC = names("""
    Abs Add And Cast Ceil Concat ConstantOfShape Div Equal Expand Flatten Floor Gather GatherElements GatherND
    Greater GreaterOrEqual Identity Less LessOrEqual Max Min Mod Mul Neg Not Or Pow Range ReduceMax ReduceMin
    ReduceProd ReduceSum Reshape Round ScatterElements ScatterND Shape Size Slice Sqrt Squeeze Sub Tile Transpose
    Unsqueeze Where
""")

Array = NDArray[np.generic]


@dataclass(frozen=True)
class ShapedGraph:
    """A graph whose tensors have fixed shapes.

    Attributes:
        nodes: Operators in topological order, local functions expanded, without ``Constant`` nodes.
        inputs: Names of the inputs a caller gives.
        outputs: Names of the outputs.
        constants: Names of the initializers and of the outputs of ``Constant`` nodes.
        shapes: Shape of each tensor, by its name; tensors whose shape depends on data are missing.
        dtypes: Element type of each tensor in ``onnx.TensorProto``, by its name.
    """

    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: frozenset[str]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, int]


def input_specs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """Return the inputs that a caller has to give, without initializers that old files list there."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return _specs(value for value in model.graph.input if value.name not in constants)


def output_specs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """Return the outputs, with the shapes the file declares."""
    return _specs(model.graph.output)


def shaped(
    model: onnx.ModelProto, batch: int = 1, shapes: Mapping[str, Sequence[int]] | None = None
) -> ShapedGraph:
    """Give every tensor its shape.

    Args:
        model: Valid ONNX model; it is not changed.
        batch: Size of axis 0 wherever an input leaves it open.
        shapes: Shapes of inputs by name, for inputs with other open axes.

    Raises:
        NetworkError: An axis is left open, a shape does not fit its input, or the graph is inconsistent.
    """
    sketch = _sketch(model)
    _set_input_shapes(sketch, batch, shapes or {})
    try:
        if sketch.functions:
            sketch = _sketch(inliner.inline_local_functions(sketch))
        nodes = tuple(sketch.graph.node)
        constants = frozenset(tensor.name for tensor in sketch.graph.initializer)
        sketch = shape_inference.infer_shapes(sketch, strict_mode=True, data_prop=True)
        while _evaluate_shape_arithmetic(sketch):
            sketch = shape_inference.infer_shapes(sketch, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        # ValueError: sizes that no vector has, a message with names that are not UTF-8
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NetworkError("a consistent ONNX graph", reason, "export the network again") from error
    return ShapedGraph(
        nodes,
        tuple(value.name for value in sketch.graph.input if value.name not in constants),
        tuple(value.name for value in sketch.graph.output),
        constants,
        _static_shapes(sketch),
        {tensor.name: tensor.data_type for tensor in sketch.graph.initializer}
        | {value.name: value.type.tensor_type.elem_type for value in _values(sketch)},
    )


def with_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with the element type and rank of each tensor, without the values of large weights."""
    return shape_inference.infer_shapes(_sketch(model))


def _values(model: onnx.ModelProto) -> tuple[onnx.ValueInfoProto, ...]:
    return (*model.graph.input, *model.graph.value_info, *model.graph.output)


def _static_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in _values(model):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    specs = []
    for value in values:
        kind = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else "unknown"
        # Exporters write an open axis as a name, as nothing, as 0 or as -1.
        shape = tuple(dim.dim_value if dim.dim_value > 0 else dim.dim_param or "?" for dim in kind.shape.dim)
        specs.append(TensorSpec(value.name, dtype, shape))
    return tuple(specs)


def _sketch(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph without the values of its large weights, which may be gigabytes."""
    sketch = onnx.ModelProto(ir_version=model.ir_version)
    sketch.opset_import.extend(model.opset_import)
    sketch.functions.extend(model.functions)
    graph = sketch.graph
    graph.name = model.graph.name
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    # Inference recomputes the shapes of standard operators; those the exporter wrote may be for another size.
    foreign = {name for node in model.graph.node if node.domain for name in node.output}
    for output in graph.output:
        if output.name not in foreign and output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    graph.value_info.extend(value for value in model.graph.value_info if value.name in foreign)
    graph.initializer.extend(_without_large_values(tensor) for tensor in model.graph.initializer)
    graph.initializer.extend(
        onnx.TensorProto(name=sparse.values.name, dims=sparse.dims, data_type=sparse.values.data_type)
        for sparse in model.graph.sparse_initializer
    )
    for node in model.graph.node:
        constant = _constant(node)
        if constant is None:
            graph.node.append(node)
        else:
            graph.initializer.append(constant)
    return sketch


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return the value of a ``Constant`` node as an initializer; None for other nodes, strings, sparse tensors."""
    if node.op_type != "Constant" or node.domain:
        return None
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    match attribute.name:
        case "value":
            tensor = _without_large_values(value)
        case "value_int" | "value_ints":
            tensor = numpy_helper.from_array(np.asarray(value, np.int64))
        case "value_float" | "value_floats":
            tensor = numpy_helper.from_array(np.asarray(value, np.float32))
        case _:
            return None
    tensor.name = node.output[0]
    return tensor


def _without_large_values(tensor: onnx.TensorProto) -> onnx.TensorProto:
    if math.prod(tensor.dims) > _SHAPE_ELEMENTS or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    return copy


def _has_values(tensor: onnx.TensorProto) -> bool:
    fields = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    return any(len(getattr(tensor, name)) for name in fields)


def _set_input_shapes(sketch: onnx.ModelProto, batch: int, shapes: Mapping[str, Sequence[int]]) -> None:
    specs = {spec.name: spec for spec in input_specs(sketch)}
    for name in shapes:
        if name not in specs:
            raise NetworkError(
                "the shape of an input", f"one for '{name}'", f"name one of: {', '.join(specs)}"
            )
    batch_names = {spec.shape[spec.batch_axis] for spec in specs.values() if spec.dynamic_batch} - {"?"}
    for value in sketch.graph.input:
        tensor_type = value.type.tensor_type
        if value.name not in specs or not value.type.HasField("tensor_type"):
            continue
        spec = specs[value.name]
        if spec.name in shapes:
            _check_fits(spec, shapes[spec.name], tensor_type.HasField("shape"))
            sizes: Sequence[int | str] = shapes[spec.name]
        else:
            sizes = [batch if size in batch_names else size for size in spec.with_batch(batch)]
        if not all(isinstance(size, int) for size in sizes) or not (sizes or tensor_type.HasField("shape")):
            raise NetworkError(
                "a size for every axis of the inputs",
                f"an axis of {spec} left open",
                f"give the shape of '{spec.name}' (--shape {spec.name}=1x…)",
            )
        new_shape = onnx.helper.make_tensor_type_proto(tensor_type.elem_type, sizes).tensor_type.shape
        tensor_type.shape.CopyFrom(new_shape)
    for value in (*sketch.graph.value_info, *sketch.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in batch_names:
                dim.dim_value = batch


def _check_fits(spec: TensorSpec, shape: Sequence[int], rank_known: bool) -> None:
    fits = not rank_known or (
        len(shape) == len(spec.shape)
        and all(
            isinstance(length, str) or length == size for length, size in zip(spec.shape, shape, strict=True)
        )
    )
    if not fits or any(size < 1 for size in shape):
        raise NetworkError(f"a shape for {spec}", "x".join(map(str, shape)), "give one size for each axis")


def _evaluate_shape_arithmetic(sketch: onnx.ModelProto) -> bool:
    """Turn values computed from known shapes into initializers, in place; return whether there were any.

    Shape inference propagates only some of these operators.
    """
    shapes = _static_shapes(sketch)
    outputs = {value.name for value in sketch.graph.output}
    values: dict[str, Array] = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in sketch.graph.initializer
        if _has_values(tensor)
    }
    opsets = {entry.domain: entry.version for entry in sketch.opset_import}
    remaining = []
    for node in sketch.graph.node:
        result = None if outputs & set(node.output) else _evaluate(node, values, shapes, opsets)
        if result is None:
            remaining.append(node)
        else:
            values[node.output[0]] = result
            sketch.graph.initializer.append(numpy_helper.from_array(result, node.output[0]))
    if len(remaining) == len(sketch.graph.node):
        return False
    del sketch.graph.node[:]
    sketch.graph.node.extend(remaining)
    return True


def _elements_made(node: onnx.NodeProto, inputs: Sequence[Array]) -> float:
    """Return the output size of an operator that expands its input; 0 for others."""
    if node.op_type in ("ConstantOfShape", "Expand"):
        return float(np.prod(np.abs(inputs[-1].astype(np.float64))))
    if node.op_type == "Tile":
        return float(np.prod(np.abs(inputs[1].astype(np.float64)))) * inputs[0].size
    if node.op_type == "Range":
        start, limit, step = (float(scalar) for scalar in inputs)
        return abs((limit - start) / step) if step else math.inf
    return 0.0


def _feeds(
    node: onnx.NodeProto, values: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Array] | None:
    """Return the operator's inputs; None where one is unknown, or where the output would be large."""
    if node.op_type in ("Shape", "Size"):
        if node.input[0] not in shapes:
            return None
        # A view of one element has the shape without the memory.
        return {node.input[0]: np.broadcast_to(np.zeros((), np.int8), shapes[node.input[0]])}
    if not all(name in values for name in node.input if name):
        return None
    if math.prod(shapes.get(node.output[0], ())) > _SHAPE_ELEMENTS:
        return None
    inputs = [values[name] for name in node.input if name]
    if _elements_made(node, inputs) > _SHAPE_ELEMENTS:
        return None
    return {name: values[name] for name in node.input if name}


def _evaluate(
    node: onnx.NodeProto,
    values: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
    opsets: Mapping[str, int],
) -> Array | None:
    """Compute the node's only output, where it follows from small known values or a known shape; else None."""
    if node.domain or node.op_type not in _SHAPE_ARITHMETIC or len(node.output) != 1:
        return None
    from onnx.reference import ReferenceEvaluator

    # The node is as a stranger's file has it: too few inputs, an attribute of another type, a type that does not exist.
    # Each operator of the evaluator fails of such in a way of its own. Shape inference then has the last word.
    try:
        feeds = _feeds(node, values, shapes)
        if feeds is None:
            return None
        (result,) = ReferenceEvaluator(node, opsets=dict(opsets)).run(None, feeds)
    except Exception:  # noqa: BLE001
        return None
    array: Array = np.asarray(result)
    return array if array.size <= _SHAPE_ELEMENTS else None
