"""The table of operators agrees with ONNX and ONNX Runtime, and an operator that is added to it is known everywhere."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.defs import OpSchema
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from compress.lint.equality import largest_difference
from compress.onnx_graph.coverage import fusion_coverage
from compress.onnx_graph.folding import constant_nodes
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.layers import layers
from compress.onnx_graph.macs import product
from compress.onnx_graph.operators import OPERATORS, Operator, as_standard, kind, macs
from compress.onnx_graph.quantized import quantized_operator

STANDARD = {each.name: each for each in onnx.defs.get_all_schemas() if each.domain == ""}
RUNTIME = {each.name: each for each in get_all_operator_schema() if each.domain != ""}


@pytest.mark.parametrize("facts", OPERATORS.values(), ids=OPERATORS.keys())
def test_the_domain_has_the_operator_with_those_inputs(facts: Operator) -> None:
    schema = (RUNTIME if facts.domain else STANDARD)[facts.name]
    positions = {*(facts.operands or ()), *facts.weights, *facts.auxiliary}
    assert not facts.weights & facts.auxiliary
    assert max(positions, default=-1) < schema.max_input
    assert facts.same_as in {"", *STANDARD}
    assert (facts.macs is not None) <= facts.multiplies_matrices


def test_random_operators_are_those_that_onnx_calls_so() -> None:
    of_tensors = {
        "AffineGrid",
        "Dropout",
        "If",
        "Loop",
        "Scan",
        "SequenceMap",
    }  # random by what is in them, if at all
    said = {
        name
        for name, each in STANDARD.items()
        if each.node_determinism == OpSchema.NodeDeterminism.NonDeterministic
    }
    assert {name for name, each in OPERATORS.items() if each.random} == said - of_tensors


def test_a_fused_operator_counts_as_that_of_the_standard() -> None:
    shapes = {"x": (1, 3, 8, 8), "w": (4, 3, 3, 3), "y": (1, 4, 6, 6)}
    fused = helper.make_node("FusedConv", ["x", "w"], ["y"], domain="com.microsoft", activation="Relu")
    assert kind(fused, shapes.get) == "unknown"  # in a network that is given, nothing vouches for it
    assert kind(as_standard(fused), shapes.get) == "convolution"
    assert macs(as_standard(fused), shapes.get) == 4 * 6 * 6 * 3 * 3 * 3


def test_the_table_has_every_operator_of_the_runtime_that_computes_in_integers() -> None:
    """A new release of the runtime with another one fails here, and what it computes would count as float."""
    of_the_runtime = {name for name in {*RUNTIME, *STANDARD} if name.startswith("QLinear")}
    assert {"QLinearMul", "QLinearConcat", "QLinearSoftmax", "QLinearConv"} <= of_the_runtime
    in_the_table = {name for name, each in OPERATORS.items() if each.computes_in_integers}
    assert of_the_runtime <= in_the_table
    assert "DynamicQuantizeLinear" not in in_the_table


@pytest.mark.parametrize("domain", ["", "com.microsoft", "com.ms.internal.nhwc"])
def test_a_convolution_in_integers_counts_in_every_layout(domain: str) -> None:
    shapes = {"x": (1, 3, 8, 8), "w": (4, 3, 3, 3), "y": (1, 4, 6, 6)}
    node = helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"], domain=domain)
    assert kind(as_standard(node), shapes.get) == "convolution"
    assert macs(as_standard(node), shapes.get) == 4 * 6 * 6 * 3 * 3 * 3
    assert (as_standard(node) is node) == (domain == "")


def test_what_the_runtime_computes_in_integers_is_told_by_the_table_alone() -> None:
    """One in integers counts as the standard's, and an operator of somebody else by its prefix as nothing."""
    product_of = helper.make_node(
        "QLinearMul", ["a", "s", "z", "b", "s", "z", "s", "z"], ["y"], domain="com.microsoft"
    )
    foreign = helper.make_node("QLinearMadeUp", ["x"], ["y"], domain="made.up")
    assert kind(as_standard(product_of), {}.get) == "elementwise"
    assert as_standard(foreign) is foreign
    assert dict(fusion_coverage(network(product_of)).int8) == {"QLinearMul": 1}
    assert not fusion_coverage(network(foreign)).int8


def test_attention_of_the_runtime_is_not_taken_for_that_of_the_standard() -> None:
    # It reads one input and the weights of all three projections.
    own = helper.make_node("Attention", ["x", "w", "b"], ["y"], domain="com.microsoft", num_heads=2)
    assert macs(as_standard(own), {"x": (1, 5, 8), "w": (8, 24), "b": (24,), "y": (1, 5, 8)}.get) is None


def network(*nodes: onnx.NodeProto, **constants: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        value_info=[helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)
# Nothing can run an operator that ONNX does not have; what reads the table needs no run.
MADE_UP = helper.make_node("MadeUp", ["x", "w"], ["y"], name="made-up")


def test_an_operator_that_is_added_in_the_table_alone_is_known_to_all_that_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = network(MADE_UP, w=WEIGHT)
    shapes = {"x": (1, 4), "w": (4, 3), "y": (1, 3)}
    assert kind(MADE_UP, shapes.get) == "unknown"
    assert layers(model)[0].kind == "unknown"
    assert not fusion_coverage(model).float_compute
    facts = Operator("MadeUp", "matrix multiplication", macs=product, operands=(0, 1), weights=frozenset({1}))
    monkeypatch.setitem(OPERATORS, "MadeUp", facts)
    assert (kind(MADE_UP, shapes.get), macs(MADE_UP, shapes.get)) == ("matrix multiplication", 12)
    assert layers(model)[0].kind == "matrix multiplication"
    assert dict(fusion_coverage(model).float_compute) == {"MadeUp": 1}
    assert quantized_operator(model) is None
    monkeypatch.setitem(
        OPERATORS, "MadeUp", Operator("MadeUp", "matrix multiplication", quantization="integers")
    )
    assert dict(fusion_coverage(model).int8) == {"MadeUp": 1}
    assert quantized_operator(model) == "MadeUp"


def test_a_random_one_is_neither_folded_nor_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    # Exp stands for an operator whose values are new in every run.
    model = network(
        helper.make_node("Exp", ["v"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"]), v=WEIGHT
    )
    assert [node.op_type for node in constant_nodes(Graph(model))] == ["Exp"]
    assert largest_difference(model, model) == 0
    monkeypatch.setitem(OPERATORS, "Exp", Operator("Exp", "elementwise", random=True))
    assert constant_nodes(Graph(model)) == []
    assert largest_difference(model, model) is None
