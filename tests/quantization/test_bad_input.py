"""Graphs and samples that break quantizers: each ends in one line that says why, or in a correct result."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.errors import DataError, NetworkError
from compress.quantization import METHODS, Settings, quantize_static
from compress.target.target import TENSORRT_FLAVOUR, QuantizationFlavour
from tests.graphs import classifier, samples
from tests.processor import AS_WRITTEN

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)
FLAVOURS = pytest.mark.parametrize("flavour", [U8S8, TENSORRT_FLAVOUR], ids=["u8s8", "tensorrt"])


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for key, value in AS_WRITTEN.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def relative_error(model: onnx.ModelProto, quantized: onnx.ModelProto, x: np.ndarray) -> float:
    wanted = run(model, x)
    return float(np.abs(run(quantized, x) - wanted).max() / np.abs(wanted).max())


def with_constants(**values: np.ndarray) -> onnx.ModelProto:
    model = classifier()
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name].astype(np.float32), tensor.name))
    return model


@FLAVOURS
@pytest.mark.parametrize("operator", ["QuantizeLinear", "QLinearConv", "MatMulInteger"])
def test_a_quantized_network_is_refused_in_one_line(operator, flavour):
    model = classifier()
    if operator == "QuantizeLinear":
        model, _ = quantize_static(model, [{"x": samples(8)}], flavour)
    elif operator == "QLinearConv":
        graph = helper.make_graph(
            [
                helper.make_node(
                    "QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"], name="conv", pads=[1] * 4
                )
            ],
            "int8",
            [helper.make_tensor_value_info("x", TensorProto.INT8, ["batch", 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.INT8, ["batch", 4, 8, 8])],
            [
                numpy_helper.from_array(np.float32(0.1), "s"),
                numpy_helper.from_array(np.int8(0), "z"),
                numpy_helper.from_array(np.ones((4, 3, 3, 3), np.int8), "w"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    else:
        graph = helper.make_graph(
            [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
            "int8",
            [helper.make_tensor_value_info("x", TensorProto.INT8, ["batch", 4])],
            [helper.make_tensor_value_info("y", TensorProto.INT32, ["batch", 4])],
            [numpy_helper.from_array(np.ones((4, 4), np.int8), "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(NetworkError, match="it is quantized already"):
        quantize_static(model, [{"x": samples(8)}], flavour)


@FLAVOURS
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("constant", [0.0, -2.0])
def test_constant_inputs_and_the_dead_activations_behind_them(constant, method, flavour):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a division by a range of 0 would warn
        # The first ReLU is dead: a bias far below zero leaves only zeros of it.
        dead = with_constants(b1=np.full(8, -100.0), b2=np.linspace(1, 2, 8))
        for model in (dead, classifier()):
            x = np.full((8, 3, 8, 8), constant, np.float32)
            quantized, _ = quantize_static(model, [{"x": x}], flavour, Settings(method=method))
            onnx.checker.check_model(quantized, full_check=True)
            found = run(quantized, x)
            assert np.isfinite(found).all()
            np.testing.assert_allclose(found, run(model, x), rtol=0.1, atol=0.1)


@FLAVOURS
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_in_the_samples_name_the_tensor(wrong, method, flavour):
    x = samples(8)
    x[3, 1, 2, 2] = wrong
    with pytest.raises(DataError, match="NaN or infinity in tensor 'x'"):
        quantize_static(classifier(), [{"x": samples(8)}, {"x": x}], flavour, Settings(method=method))


@FLAVOURS
@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_an_outlier_in_the_samples_costs_the_others_nothing(method, flavour):
    x = samples(256)
    x[100, 0, 0, 0] = 1e4
    quantized, _ = quantize_static(classifier(), [{"x": x}], flavour, Settings(method=method, percentile=99))
    assert relative_error(classifier(), quantized, samples(32, seed=7)) < 0.15


@FLAVOURS
@pytest.mark.parametrize("method", METHODS)
def test_an_outlier_in_a_weight_costs_its_own_channel_alone(method, flavour):
    weight = numpy_helper.to_array(classifier().graph.initializer[2]).copy()
    weight[3, 0, 0, 0] = 1e4 * np.abs(weight).max()
    # Nothing reads that channel but through a tiny weight: what it costs the others is what is seen.
    head = numpy_helper.to_array(classifier().graph.initializer[4]).copy()
    head[:, 3] = 0
    model = with_constants(w2=weight, w3=head)
    settings = Settings(method=method, exclude_nodes=("fc", "pool", "flatten", "relu2"))
    quantized, _ = quantize_static(model, [{"x": samples(64)}], flavour, settings)
    graph = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    integers = graph["w2_quantized"]
    assert np.abs(integers[np.arange(8) != 3]).max((1, 2, 3)).min() == 127


@FLAVOURS
def test_an_operator_the_target_cannot_quantize_stays_float_and_says_why(flavour):
    model = classifier()
    model.graph.node[1].CopyFrom(helper.make_node("Erf", ["c1"], ["r1"], "erf"))
    quantized, report = quantize_static(model, [{"x": samples(64)}], flavour)
    assert "erf" in report.float_nodes
    assert report.float_nodes["erf"]
    assert {"conv1", "conv2", "fc"} <= set(report.int8_nodes)
    assert relative_error(model, quantized, samples(32, seed=7)) < 0.1


@FLAVOURS
def test_every_axis_of_the_input_dynamic(flavour):
    model = classifier()
    shape = model.graph.input[0].type.tensor_type.shape
    shape.dim[2].dim_param, shape.dim[3].dim_param = "height", "width"
    random = np.random.default_rng(0)
    batches = [
        {"x": random.standard_normal((4, 3, height, width)).astype(np.float32)}
        for height, width in ((8, 8), (16, 12), (9, 21))
    ]
    quantized, report = quantize_static(model, batches, flavour)
    onnx.checker.check_model(quantized, full_check=True)
    assert report.samples == 12
    for batch in batches:
        assert relative_error(model, quantized, batch["x"]) < 0.1


@FLAVOURS
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_by_either_layout_with_stale_value_info(transposed, flavour):
    """torch leaves value_info of the graph before its own optimizer, under names that mean other tensors now."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((6, 8) if transposed else (8, 6)).astype(np.float32)
    weight *= np.geomspace(1e-2, 1, 6)[:, None] if transposed else np.geomspace(1e-2, 1, 6)
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["h"], "gemm", transB=transposed),
            helper.make_node("Relu", ["h"], ["y"], "relu"),
        ],
        "gemm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 6])],
        [
            numpy_helper.from_array(weight.astype(np.float32), "w"),
            numpy_helper.from_array(random.standard_normal(6).astype(np.float32), "b"),
        ],
        value_info=[
            helper.make_tensor_value_info("h", TensorProto.FLOAT, [8, "batch", 3]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [8, 6] if transposed else [6, 8]),
            helper.make_tensor_value_info("gone", TensorProto.INT64, [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    x = random.standard_normal((64, 8)).astype(np.float32)
    quantized, report = quantize_static(model, [{"x": x}], flavour)
    onnx.checker.check_model(quantized, full_check=True)
    assert "gemm" in report.int8_nodes
    del model.graph.value_info[:]
    assert relative_error(model, quantized, x) < 0.03
    scales = next(
        t for t in quantized.graph.initializer if t.name.startswith("w_") and t.name.endswith("scale")
    )
    assert list(scales.dims) == [6]  # one scale for each output, whichever axis they are on
