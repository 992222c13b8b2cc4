from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from compress.onnx_graph.graph import Graph
from compress.quantization.weights.layers import find_layers
from tests.quantization.weights.matrices import matrices, model_of


def initializer(model, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(tensor for tensor in model.graph.initializer if tensor.name == name))


def square(name: str = "w", side: int = 32) -> object:
    return numpy_helper.from_array(np.eye(side, dtype=np.float32), name)


def test_weights_come_out_by_output_however_they_are_held():
    model = matrices()
    layers, reasons = find_layers(Graph(model), 32)
    assert [layer.nodes for layer in layers] == [("first",), ("second",), ("third",)]
    assert [layer.input for layer in layers] == ["x", "r1", "t2"]
    np.testing.assert_array_equal(layers[0].weight, initializer(model, "w1").T)
    np.testing.assert_array_equal(layers[1].weight, initializer(model, "w2"))
    np.testing.assert_array_equal(layers[2].weight, initializer(model, "w3").T)
    assert not reasons


def test_a_layer_with_fewer_inputs_than_a_group_stays_float():
    layers, reasons = find_layers(Graph(matrices()), 64)
    assert [layer.nodes for layer in layers] == [("first",), ("second",)]
    assert reasons == {"third": "its 48 inputs are fewer than a group of 64"}


def test_what_is_excluded_stays_float():
    layers, reasons = find_layers(Graph(matrices()), 32, {"second"})
    assert [layer.nodes for layer in layers] == [("first",), ("third",)]
    assert reasons == {"second": "excluded by the recipe"}


def test_a_matrix_that_is_applied_twice_is_one_layer():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "once"),
        helper.make_node("MatMul", ["y", "w"], ["scores"], "again"),
    ]
    layers, _ = find_layers(Graph(model_of(nodes, [square()], ["n", 32], ["n", 32])), 32)
    assert [layer.nodes for layer in layers] == [("once", "again")]
    assert layers[0].input == "x"


@pytest.mark.parametrize(
    "nodes, reason",
    [
        (
            [
                helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
                helper.make_node("Add", ["y", "w"], ["scores"], "sum"),
            ],
            "read by other operators",
        ),
        (
            [
                helper.make_node("Gemm", ["x", "w"], ["y"], "product"),
                helper.make_node("Gemm", ["y", "w"], ["scores"], "other", transB=1),
            ],
            "two ways",
        ),
        ([helper.make_node("Gemm", ["x", "w"], ["scores"], "product", alpha=0.5)], "scaled or transposed"),
        ([helper.make_node("Gemm", ["x", "w"], ["scores"], "product", transA=1)], "scaled or transposed"),
        ([helper.make_node("MatMul", ["w", "x"], ["scores"], "product")], "no constant matrix"),
    ],
)
def test_what_cannot_be_packed_says_why(nodes, reason):
    layers, reasons = find_layers(Graph(model_of(nodes, [square()], [32, 32], [32, 32])), 32)
    assert not layers
    assert reason in reasons["product"]


def test_weights_that_are_not_finite_stay_float():
    broken = numpy_helper.from_array(np.full((32, 32), np.nan, np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["scores"], "product")]
    _, reasons = find_layers(Graph(model_of(nodes, [broken], ["n", 32], ["n", 32])), 32)
    assert reasons == {"product": "its weights are not finite"}
