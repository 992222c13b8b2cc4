"""Prepare an exporter's graph for quantization and for compilers: fewer, fused, named, typed nodes.

Everything stays in the standard domain, so TensorRT reads the result as ONNX Runtime does. What it computes is
unchanged up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import onnx
import onnx.inliner

from compress.errors import NetworkError
from compress.onnx_graph.affine import fold_affine
from compress.onnx_graph.constants import fold_constants, fold_known_sizes
from compress.onnx_graph.foreign import foreign_outputs, type_foreign
from compress.onnx_graph.graph import Graph, attribute, replace_nodes, tensors_read
from compress.onnx_graph.legality import refuse_illegal
from compress.onnx_graph.plain import (
    all_axes_padded,
    all_axes_resized,
    convolution_instead_of_dilated_pool,
    plain_pools,
)
from compress.onnx_graph.rewrites.later import LOWEST_IR, raise_opset
from compress.onnx_graph.sharing import share_constants
from compress.onnx_graph.weights import folder_of, spooled, without_files
from compress.onnx_graph.widening import in_float32

#: DequantizeLinear has an axis from here on.
LOWEST_OPSET = 13

#: Key of the metadata of a model that is not folded, since that was seen to change what it computes.
_AS_WRITTEN = "compress.as-written"

_SHAPE_ELEMENTS = 64  # a tensor with more of them is no shape


def prepare(model: onnx.ModelProto, store_twice: bool = False, opset: int = LOWEST_OPSET) -> onnx.ModelProto:
    """Return an equal model with constants folded, batch normalisation fused and every tensor typed.

    Args:
        model: Legal ONNX model; see :mod:`compress.onnx_graph.weights` for where its weights may lie. It is not
            modified.
        store_twice: Whether weights may be stored twice, see :func:`compress.onnx_graph.constants.fold_constants`; half
            precision then becomes float32 too.
        opset: Lowest opset of the result, ≥ 13.

    Returns:
        A new model: of that opset at least, no functions, no Constant, Identity or Dropout nodes where they can go,
        no unused nodes or initialisers, unique node names, and freshly inferred shapes.

    Raises:
        NetworkError: The model breaks ONNX's rules.
    """
    if folder_of(model) is not None:
        return _prepared(model, store_twice, opset)
    with spooled(model) as light:  # a message never frees the weights that a fold replaces
        return without_files(_prepared(light, store_twice, opset))


def as_written(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with the same nodes, in the lowest opset of :func:`prepare`, with names and types."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.metadata_props.add(key=_AS_WRITTEN, value="yes")
    return copy


def _prepared(model: onnx.ModelProto, store_twice: bool, opset: int) -> onnx.ModelProto:
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    prepared.ir_version = max(prepared.ir_version, LOWEST_IR)
    type_foreign(prepared)
    infer_shapes(prepared)  # which also completes outputs that were declared without one
    refuse_illegal(prepared)
    if prepared.functions:
        prepared = onnx.inliner.inline_local_functions(without_files(prepared))
    folds = all(entry.key != _AS_WRITTEN for entry in model.metadata_props)
    if folds and store_twice:
        prepared = in_float32(prepared)
    prepared = raise_opset(prepared, opset)
    infer_shapes(prepared)
    _drop_initializers_from_inputs(prepared)
    if not folds:
        name_nodes(prepared)
        return prepared
    _apply((share_constants,), prepared)
    fold = partial(fold_constants, store_twice=store_twice)
    before = None
    while before != len(prepared.graph.node):  # a size that becomes known makes others known
        before = len(prepared.graph.node)
        _apply((fold, *SHAPE_STEPS), prepared)
    _apply(steps(store_twice), prepared)
    name_nodes(prepared)
    return prepared


def remove_identities(model: onnx.ModelProto) -> None:
    """Remove Identity, Dropout, and Cast to the type that is there, wherever no name of the caller's is lost."""
    graph = Graph(model)
    renamed: dict[str, str] = {}
    nodes_left = []
    for node in graph.nodes:
        _rename_inputs(node, renamed)
        if not _passes_through(node, graph):
            nodes_left.append(node)
            continue
        source, result = node.input[0], node.output[0]
        if result not in graph.outputs:
            renamed[result] = source
        elif source in graph.producers and source not in graph.outputs:
            # The output keeps its name: whatever makes the source makes the output.
            renamed[source] = result
            for earlier in nodes_left:
                _rename_inputs(earlier, {source: result})
                earlier.output[:] = [result if name == source else name for name in earlier.output]
        else:
            nodes_left.append(node)
    replace_nodes(model, nodes_left)


def flat_biases(model: onnx.ModelProto) -> None:
    """Write a constant bias of Gemm as [features] where it is [1, features] or one number."""
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type != "Gemm" or len(node.input) < 3 or not node.input[2]:
            continue
        bias, shape = graph.constant(node.input[2]), graph.shape(node.output[0])
        features = shape[1] if shape is not None else None
        if bias is None or not isinstance(features, int) or bias.shape == (features,):
            continue
        if bias.size == 1 or bias.shape == (1, features):
            flat = np.broadcast_to(bias.reshape(-1), features).copy()
            node.input[2] = graph.store(f"{node.output[0]}_bias", flat)


def pool_instead_of_mean(model: onnx.ModelProto) -> None:
    """Write a mean over all spatial axes as GlobalAveragePool, which runtimes have in int8; ReduceMean they lack."""
    graph = Graph(model)
    nodes = []
    for node in graph.nodes:
        if node.op_type != "ReduceMean" or not _is_spatial_mean(node, graph):
            nodes.append(node)
            continue
        keeps = bool(attribute(node, "keepdims", 1))
        pooled = node.output[0] if keeps else graph.free_name(f"{node.output[0]}_pooled")
        nodes.append(onnx.helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name))
        if not keeps:
            nodes.append(onnx.helper.make_node("Flatten", [pooled], [node.output[0]], axis=1))
    replace_nodes(model, nodes)


def constant_reshapes(model: onnx.ModelProto) -> None:
    """Give Reshape a constant shape where all sizes but one are known: exporters compute it anew in every run."""
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type != "Reshape" or node.input[1] in graph.initializers:
            continue
        shape = graph.shape(node.output[0])
        if shape is None or 0 in shape or sum(not isinstance(size, int) for size in shape) > 1:
            continue
        sizes = np.array([size if isinstance(size, int) else -1 for size in shape], np.int64)
        node.input[1] = graph.store(f"{node.output[0]}_shape", sizes)


def products_and_sums(model: onnx.ModelProto, store_twice: bool = False) -> None:
    """Write x ÷ c as x · (1 ÷ c) and x − c as x + (−c), which fold and have int8 kernels where the others do not.

    Args:
        model: Model with inferred types.
        store_twice: Whether a large constant that others read as well may be stored a second time.
    """
    graph = Graph(model)
    for node in graph.nodes:
        constant = graph.constant(node.input[1]) if node.op_type in ("Div", "Sub") else None
        if constant is None or constant.dtype != np.float32 or (node.op_type == "Div" and not constant.all()):
            continue
        if not store_twice and graph.is_shared(node.input[1]):
            continue
        value = -constant if node.op_type == "Sub" else np.float32(1) / constant
        node.op_type = {"Sub": "Add", "Div": "Mul"}[node.op_type]
        node.input[1] = graph.store(f"{node.output[0]}_operand", np.asarray(value, np.float32))


def gemm_instead_of_matmul(model: onnx.ModelProto) -> None:
    """Write a two-dimensional MatMul by a constant, with its bias, as one Gemm, so that the bias stays int32."""
    graph = Graph(model)
    replaced: dict[str, onnx.NodeProto] = {}
    absorbed: set[str] = set()
    for node in graph.nodes:
        if node.op_type != "MatMul" or graph.rank(node.input[0]) != 2:
            continue
        weight = graph.constant(node.input[1])
        addition = graph.only_consumer(node.output[0])
        if weight is None or weight.ndim != 2 or addition is None or addition.op_type != "Add":
            continue
        biases = [name for name in addition.input if name != node.output[0]]
        bias = graph.constant(biases[0]) if len(biases) == 1 else None
        if bias is None or bias.size not in (1, weight.shape[1]) or bias.shape[-1:] != (bias.size,):
            continue
        replaced[node.output[0]] = onnx.helper.make_node(
            "Gemm", [*node.input, biases[0]], [addition.output[0]], name=node.name
        )
        absorbed.add(addition.output[0])
    nodes_left = [node for node in graph.nodes if node.output[0] not in absorbed]
    replace_nodes(model, [replaced.get(node.output[0], node) for node in nodes_left])


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose nodes have unique names and whose tensors are typed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    infer_shapes(copy)
    name_nodes(copy)
    return copy


def remove_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and initialisers that no output depends on."""
    needed = {value.name for value in model.graph.output}
    nodes_used = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(tensors_read(node))
            nodes_used.append(node)
    replace_nodes(model, nodes_used[::-1])
    stale = {
        tensor.name for tensor in model.graph.initializer
    } - needed  # old files list weights as inputs too
    for index in reversed(range(len(model.graph.input))):
        if model.graph.input[index].name in stale:
            del model.graph.input[index]
    # One by one: to put the others into the list again would copy them, and what a message held it never frees.
    for index in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[index].name not in needed:
            del model.graph.initializer[index]


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own, so that reports, exclusions and profiles can point at it."""
    names_taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in names_taken:
            node.name = f"{node.name or node.op_type}_{index}"
        while node.name in names_taken:
            node.name += "_"
        names_taken.add(node.name)


#: What :func:`prepare` repeats, behind folding, until no node vanishes any more; shapes are inferred after each step.
SHAPE_STEPS = (fold_known_sizes, constant_reshapes, remove_unused)


def steps(store_twice: bool) -> tuple[Callable[[onnx.ModelProto], None], ...]:
    """Apply the steps of :func:`prepare`, in order."""
    return (
        remove_identities,
        partial(products_and_sums, store_twice=store_twice),
        gemm_instead_of_matmul,
        flat_biases,
        partial(fold_affine, store_twice=store_twice),
        pool_instead_of_mean,
        plain_pools,
        convolution_instead_of_dilated_pool,
        all_axes_padded,
        all_axes_resized,
        remove_unused,
    )


def _apply(several: Iterable[Callable[[onnx.ModelProto], None]], model: onnx.ModelProto) -> None:
    for step in several:
        step(model)
        infer_shapes(model)


def infer_shapes(model: onnx.ModelProto) -> None:
    """Replace the declared types and shapes of tensors by inferred ones, in place.

    Exporters' declarations may describe the graph before their own optimizer changed it.

    Raises:
        NetworkError: The shapes do not fit each other.
    """
    # Weights are left out: their values decide no shape, and a copy of them each time would be slow.
    sketch = onnx.ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions
    )
    graph = model.graph
    sketch.graph.name = graph.name
    for field in ("node", "input", "output", "sparse_initializer"):
        getattr(sketch.graph, field).extend(getattr(graph, field))
    foreign = set(foreign_outputs(model))  # nothing is inferred about them
    sketch.graph.value_info.extend(value for value in graph.value_info if value.name in foreign)
    sketch.graph.initializer.extend(
        onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        if math.prod(tensor.dims) > _SHAPE_ELEMENTS
        else tensor
        for tensor in graph.initializer
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(
            sketch, check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.shape_inference.InferenceError, ValueError) as error:  # ValueError: sizes that no vector has
        raise NetworkError(
            "an ONNX model whose shapes agree", _first_line(error), "export the network again"
        ) from error
    for field in ("value_info", "output"):
        graph.ClearField(field)
        getattr(graph, field).extend(getattr(inferred.graph, field))


def _drop_initializers_from_inputs(model: onnx.ModelProto) -> None:
    # Before IR version 4 each initialiser was an input too, which keeps runtimes from treating it as constant.
    fed = set(Graph(model).inputs)
    inputs = [value for value in model.graph.input if value.name in fed]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def _passes_through(node: onnx.NodeProto, graph: Graph) -> bool:
    if node.op_type == "Identity":
        return True
    if node.op_type == "Cast":
        return bool(graph.element_type(node.input[0]) == attribute(node, "to"))
    if node.op_type != "Dropout" or any(graph.consumers.get(mask) for mask in node.output[1:]):
        return False
    training = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else False
    return training is not None and not bool(training) and not set(node.output[1:]) & set(graph.outputs)


def _rename_inputs(node: onnx.NodeProto, renamed: dict[str, str]) -> None:
    node.input[:] = [renamed.get(name, name) for name in node.input]
    for entry in node.attribute:
        bodies = [entry.g] if entry.type == onnx.AttributeProto.GRAPH else entry.graphs
        for body in bodies:
            for inner in body.node:
                _rename_inputs(inner, renamed)


def _is_spatial_mean(node: onnx.NodeProto, graph: Graph) -> bool:
    rank = graph.rank(node.input[0])
    axes = graph.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else attribute(node, "axes")
    if rank is None or rank < 3 or axes is None:
        return False
    return {int(axis) % rank for axis in axes} == set(range(2, rank)) and graph.is_float32(node.input[0])


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
