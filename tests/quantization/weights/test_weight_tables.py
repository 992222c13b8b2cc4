"""A matrix that is looked up in and multiplied by becomes one copy of integers, which both read."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.errors import NetworkError, RecipeError
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.sessions import open_session
from compress.quantization.weights import Settings, quantize_weights
from compress.quantization.weights.tables import find_tables, rounded

ROWS, COLUMNS = 40, 64
TABLE = np.random.default_rng(0).standard_normal((ROWS, COLUMNS)).astype(np.float32)
IDS = np.array([[3, 0, 39], [7, 7, 1]])


def tied(**product: Any) -> onnx.ModelProto:
    """Rows of a table, and the product of these with the same table; without attributes with its transpose."""
    attributes = {"transB": 1} | product
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="lookup"),
        helper.make_node(
            "FusedMatMul", ["rows", "table"], ["scores"], name="head", domain="com.microsoft", **attributes
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])],
        [
            helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", "length", COLUMNS]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", "length", ROWS]),
        ],
        [numpy_helper.from_array(TABLE, "table")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_both_read_the_same_integers(bits: int, symmetric: bool):
    settings = Settings("rtn", tied_bits=bits, symmetric=symmetric)
    (table,) = find_tables(Graph(tied()), settings)
    weight = rounded(table, settings).dequantized()
    quantized, report = quantize_weights(tied(), [], settings)
    rows, scores = open_session(quantized, optimized=False).run(["rows", "scores"], {"ids": IDS})
    np.testing.assert_allclose(rows, weight[IDS], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores, weight[IDS] @ weight.T, rtol=1e-4, atol=1e-3)
    assert np.abs(weight - TABLE).max() < (0.3 if bits == 4 else 0.02)
    (layer,) = report.layers
    assert layer.nodes == ("lookup", "head")
    assert layer.shape == (ROWS, COLUMNS)
    packed = [each for each in quantized.graph.initializer if each.data_type == TensorProto.UINT8]
    assert max(np.prod(each.dims) for each in packed) == ROWS * COLUMNS * bits // 8
    assert all(each.name != "table" for each in quantized.graph.initializer)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (tied(alpha=2.0), Settings("rtn")),
        (tied(), Settings("rtn", exclude_nodes=("head",))),
        (tied(), Settings("rtn", group_size=256)),
    ],
)
def test_what_is_another_product_or_left_out_stays_float(model: onnx.ModelProto, settings: Settings):
    assert find_tables(Graph(model), settings) == []
    with pytest.raises(NetworkError, match="nothing to quantize"):
        quantize_weights(model, [], settings)


def test_bits_are_checked():
    with pytest.raises(RecipeError, match="'tied_bits' of weight_only as one of 4, 8"):
        Settings(tied_bits=3)
