from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.onnx_graph.fold import prepare
from compress.quantization.equalization import Pair, equalizable, equalize
from tests.quantization.digits import fragile, scores, trained
from tests.random_graphs import SIDE, Builder, networks


def outputs(model: onnx.ModelProto) -> np.ndarray:
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    return scores(
        model, np.random.default_rng(0).standard_normal((4, channels, SIDE, SIDE)).astype(np.float32)
    )


def weight(model: onnx.ModelProto, index: int) -> np.ndarray:
    return onnx.numpy_helper.to_array(
        next(t for t in model.graph.initializer if t.name == model.graph.node[index].input[1])
    )


@given(model=networks())
@settings(max_examples=40, deadline=None)
def test_the_function_stays(model):
    prepared = prepare(model)
    equalized, _ = equalize(prepared)
    onnx.checker.check_model(equalized, full_check=True)
    wanted, found = outputs(prepared), outputs(equalized)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@given(seed=st.integers(0, 99), depthwise=st.booleans(), pooled=st.booleans(), leaky=st.booleans())
@settings(max_examples=20, deadline=None)
def test_ranges_of_what_writes_and_what_reads_a_channel_become_equal(seed, depthwise, pooled, leaky):
    builder = Builder(seed, 3)
    name = builder.conv("x", 8, kernel=1)
    name = builder.leaky(name) if leaky else builder.relu(name)
    name = builder.max_pool(name) if pooled else name
    prepared = prepare(builder.model(builder.conv(name, 8, depthwise=depthwise)))
    equalized, pairs = equalize(prepared)
    assert len(pairs) == 1
    written = np.abs(weight(equalized, 0)).max(axis=(1, 2, 3))
    read = np.abs(weight(equalized, -1)).max(axis=(1, 2, 3) if depthwise else (0, 2, 3))
    np.testing.assert_allclose(written, read, rtol=1e-2)


def test_a_whole_chain_through_depthwise_pool_and_flatten_is_balanced():
    assert equalizable(prepare(trained())) == (
        Pair("conv1", "depthwise"),
        Pair("depthwise", "conv2"),
        Pair("conv2", "conv3"),
        Pair("conv3", "fc"),
    )


def test_what_was_rescaled_on_purpose_is_found_again():
    plain, _ = equalize(prepare(trained()))
    spread, _ = equalize(prepare(fragile()))
    for index in (0, 3, 5, 7):
        np.testing.assert_allclose(weight(spread, index), weight(plain, index), rtol=0.1, atol=1e-3)


@pytest.mark.parametrize("between", ["relu6", "sigmoid", "hard_swish"])
def test_nothing_passes_an_activation_that_notices_the_scale(between):
    builder = Builder(0, 3)
    name = getattr(builder, between)(builder.conv("x", 8))
    assert not equalizable(prepare(builder.model(builder.conv(name, 8))))


def test_nothing_passes_a_tensor_that_others_read():
    builder = Builder(0, 3)
    name = builder.relu(builder.conv("x", 8))
    assert not equalizable(prepare(builder.model(builder.add("Add", builder.conv(name, 8), name))))


def test_nothing_passes_an_output_of_the_network():
    builder = Builder(0, 3)
    inner = builder.conv("x", 8)
    model = builder.model(builder.conv(inner, 8))
    model.graph.output.append(onnx.helper.make_tensor_value_info(inner, 1, ["batch", 8, SIDE, SIDE]))
    assert not equalizable(prepare(model))


def test_a_dead_channel_is_left_alone():
    builder = Builder(0, 3)
    model = prepare(builder.model(builder.conv(builder.relu(builder.conv("x", 8)), 8)))
    stored = next(t for t in model.graph.initializer if t.name == model.graph.node[0].input[1])
    values = onnx.numpy_helper.to_array(stored).copy()
    values[3] = 0
    stored.CopyFrom(onnx.numpy_helper.from_array(values, stored.name))
    equalized, _ = equalize(model)
    assert np.isfinite(weight(equalized, -1)).all()
    np.testing.assert_allclose(outputs(equalized), outputs(model), rtol=1e-4, atol=1e-5)
