from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.onnx_graph.graph import Graph, attribute
from compress.quantization import Settings, quantize_static
from compress.target.target import TENSORRT_FLAVOUR, QuantizationFlavour
from tests.processor import AS_WRITTEN
from tests.random_graphs import SIDE, Builder

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)
BOTH = pytest.mark.parametrize("flavour", [U8S8, TENSORRT_FLAVOUR], ids=["u8s8", "tensorrt"])


def images(channels: int, count: int = 16) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((count, channels, SIDE, SIDE)).astype(np.float32)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for key, value in AS_WRITTEN.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def quantized(
    model: onnx.ModelProto, flavour: QuantizationFlavour, floor: float = 25, **settings: object
) -> onnx.ModelProto:
    """The quantized model, after checking that it is legal and within ``floor`` decibels of the float one."""
    x = images(model.graph.input[0].type.tensor_type.shape.dim[1].dim_value)
    result, _ = quantize_static(model, [{"x": x}], flavour, Settings(method="min-max", **settings))
    onnx.checker.check_model(result, full_check=True)
    wanted, found = run(model, x), run(result, x)
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    assert 10 * np.log10(np.square(wanted).sum() / np.square(wanted - found).sum()) > floor
    return result


def dequantizations(model: onnx.ModelProto, dtype: int) -> list[onnx.NodeProto]:
    """DequantizeLinear nodes whose input is an initialiser of this type."""
    graph = Graph(model)
    return [
        node
        for node in graph.nodes
        if node.op_type == "DequantizeLinear"
        and node.input[0] in graph.initializers
        and graph.element_type(node.input[0]) == dtype
    ]


def test_tensorrt_gets_nothing_that_it_refuses():
    builder = Builder(0, 3)
    model = builder.model(builder.head(builder.relu6(builder.residual(builder.relu(builder.conv("x", 8))))))
    graph = Graph(quantized(model, TENSORRT_FLAVOUR))
    assert {node.op_type for node in graph.nodes} <= {
        "Add", "Clip", "Conv", "DequantizeLinear", "Flatten", "Gemm", "GlobalAveragePool", "QuantizeLinear", "Relu"
    }  # fmt: skip
    assert {node.domain for node in graph.nodes} == {""}
    for node in graph.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero_point = graph.constant(node.input[2])
            assert zero_point is not None
            assert zero_point.dtype == np.int8
            assert not zero_point.any()
    types = {tensor.data_type for tensor in graph.initializers.values()}
    assert TensorProto.UINT8 not in types
    assert TensorProto.INT32 not in types


def test_a_bias_is_int32_in_the_product_of_both_scales():
    builder = Builder(1, 3)
    model = builder.model(builder.add("Conv", "x", builder.weights(8, 3, 3, 3), builder.weights(8, scale=1)))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 8
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 6
    model.graph.output[0].type.tensor_type.shape.dim[3].dim_value = 6
    graph = Graph(quantized(model, U8S8))
    (bias,) = dequantizations(graph.model, TensorProto.INT32)
    (weight,) = dequantizations(graph.model, TensorProto.INT8)
    activation = graph.producers[next(n for n in graph.nodes if n.op_type == "Conv").input[0]]
    product = graph.constant(activation.input[1]) * graph.constant(weight.input[1])
    np.testing.assert_array_equal(graph.constant(bias.input[1]), product)
    original = numpy_helper.to_array(model.graph.initializer[1])
    np.testing.assert_allclose(graph.constant(bias.input[0]) * product, original, atol=product.max())


def test_tensorrt_keeps_its_bias_in_float():
    builder = Builder(1, 4)
    model = builder.model(builder.head(builder.conv("x", 8)))
    assert not dequantizations(quantized(model, TENSORRT_FLAVOUR), TensorProto.INT32)


def test_a_bias_that_would_overflow_int32_makes_its_channel_coarser():
    builder = Builder(0, 4)
    weight = np.full((2, 4, 1, 1), 1e-9, np.float32)
    weight[1] = 1
    bias = np.array([100, 1], np.float32)
    conv = builder.add("Conv", "x", builder.constant(weight), builder.constant(bias), shape=(2, SIDE, SIDE))
    graph = Graph(quantized(builder.model(conv), U8S8, floor=40))
    (node,) = dequantizations(graph.model, TensorProto.INT32)
    assert np.abs(graph.constant(node.input[0]).astype(np.int64)).max() <= 2**30


@BOTH
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_has_its_scales_on_the_axis_of_the_outputs(flavour, transposed):
    builder = Builder(0, 2)
    flat = builder.add("Flatten", "x", shape=(128,))
    weight = builder.random.standard_normal((5, 128)).astype(np.float32) * np.float32(
        [[1e-3], [1], [10], [1e2], [1]]
    )
    stored = builder.constant(np.ascontiguousarray(weight if transposed else weight.T))
    gemm = builder.add("Gemm", flat, stored, builder.weights(5, scale=1), transB=transposed, shape=(5,))
    model = quantized(builder.model(gemm), flavour)
    (node,) = dequantizations(model, TensorProto.INT8)
    assert attribute(node, "axis") == 1 - transposed
    # The small channel would vanish with one scale for all.
    found, wanted = run(model, images(2))[:, 0], run(builder.model(gemm), images(2))[:, 0]
    np.testing.assert_allclose(found, wanted, atol=0.02)


@BOTH
def test_matmul_depthwise_and_transposed_convolutions(flavour):
    builder = Builder(0, 4)
    depthwise = builder.relu(builder.conv("x", 0, depthwise=True))
    up = builder.add(
        "ConvTranspose", depthwise, builder.weights(4, 6, 2, 2), strides=[2, 2], shape=(6, 16, 16)
    )
    quantized(builder.model(builder.add("MatMul", up, builder.weights(16, 5), shape=(6, 16, 5))), flavour)


@BOTH
def test_grouped_transposed_convolutions(flavour):
    builder = Builder(0, 4)
    weight = builder.weights(4, 3, 2, 2)
    up = builder.add("ConvTranspose", "x", weight, strides=[2, 2], group=2, shape=(6, 16, 16))
    quantized(builder.model(builder.conv(up, 8)), flavour)


@BOTH
@pytest.mark.parametrize("opset", [13, 17, 20])
def test_the_opset_stays(flavour, opset):
    builder = Builder(0, 3, opset)
    model = builder.model(builder.conv(builder.relu(builder.conv("x", 8)), 4))
    assert Graph(quantized(model, flavour)).opset == opset


@BOTH
def test_a_weight_that_two_nodes_share_is_stored_once(flavour):
    builder = Builder(0, 4)
    weight = builder.weights(4, 4, 1, 1)
    first = builder.add("Conv", builder.relu("x"), weight)
    model = builder.model(builder.add("Add", builder.add("Conv", "x", weight), first))
    result = quantized(model, flavour)
    stored = [tensor for tensor in result.graph.initializer if list(tensor.dims) == [4, 4, 1, 1]]
    assert len(stored) == 1


@BOTH
def test_a_weight_that_a_float_node_reads_too_stays_for_it(flavour):
    builder = Builder(0, 4)
    weight = builder.weights(8, 8)
    product = builder.add("MatMul", "x", weight)
    quantized(builder.model(builder.add("Mul", product, weight)), flavour)


@BOTH
def test_an_output_that_others_read_as_well(flavour):
    builder = Builder(0, 3)
    conv = builder.conv("x", 8)
    builder.head(conv)
    quantized(builder.model(conv), flavour)


@BOTH
def test_names_that_are_taken_already(flavour):
    builder = Builder(0, 3)
    first, second = builder.conv("x", 8), None
    second = builder.conv(builder.relu(first), 8)
    model = builder.model(second)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = "x_dequantized" if name == first else name
    quantized(model, flavour)


def test_names_of_initialisers_that_are_taken_already():
    builder = Builder(0, 3)
    model = builder.model(builder.add("Mul", builder.conv("x", 8), "x_scale"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(100), "x_scale"))
    # The product is not folded into the convolution, which others read too.
    model.graph.output.append(
        helper.make_tensor_value_info("t0", TensorProto.FLOAT, ["batch", 8, SIDE, SIDE])
    )
    quantized(model, U8S8)


@BOTH
def test_a_subgraph_reads_on_what_it_captured(flavour):
    builder = Builder(0, 4)
    conv = builder.conv("x", 4)
    branches = {}
    for branch, op in (("then_branch", "Abs"), ("else_branch", "Neg")):
        output = helper.make_tensor_value_info(branch, TensorProto.FLOAT, None)
        branches[branch] = helper.make_graph([helper.make_node(op, [conv], [branch])], branch, [], [output])
    flag = builder.add(
        "Greater", builder.add("ReduceMax", "x", keepdims=0, shape=()), builder.constant(np.float32(0))
    )
    chosen = builder.add("If", flag, shape=(4, SIDE, SIDE), **branches)
    quantized(builder.model(builder.add("Add", builder.conv(conv, 4), chosen)), flavour)


def test_a_reduced_range_and_one_scale_for_all_channels():
    builder = Builder(0, 4)
    model = builder.model(builder.head(builder.conv("x", 8)))
    flavour = replace(U8S8, reduce_range=True, per_channel=False)
    result = quantized(model, flavour, floor=20)
    for node in dequantizations(result, TensorProto.INT8):
        assert np.abs(Graph(result).constant(node.input[0])).max() == 63
        assert Graph(result).constant(node.input[1]).shape == ()


def test_an_excluded_node_keeps_its_weight():
    builder = Builder(0, 4)
    first = builder.conv("x", 8)
    model = builder.model(builder.head(builder.relu(first)))
    result = quantized(model, U8S8, exclude_nodes=[f"Conv_{first}"])
    conv = next(node for node in result.graph.node if node.name == f"Conv_{first}")
    assert conv.input[0] == "x"
    assert Graph(result).element_type(conv.input[1]) == TensorProto.FLOAT


def test_the_shape_is_read_off_the_integers():
    builder = Builder(0, 4)
    relu = builder.relu(builder.conv("x", 8))
    batch = builder.add(
        "Cast", builder.add("Shape", relu, end=1, shape=(1,)), to=TensorProto.FLOAT, shape=(1,)
    )
    model = quantized(builder.model(builder.add("Div", builder.conv(relu, 8), batch)), U8S8)
    graph = Graph(model)
    (shape,) = (node for node in graph.nodes if node.op_type == "Shape")
    assert graph.producers[shape.input[0]].op_type == "QuantizeLinear"


def test_a_pool_shares_the_scale_of_its_input():
    builder = Builder(0, 4)
    pooled = builder.max_pool(builder.relu(builder.conv("x", 8)))
    graph = Graph(quantized(builder.model(builder.conv(pooled, 8)), U8S8))
    pool = next(node for node in graph.nodes if node.op_type == "MaxPool")
    before = graph.producers[pool.input[0]]
    after = graph.consumers[pool.output[0]][0]
    assert before.op_type == "DequantizeLinear"
    assert after.op_type == "QuantizeLinear"
    assert list(before.input[1:]) == list(after.input[1:])
