"""Check that a model keeps ONNX's rules, without copying its weights."""

from __future__ import annotations

import onnx

from compress.errors import NetworkError
from compress.onnx_graph.weights import LARGE, is_outside

#: Operators of ONNX Runtime that it keeps in ONNX's own domain, where ONNX does not know them.
UNREGISTERED = frozenset({"SimplifiedLayerNormalization"})

#: Domain of operators that ONNX does not know, in a copy that is checked and never run.
_ELSEWHERE = "compress.unregistered"


def is_foreign(node: onnx.NodeProto) -> bool:
    """Whether ONNX itself does not know a node's operator; local functions count as foreign, too."""
    return node.domain not in ("", "ai.onnx") or node.op_type in UNREGISTERED


def check_legal(model: onnx.ModelProto) -> None:
    """Run ONNX's checker on a model of any size, wherever its weights lie.

    The checker reads no values of weights but would copy them twice: large ones are passed to it as inputs.

    Raises:
        onnx.checker.ValidationError: The model breaks a rule.
    """
    sketch = onnx.ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions
    )
    sketch.graph.name = model.graph.name
    for field in ("node", "input", "output", "value_info", "sparse_initializer"):
        getattr(sketch.graph, field).extend(getattr(model.graph, field))
    unregistered = [node for node in sketch.graph.node if node.op_type in UNREGISTERED]
    for node in unregistered:  # of which the checker passes those of foreign domains alone
        node.domain = _ELSEWHERE
    if unregistered:
        sketch.opset_import.add(domain=_ELSEWHERE, version=1)
    inputs = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if not is_outside(tensor) and tensor.ByteSize() < LARGE:
            sketch.graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            kind = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
            sketch.graph.input.append(onnx.ValueInfoProto(name=tensor.name, type=kind))
    onnx.checker.check_model(sketch)


def refuse_illegal(model: onnx.ModelProto) -> None:
    """Refuse a model that breaks ONNX's rules, with an error for the user.

    Raises:
        NetworkError: The model breaks a rule.
    """
    try:
        check_legal(model)
    except (onnx.checker.ValidationError, ValueError) as error:  # ValueError: a message that is not UTF-8
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NetworkError(
            "a legal ONNX model", reason, "export the network again, or run onnx.checker on it"
        ) from error
