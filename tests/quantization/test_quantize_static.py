from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import NetworkError
from compress.onnx_graph.coverage import fusion_coverage
from compress.quantization import METHODS, SCOPES, Settings, prepare, quantize_static
from compress.target.target import TENSORRT_FLAVOUR, QuantizationFlavour
from tests.graphs import classifier, samples, two_inputs
from tests.processor import AS_WRITTEN
from tests.random_graphs import SIDE, networks

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)


def batches(count: int = 4, size: int = 8) -> list[dict[str, np.ndarray]]:
    return [{"x": samples(size, seed)} for seed in range(count)]


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for key, value in AS_WRITTEN.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def sqnr(reference: np.ndarray, found: np.ndarray) -> float:
    """Signal to quantization noise, decibels."""
    return float(10 * np.log10(np.square(reference).sum() / np.square(reference - found).sum()))


@pytest.mark.parametrize("scope", ["all", "weights-ops"])
@pytest.mark.parametrize("method", ["min-max", "moving-average", "percentile", "mse"])
@pytest.mark.parametrize("flavour", [U8S8, TENSORRT_FLAVOUR], ids=["u8s8", "tensorrt"])
def test_the_quantized_classifier_is_legal_and_close_to_the_float_one(flavour, method, scope):
    model = classifier()
    quantized, report = quantize_static(model, batches(), flavour, Settings(scope=scope, method=method))
    onnx.checker.check_model(quantized, full_check=True)
    x = samples(32, seed=99)
    assert sqnr(run(model, x), run(quantized, x)) > 25
    assert list(quantized.graph.output) == list(model.graph.output)
    assert list(quantized.graph.input) == list(model.graph.input)
    assert report.samples == 32


def test_the_model_that_is_given_stays_as_it_is():
    model = classifier()
    before = model.SerializeToString()
    quantize_static(model, batches(), U8S8)
    assert model.SerializeToString() == before


def test_a_network_without_weights_is_refused_with_the_reason():
    with pytest.raises(NetworkError, match="something to quantize"):
        quantize_static(two_inputs(), [], U8S8)


def test_a_quantized_network_is_refused():
    quantized, _ = quantize_static(classifier(), batches(), U8S8)
    with pytest.raises(NetworkError, match="quantized already"):
        quantize_static(quantized, batches(), U8S8)


@given(model=networks(), scope=st.sampled_from(SCOPES), method=st.sampled_from(METHODS))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("flavour", [U8S8, TENSORRT_FLAVOUR], ids=["u8s8", "tensorrt"])
def test_any_network_keeps_its_outputs_and_its_values(flavour, model, scope, method):
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    x = np.random.default_rng(0).standard_normal((12, channels, SIDE, SIDE)).astype(np.float32)
    quantized, report = quantize_static(
        model, [{"x": x[:8]}, {"x": x[8:]}], flavour, Settings(scope=scope, method=method)
    )
    onnx.checker.check_model(quantized, full_check=True)
    assert quantized.graph.output == model.graph.output
    wanted, found = run(model, x), run(quantized, x)
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    assert sqnr(wanted, found) > 15
    placed = {node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
    assert placed <= set(report.int8_nodes)


@given(model=networks())
@settings(max_examples=25, deadline=None)
def test_every_convolution_and_every_node_said_to_be_int8_really_is(model):
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    x = np.random.default_rng(0).standard_normal((4, channels, SIDE, SIDE)).astype(np.float32)
    quantized, report = quantize_static(model, [{"x": x}], U8S8)
    with tempfile.TemporaryDirectory() as directory:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = f"{directory}/optimized.onnx"
        options.log_severity_level = 4
        onnxruntime.InferenceSession(
            quantized.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        coverage = fusion_coverage(Path(directory, "optimized.onnx"))
    assert not coverage.float_compute
    nodes = prepare(model).graph.node
    wanted = Counter(node.op_type for node in nodes if node.name in report.int8_nodes)
    kernels = {
        op: f"QLinear{op}"
        for op in ("Conv", "Add", "Mul", "Concat", "GlobalAveragePool", "LeakyRelu", "Sigmoid")
    }
    kernels["Gemm"] = "QGemm"
    for op_type, kernel in kernels.items():
        assert coverage.int8.get(kernel, 0) == wanted[op_type]


def test_calibration_sees_the_samples_once_and_memory_stays():
    seen = 0

    def stream():
        nonlocal seen
        for seed in range(30):
            seen += 1
            yield {"x": samples(16, seed)}

    _, report = quantize_static(classifier(), stream(), U8S8)
    assert seen == 30
    assert report.samples == 480


def test_the_report_is_json():
    _, report = quantize_static(classifier(), batches(), U8S8, Settings(exclude_nodes=["conv1"]))
    read = json.loads(json.dumps(report.to_dict()))
    assert read["float_nodes"] == {
        "conv1": "excluded by the recipe",
        "relu1": "no int8 kernel before it writes for it alone",
    }
    assert read["settings"]["exclude_nodes"] == ["conv1"]
    assert read["flavour"]["activation"] == "uint8"
    assert read["samples"] == 32
    low, high = read["ranges"]["r1"]
    assert low == 0 < high
