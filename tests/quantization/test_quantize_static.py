from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from compress.errors import NetworkError
from compress.quantization import Settings, quantize_static
from compress.target import TENSORRT_FLAVOUR, QuantizationFlavour
from tests.graphs import classifier, samples, two_inputs

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)


def batches(count: int = 4, size: int = 8) -> list[dict[str, np.ndarray]]:
    return [{"x": samples(size, seed)} for seed in range(count)]


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
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
    quantized, report = quantize_static(
        model, batches(), flavour, Settings(scope=scope, method=method)
    )
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
