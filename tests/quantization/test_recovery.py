from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from compress.onnx_graph.fold import prepare
from compress.quantization import Settings, quantize_static
from compress.quantization.equalization import equalize
from compress.quantization.moments import Moments, rows_of
from compress.quantization.probe import OutputError
from compress.quantization.rounding import reconstruct
from compress.target.target import TENSORRT_FLAVOUR, QuantizationFlavour
from tests.quantization.digits import calibration_batches, data, fragile, trained

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)


@given(seed=st.integers(0, 999), groups=st.sampled_from([1, 4]), inputs=st.integers(2, 40))
@settings(max_examples=25, deadline=None)
def test_reconstruction_beats_rounding_to_nearest(seed, groups, inputs):
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((groups, inputs, inputs))  # inputs of a network go together
    x = random.standard_normal((groups, 400, inputs)) @ mixing + 1
    weight = random.standard_normal((groups, 6, inputs))
    steps = np.abs(weight).max(axis=2) / 7
    moments = Moments.of(x, x @ weight.swapaxes(1, 2))
    nearest = np.rint(weight / steps[:, :, None])
    found = reconstruct(weight, steps, 7, moments, has_bias=True)

    def error(integers):
        rounded = integers * steps[:, :, None]
        return moments.error(rounded, moments.best_bias(rounded))

    assert np.abs(found).max() <= 7
    assert error(found) <= error(nearest) * (1 + 1e-9)
    if inputs >= 16:
        assert error(found) < 0.85 * error(nearest)


def test_a_layer_makes_up_for_inputs_that_were_lost():
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 500, 6))
    weight = random.standard_normal((1, 3, 6))
    lost = 0.8 * x  # what the quantized layers before it made of it
    moments = Moments.of(lost, x @ weight.swapaxes(1, 2))
    steps = np.full((1, 3), 0.01)
    found = reconstruct(weight, steps, 1000, moments, has_bias=True)
    np.testing.assert_allclose(found[0] * 0.01, weight[0] / 0.8, rtol=0.05, atol=0.02)


@given(
    seed=st.integers(0, 99),
    stride=st.integers(1, 2),
    group=st.sampled_from([1, 2, 4]),
    dilation=st.integers(1, 2),
)
@settings(max_examples=15, deadline=None)
def test_rows_of_a_convolution_are_its_windows(seed, stride, group, dilation):
    random = np.random.default_rng(seed)
    x = random.standard_normal((2, 4, 7, 6)).astype(np.float32)
    weight = random.standard_normal((8, 4 // group, 3, 2)).astype(np.float32)
    node = helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        pads=[1, 0, 2, 1],
        strides=[stride, 1],
        group=group,
        dilations=[1, dilation],
    )
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info("x", 1, list(x.shape)),
            helper.make_tensor_value_info("w", 1, list(weight.shape)),
        ],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    from onnx.reference import ReferenceEvaluator

    (y,) = ReferenceEvaluator(helper.make_model(graph)).run(None, {"x": x, "w": weight})
    inputs, outputs = rows_of(node, (3, 2), x, y, random)
    kernels = weight.reshape(group, 8 // group, -1)
    np.testing.assert_allclose(inputs @ kernels.swapaxes(1, 2), outputs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("flavour", [U8S8, TENSORRT_FLAVOUR], ids=["int32 bias", "float bias"])
@pytest.mark.parametrize("wanted", [{"correct_bias": True}, {"rounding": "reconstructed"}])
def test_outputs_come_closer(flavour, wanted):
    model, batches = fragile(30), calibration_batches()
    plain, _ = quantize_static(model, batches, flavour, Settings(equalize=False))
    better, report = quantize_static(model, batches, flavour, Settings(equalize=False, **wanted))
    fresh = OutputError(prepare(model), [{"x": data()[0][1200:]}])
    assert fresh.of(better) < 0.9 * fresh.of(plain)
    layers = report.recovery["rounding" if "rounding" in wanted else "correct_bias"]
    assert [layer["layer"] for layer in layers] == ["conv1", "depthwise", "conv2", "conv3", "fc"]
    assert all(layer["after"] <= layer["before"] for layer in layers)
    assert any(layer["kept"] != "nothing" for layer in layers)


def test_nothing_is_changed_where_nothing_is_asked():
    _, report = quantize_static(trained(), calibration_batches(), U8S8, Settings(equalize=False))
    assert report.recovery == {}


def test_rewrites_are_tried_only_where_outputs_are_far_off():
    _, hurt = quantize_static(fragile(), calibration_batches(), U8S8)
    assert hurt.recovery["equalize"]["kept"]
    assert hurt.recovery["equalize"]["after"] < hurt.recovery["equalize"]["before"] / 10
    _, sound = quantize_static(trained(), calibration_batches(), U8S8)
    assert sound.recovery == {}


def test_a_rewrite_that_does_not_help_is_not_kept(monkeypatch):
    monkeypatch.setattr("compress.quantization.rewriting._CLOSE_ENOUGH", 0.0)
    model, _ = equalize(prepare(trained()))
    quantized, report = quantize_static(model, calibration_batches(), U8S8)
    assert not report.recovery["equalize"]["kept"]
    plain, _ = quantize_static(model, calibration_batches(), U8S8, Settings(equalize=False))
    assert quantized.SerializeToString() == plain.SerializeToString()


@pytest.mark.parametrize("rounding", ["nearest", "reconstructed"])
def test_samples_that_are_all_zero_change_nothing_and_break_nothing(rounding):
    zeros = [{"x": np.zeros((8, 1, 8, 8), np.float32)} for _ in range(4)]
    settings_ = Settings(correct_bias=True, rounding=rounding)
    quantized, report = quantize_static(trained(), zeros, U8S8, settings_)
    layers = report.recovery["correct_bias" if rounding == "nearest" else "rounding"]
    assert all(np.isfinite([layer["before"], layer["after"]]).all() for layer in layers)
    outputs = OutputError(prepare(trained()), zeros)
    assert np.isfinite(outputs.of(quantized))
