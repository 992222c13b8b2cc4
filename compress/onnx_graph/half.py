"""Half precision in the graph: every float32 tensor that may be becomes float16 or bfloat16, with casts at the borders.

A node computes in half precision where the operator's own definition allows the type for what it reads; inputs that
it allows in float32 alone (Resize's scales) stay. The network's inputs and outputs keep their types, so that nobody
who calls it notices. Q/DQ take part from opset 19 on: their scales then are in half precision as well, as a strongly
typed engine wants them, and what is not int8 between them runs in half precision. No cast stands between
DequantizeLinear and the layer that reads it, since an engine would no longer run that layer in int8: a layer that stays
in float32 gets a DequantizeLinear of its own with float32 scales.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import onnx
from onnx import TensorProto, helper

from compress.onnx_graph.fold import infer_shapes, remove_unused
from compress.onnx_graph.graph import Graph, replace_nodes, subgraphs, tensors_read
from compress.onnx_graph.operators import operator_of
from compress.onnx_graph.weights import values_of

#: Element types to cast to, and how ONNX's definitions write them.
HALF_TYPES = {
    "float16": (int(TensorProto.FLOAT16), "tensor(float16)"),
    "bfloat16": (int(TensorProto.BFLOAT16), "tensor(bfloat16)"),
}

#: Q/DQ take scales in half precision from here on.
HALF_SCALES_OPSET = 19


def in_half_precision(model: onnx.ModelProto, precision: str, kept: Collection[str] = ()) -> onnx.ModelProto:
    """Return a copy that computes in half precision.

    Args:
        model: Model in float32, or with Q/DQ, with unique node names and inferred types.
        precision: Precision, one of :data:`HALF_TYPES`.
        kept: Names of nodes that stay in float32.
    """
    cast = onnx.ModelProto()
    cast.CopyFrom(model)
    _Caster(cast, precision, kept).cast()
    remove_unused(cast)
    infer_shapes(cast)
    return cast


def kept_with(model: onnx.ModelProto, kept: Mapping[str, str]) -> dict[str, str]:
    """Return the nodes to keep in float32 with those that have to stay beside them, with reasons.

    These are the readers of a DequantizeLinear that stays, and what only moves values on the way from one to a layer
    that stays.

    Args:
        model: Model with unique node names.
        kept: Reason for each node to keep, by its name.
    """
    graph, reasons = Graph(model), dict(kept)
    by_name = {node.name: node for node in graph.nodes}
    waiting = [name for name in kept if name in by_name]
    while waiting:
        node = by_name[waiting.pop()]
        beside = [
            graph.producers[name]
            for name in node.input
            if name in graph.producers and _moves_quantized(graph, graph.producers[name])
        ]
        if node.op_type == "DequantizeLinear" or _moves_quantized(graph, node):
            beside += graph.consumers.get(node.output[0], [])
        for node_beside in beside:
            if node_beside.name not in reasons:
                reasons[node_beside.name] = f"beside '{node.name}': no cast may stand behind DequantizeLinear"
                waiting.append(node_beside.name)
    return reasons


def _moves_quantized(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a node only moves what a DequantizeLinear before it gives."""
    while operator_of(node).carries_quantized and node.input[0] in graph.producers:
        node = graph.producers[node.input[0]]
        if node.op_type == "DequantizeLinear":
            return True
    return False


class _Caster:
    """Writer of casts into a graph; :func:`in_half_precision` is its only user."""

    def __init__(self, model: onnx.ModelProto, precision: str, kept: Collection[str]) -> None:
        self.graph = Graph(model)
        self.precision = precision
        self.element_type, self.written = HALF_TYPES[precision]
        self.kept = kept
        self.seen_outside = {*self.graph.outputs, *_captured(self.graph)}
        self.half: set[str] = set()  # tensors made in half precision
        self.names: dict[tuple[str, bool], str] = {}  # (tensor, whether in half precision) → its name there
        self.nodes: list[onnx.NodeProto] = []

    def cast(self) -> None:
        for node in self.graph.nodes:
            converted = onnx.NodeProto()
            converted.CopyFrom(node)
            allowed = self._half_inputs(node)
            if any(allowed) or self._casts_to_float(node):
                self._convert(node, converted, allowed)
            else:
                converted.input[:] = [self._named(name, False) for name in node.input]
                self.nodes.append(converted)
        replace_nodes(self.graph.model, self.nodes)

    def _convert(self, node: onnx.NodeProto, converted: onnx.NodeProto, allowed: list[bool]) -> None:
        converted.input[:] = [self._named(name, half) for name, half in zip(node.input, allowed, strict=True)]
        half_names = [
            name for name, half in zip(node.output, self._half_outputs(node, allowed), strict=True) if half
        ]
        if self._casts_to_float(node):
            half_names = [node.output[0]]
            next(entry for entry in converted.attribute if entry.name == "to").i = self.element_type
        self.half.update(half_names)
        self.nodes.append(converted)
        for index, name in enumerate(node.output):
            if name in half_names and name in self.seen_outside:
                converted.output[index] = self.graph.free_name(f"{name}_{self.precision}")
                self.names[name, True] = converted.output[index]
                if node.op_type == "DequantizeLinear":
                    self._dequantize(node, name)
                else:
                    self._add_cast(converted.output[index], name, int(TensorProto.FLOAT))
                self.names[name, False] = name

    def _named(self, name: str, half: bool) -> str:
        """Return the tensor in the precision that is read, cast where it is made in the other one."""
        if (
            not name
            or not self.graph.is_float32(name)
            or half == (name in self.half and (name, True) not in self.names)
        ):
            return name
        if (name, half) not in self.names:
            if name in self.graph.initializers:
                self.names[name, half] = self._stored(name)
            elif not half and self.graph.producers[name].op_type == "DequantizeLinear":
                self.names[name, half] = self.graph.free_name(f"{name}_float32")
                self._dequantize(self.graph.producers[name], self.names[name, half])
            else:
                cast = self.graph.free_name(f"{name}_{self.precision if half else 'float32'}")
                self._add_cast(name, cast, self.element_type if half else int(TensorProto.FLOAT))
                self.names[name, half] = cast
        return self.names[name, half]

    def _dequantize(self, node: onnx.NodeProto, result: str) -> None:
        """Add the same DequantizeLinear with its scales in float32."""
        again = onnx.NodeProto()
        again.CopyFrom(node)
        again.name = f"{result}_dequantize"
        again.output[0] = result
        again.input[1] = self._named(node.input[1], False)
        self.nodes.append(again)

    def _stored(self, name: str) -> str:
        array = values_of(self.graph.initializers[name])
        values = array.astype(helper.tensor_dtype_to_np_dtype(self.element_type))
        return self.graph.store(f"{name}_{self.precision}", values)

    def _add_cast(self, source: str, result: str, to: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [result], f"{result}_cast", to=to))

    def _half_inputs(self, node: onnx.NodeProto) -> list[bool]:
        """Return for each input whether it is read in half precision."""
        none = [False] * len(node.input)
        schema = _schema(node, self.graph.opset)
        if node.name in self.kept or schema is None or any(subgraphs(node)) or node.op_type == "Cast":
            return none
        if any(name and not self.graph.element_type(name) for name in node.output):
            return none
        parameters = [schema.inputs[min(index, len(schema.inputs) - 1)] for index in range(len(node.input))]
        floats = {
            parameter.type_str
            for name, parameter in zip(node.input, parameters, strict=True)
            if name and self.graph.is_float32(name) and self.written in parameter.types
        }
        # Nobody knows in what a tensor of unknown type is; whatever has to be of the same type stays.
        floats -= {
            parameter.type_str
            for name, parameter in zip(node.input, parameters, strict=True)
            if name and not self.graph.element_type(name)
        }
        outputs = [schema.outputs[min(index, len(schema.outputs) - 1)] for index in range(len(node.output))]
        for name, parameter in zip(node.output, outputs, strict=True):
            # A float output that no input decides is decided by an attribute, which would have to change as well.
            if name and self.graph.is_float32(name) and parameter.type_str not in floats:
                return none
        return [
            bool(name) and self.graph.is_float32(name) and parameter.type_str in floats
            for name, parameter in zip(node.input, parameters, strict=True)
        ]

    def _half_outputs(self, node: onnx.NodeProto, allowed: list[bool]) -> list[bool]:
        return [any(allowed) and bool(name) and self.graph.is_float32(name) for name in node.output]

    def _casts_to_float(self, node: onnx.NodeProto) -> bool:
        return (
            node.op_type == "Cast"
            and node.name not in self.kept
            and self.graph.is_float32(node.output[0])
            and not self.graph.is_float32(node.input[0])
        )


def _schema(node: onnx.NodeProto, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return None


def _captured(graph: Graph) -> Iterator[str]:
    """Return the tensors that branches and loop bodies read from the graph around them."""
    for node in graph.nodes:
        if any(subgraphs(node)):
            yield from (name for name in tensors_read(node) if name not in node.input)
