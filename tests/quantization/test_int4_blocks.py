from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from compress.errors import NetworkError
from compress.quantization.int4_blocks import int4_weights, quantize_blocks


def network(transposed: int = 0, inputs: int = 128, opset: int = 21) -> onnx.ModelProto:
    """MatMul on sequences, then Gemm in either layout."""
    random = np.random.default_rng(0)
    first = random.standard_normal((inputs, 64)).astype(np.float32)
    second = random.standard_normal((10, 64) if transposed else (64, 10)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["h"], "matmul"),
            helper.make_node("ReduceMean", ["h", "axes"], ["mean"], "mean", keepdims=0),
            helper.make_node("Gemm", ["mean", "second"], ["y"], "gemm", transB=transposed),
        ],
        "matrices",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "steps", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
        [
            numpy_helper.from_array(first, "first"),
            numpy_helper.from_array(second, "second"),
            numpy_helper.from_array(np.array([1]), "axes"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@given(seed=st.integers(0, 1000), axis=st.integers(0, 1), block=st.sampled_from([16, 32]))
@settings(max_examples=20, deadline=None)
def test_no_value_is_further_off_than_half_a_step_of_its_own_block(seed, axis, block):
    weight = np.random.default_rng(seed).standard_normal((64, 96)).astype(np.float32)
    integers, scales = quantize_blocks(weight, axis, block)
    assert scales.shape[axis] == weight.shape[axis] // block
    steps = np.repeat(scales, block, axis)
    assert np.abs(integers).max() == 7
    assert np.all(np.abs(integers * steps - weight) <= 0.5001 * steps)


@pytest.mark.parametrize("transposed", [0, 1])
def test_the_graph_is_legal_smaller_and_close(transposed):
    model = network(transposed)
    quantized, kept = int4_weights(model)
    onnx.checker.check_model(quantized, full_check=True)
    assert kept == {}
    assert quantized.ByteSize() < 0.3 * model.ByteSize()
    x = np.random.default_rng(1).standard_normal((4, 5, 128)).astype(np.float32)
    wanted, found = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, {"x": x})[0]
        for each in (model, quantized)
    )
    assert np.square(found - wanted).sum() < 0.05 * np.square(wanted).sum()


def test_what_blocks_do_not_divide_stays_float_and_says_why():
    quantized, kept = int4_weights(network(inputs=100))
    assert "100 inputs are no multiple of 64" in kept["matmul"]
    assert sum(node.op_type == "DequantizeLinear" for node in quantized.graph.node) == 1


def test_older_opsets_and_networks_without_such_weights_are_refused():
    with pytest.raises(NetworkError, match="opset 20"):
        int4_weights(network(opset=20))
    with pytest.raises(NetworkError, match="multiple of 48"):
        int4_weights(network(), block=48)
