"""Types of outputs of foreign operators, which ONNX Runtime infers and ONNX does not."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper

from compress.onnx_graph.graph import Graph
from compress.onnx_graph.legality import is_foreign
from compress.onnx_graph.sessions import open_session, part

#: How ONNX Runtime writes the types of tensors, where that is not how NumPy does.
_WRITTEN = {"float": int(TensorProto.FLOAT), "double": int(TensorProto.DOUBLE)}


def type_foreign(model: onnx.ModelProto) -> None:
    """Declare the types and shapes of foreign operators' outputs, as ONNX Runtime infers them, in place.

    An exporter's declarations are dropped: they may describe the graph before its own optimizer changed it.
    """
    graph = Graph(model)
    untyped = [name for name in foreign_outputs(model) if name not in graph.outputs]
    if not untyped:
        return
    stale = set(untyped)
    value_infos = [value for value in model.graph.value_info if value.name not in stale]
    try:
        typed_outputs = open_session(part(graph, untyped), optimized=False).get_outputs()
    except Exception:  # noqa: BLE001 - ONNX Runtime's own classes have no common root; who runs it says why
        typed_outputs = []
    for value in typed_outputs:
        element_type = _element_type(value.type)
        if element_type:
            # No axes are told of a single value, and of what has an unknown number of them.
            shape = [size if isinstance(size, int | str) else None for size in value.shape] or None
            value_infos.append(helper.make_tensor_value_info(value.name, element_type, shape))
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in value_infos]
    model.graph.ClearField("value_info")
    model.graph.value_info.extend(copies)


def foreign_outputs(model: onnx.ModelProto) -> Iterator[str]:
    """Return the outputs of operators that are neither ONNX's own nor local functions."""
    functions = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        if is_foreign(node) and (node.domain, node.op_type) not in functions:
            yield from (name for name in node.output if name)


def _element_type(written: str) -> int:
    """Return the type number of ``onnx.TensorProto``; 0 for other values than tensors."""
    if not written.startswith("tensor("):
        return 0
    name = written.removeprefix("tensor(").removesuffix(")")
    return int(_WRITTEN.get(name, 0) or getattr(TensorProto, name.upper(), 0))
