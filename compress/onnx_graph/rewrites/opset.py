"""A graph in an older opset, so that an older parser reads it.

Operators that came later are written as the older ones they stand for. An operator that changed is put back step by
step, version by version, as "Operator Changelog" in ONNX's documentation describes the changes; what has no older
form is refused and named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx
from onnx import TensorProto, helper

from compress.errors import NetworkError
from compress.onnx_graph.fold import infer_shapes, name_nodes
from compress.onnx_graph.graph import Graph, replace_nodes, subgraphs
from compress.onnx_graph.rewrites.activations import (
    decompose_gelu,
    decompose_hard_swish,
    decompose_mish,
    decompose_swish,
)
from compress.onnx_graph.rewrites.earlier import EARLIER, Step
from compress.onnx_graph.rewrites.normalization import (
    decompose_group_normalization,
    decompose_layer_normalization,
    decompose_rms_normalization,
)

#: The oldest opset that :func:`lower_opset` writes.
LOWEST = 13

#: Operators that came after :data:`LOWEST`, or meant something else then: the first opset that has them as they
#: are now, and how to do without.
_LATER: tuple[tuple[int, Callable[[onnx.ModelProto], list[str]]], ...] = (
    (14, decompose_hard_swish),
    (17, decompose_layer_normalization),
    (18, decompose_mish),
    (20, decompose_gelu),
    (21, decompose_group_normalization),
    (23, decompose_rms_normalization),
    (24, decompose_swish),
)

_STANDARD = ("", "ai.onnx")


def lower_opset(model: onnx.ModelProto, opset: int) -> list[str]:
    """Write a graph in an older opset, in place.

    Args:
        model: Legal and typed model without local functions.
        opset: Opset of the result, at least :data:`LOWEST`.

    Returns:
        Names of the nodes that had to change; empty where only the number did, and where the opset was as old already.

    Raises:
        NetworkError: An operator has no form in that opset; the model may have changed by then.
    """
    current = Graph(model).opset
    if current <= opset:
        return []
    if opset < LOWEST:
        raise NetworkError(
            f"an opset from {LOWEST} on to write", str(opset), "export the network in that opset"
        )
    changed = []
    for first, decompose in _LATER:
        if opset < first <= current:
            changed += decompose(model)
            infer_shapes(model)
    graph = Graph(model)
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        written = _lowered(node, graph, current, opset)
        if [lowered.SerializeToString() for lowered in written] != [node.SerializeToString()]:
            changed.append(str(node.name or node.output[0]))
        nodes += written
    replace_nodes(model, nodes)
    for entry in model.opset_import:
        if entry.domain in _STANDARD:
            entry.version = opset
    model.ir_version = min(
        model.ir_version, helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    )
    name_nodes(model)
    infer_shapes(model)
    return changed


def _lowered(node: onnx.NodeProto, graph: Graph, current: int, opset: int) -> list[onnx.NodeProto]:
    """Return the nodes that replace a node in the older opset."""
    if node.domain not in _STANDARD:
        return [node]
    for inner in _inside(node):
        if _since(inner, current) != _since(inner, opset):
            _refuse(inner, opset, "it is inside a branch or a loop")
    if _since(node, current) == _since(node, opset):
        return [node]
    lowered = onnx.NodeProto()
    lowered.CopyFrom(node)
    written = [lowered]
    for version in _versions(node, opset, current):
        step: Step | None = EARLIER.get((node.op_type, version))
        if step is not None:
            before_and_after = step(lowered, graph)
            if isinstance(before_and_after, str):
                _refuse(node, opset, before_and_after)
            else:
                before, after = before_and_after
                written = [*before, *written, *after]
    _drop_new_defaults(lowered, current, opset)
    reason = _illegal(lowered, graph, opset)
    if reason is not None:
        _refuse(node, opset, reason)
    return written


def _versions(node: onnx.NodeProto, opset: int, current: int) -> list[int]:
    """Return the versions between the opsets in which the operator changed, the newest first."""
    changed = {_since(node, version) for version in range(opset + 1, current + 1)}
    return sorted((version for version in changed if version is not None and version > opset), reverse=True)


def _since(node: onnx.NodeProto, opset: int) -> int | None:
    """Return the version of the operator in an opset; None where it has none."""
    schema = _schema(node, opset)
    return None if schema is None else int(schema.since_version)


def _schema(node: onnx.NodeProto, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def _inside(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    for body in subgraphs(node):
        for inner in body.node:
            yield inner
            yield from _inside(inner)


def _drop_new_defaults(node: onnx.NodeProto, current: int, opset: int) -> None:
    """Drop attributes that the older operator lacks where they say what it does anyway."""
    newer, older = _schema(node, current), _schema(node, opset)
    if newer is None or older is None:
        return
    attributes_left = [
        entry
        for entry in node.attribute
        if entry.name in older.attributes
        or helper.get_attribute_value(entry) != _default(newer.attributes.get(entry.name))
    ]
    node.ClearField("attribute")
    node.attribute.extend(attributes_left)


def _default(declared: onnx.defs.OpSchema.Attribute | None) -> object:
    if declared is None or not declared.default_value.type:
        return None
    return helper.get_attribute_value(declared.default_value)


def _illegal(node: onnx.NodeProto, graph: Graph, opset: int) -> str | None:
    """Return why the older opset lacks the node in its present form; None where it has it."""
    schema = _schema(node, opset)
    if schema is None:
        return "it came later"
    unknown = [entry.name for entry in node.attribute if entry.name not in schema.attributes]
    if unknown:
        return f"its attribute {unknown[0]} came later"
    if not (
        schema.min_input <= len(node.input) <= schema.max_input and len(node.output) <= schema.max_output
    ):
        return "it had other inputs or outputs"
    for names, parameters in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for position, name in enumerate(names):
            element_type = graph.element_type(name) if name else TensorProto.UNDEFINED
            if not element_type:
                continue
            allowed = parameters[min(position, len(parameters) - 1)].types
            written = helper.tensor_dtype_to_string(element_type).removeprefix("TensorProto.").lower()
            if f"tensor({written})" not in allowed:
                return f"it did not take {written}"
    return None


def _refuse(node: onnx.NodeProto, opset: int, reason: str) -> None:
    name = node.name or next((output for output in node.output if output), node.op_type)
    raise NetworkError(
        f"operators that opset {opset} can express",
        f"{node.op_type} at {name}: {reason}",
        f"export the network in opset {opset}, or write it without this",
    )
