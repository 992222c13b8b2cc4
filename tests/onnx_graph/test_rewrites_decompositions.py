"""Layers written as the arithmetic that they stand for compute what they did."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.onnx_graph.rewrites.activations import decompose_gelu, decompose_mish, decompose_swish
from compress.onnx_graph.rewrites.normalization import (
    decompose_group_normalization,
    decompose_layer_normalization,
    decompose_rms_normalization,
)
from tests.rewriting import assert_same, graph, operators, rewritten, run

RANDOM = np.random.default_rng(1)


@settings(max_examples=30, deadline=None)
@given(
    axis=st.sampled_from([-1, -2, 1, 2]),
    biased=st.booleans(),
    opset=st.sampled_from([17, 18, 20]),
    epsilon=st.sampled_from([1e-5, 1e-12, 0.5]),
    half=st.booleans(),
    mean=st.sampled_from([0.0, 100.0]),
)
def test_layer_normalization(
    axis: int, biased: bool, opset: int, epsilon: float, half: bool, mean: float
) -> None:
    dtype = np.float16 if half else np.float32
    shape = (3, 5)[axis % 3 - 1 :]
    scale, bias = RANDOM.standard_normal((2, *shape)).astype(dtype)
    kind = "float16" if half else "float"
    model = graph(
        f"y = LayerNormalization<axis={axis}, epsilon={epsilon}>(x, scale{', bias' if biased else ''})",
        opset,
        f"{kind}[N,3,5] x",
        f"{kind}[] y",
        **{"scale": scale} | ({"bias": bias} if biased else {}),
    )
    other = rewritten(model, decompose_layer_normalization)
    assert "LayerNormalization" not in operators(other)
    x = (RANDOM.standard_normal((2, 3, 5)) + mean).astype(dtype)
    wide = x.astype(np.float64)
    axes = tuple(range(axis % 3, 3))
    deviation = np.sqrt(wide.var(axes, keepdims=True) + epsilon)
    expected = (wide - wide.mean(axes, keepdims=True)) / deviation * scale + (bias if biased else 0)
    # The statistics of float16 are computed in float32, or a mean of 100 would leave nothing of them.
    np.testing.assert_allclose(
        run(other, {"x": x})[0], expected, atol=5e-3 if half else 1e-4 if mean else 1e-5
    )
    if not mean:
        assert_same(model, other, (2, 3, 5), atol=5e-3 if half else 1e-5)


def test_statistics_that_are_read_stay() -> None:
    model = graph(
        "y, mean, deviation = LayerNormalization(x, scale)",
        outputs="float[] y, float[] mean, float[] deviation",
        scale=np.ones(4, np.float32),
    )
    other = rewritten(model, decompose_layer_normalization)
    assert_same(model, other, (3, 4))


def test_the_reduction_is_written_as_the_opset_has_it() -> None:
    for opset, inputs in ((17, 1), (18, 2)):
        model = graph("y = LayerNormalization(x, scale)", opset, scale=np.ones(4, np.float32))
        other = rewritten(model, decompose_layer_normalization)
        counts = {len(node.input) for node in other.graph.node if node.op_type == "ReduceMean"}
        assert counts == {inputs}


def test_names_of_the_replaced_nodes_are_told() -> None:
    model = graph("[one] a = Gelu(x) y = Gelu(a)")
    assert decompose_gelu(model) == ["one", "y"]
    assert decompose_gelu(model) == []


@pytest.mark.parametrize("biased", [True, False])
def test_rms_normalization(biased: bool) -> None:
    model = graph(
        "y = RMSNormalization<axis=-1, epsilon=0.01>(x, scale)",
        23,
        scale=RANDOM.standard_normal(4).astype(np.float32),
    )
    other = rewritten(model, decompose_rms_normalization)
    assert operators(other) == {"Mul", "ReduceMean", "Add", "Sqrt", "Div"}
    x = RANDOM.standard_normal((3, 4)).astype(np.float32)
    scale = onnx.numpy_helper.to_array(model.graph.initializer[0])
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 0.01) * scale
    np.testing.assert_allclose(run(other, {"x": x})[0], expected, atol=1e-6)


@pytest.mark.parametrize("shape", ["N,6,5,5", "N,6,H,W", "N,6,7"])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_normalization_of_each_opset(shape: str, groups: int) -> None:
    fed = {"N,6,5,5": (2, 6, 5, 5), "N,6,H,W": (2, 6, 4, 3), "N,6,7": (2, 6, 7)}[shape]
    x = RANDOM.standard_normal(fed).astype(np.float32)
    folded = x.reshape(2, groups, -1)
    normalized = (folded - folded.mean(2, keepdims=True)) / np.sqrt(folded.var(2, keepdims=True) + 1e-5)
    for opset, count in ((18, groups), (21, 6)):
        scale, bias = RANDOM.standard_normal((2, count)).astype(np.float32)
        model = graph(
            f"y = GroupNormalization<num_groups={groups}>(x, scale, bias)",
            opset,
            f"float[{shape}] x",
            f"float[{shape}] y",
            scale=scale,
            bias=bias,
        )
        other = rewritten(model, decompose_group_normalization)
        assert "GroupNormalization" not in operators(other)
        per_channel = [value.repeat(6 // count).reshape(6, *[1] * (x.ndim - 2)) for value in (scale, bias)]
        expected = normalized.reshape(x.shape) * per_channel[0] + per_channel[1]
        np.testing.assert_allclose(run(other, {"x": x})[0], expected, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    body=st.sampled_from(["Gelu(x)", 'Gelu<approximate="tanh">(x)', "Mish(x)"]),
    half=st.booleans(),
    factor=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_activations(body: str, half: bool, factor: float) -> None:
    kind, dtype = ("float16", np.float16) if half else ("float", np.float32)
    model = graph(
        f"z = Mul(x, f) y = {body.replace('(x)', '(z)')}",
        20,
        f"{kind}[N,4] x",
        f"{kind}[] y",
        f=dtype(factor),
    )
    other = rewritten(model, decompose_gelu, decompose_mish)
    assert not operators(other) & {"Gelu", "Mish"}
    assert_same(model, other, (5, 4), atol=5e-3 if half else 1e-5)


@pytest.mark.parametrize("alpha", [1.0, 1.7])
def test_swish(alpha: float) -> None:
    model = graph(f"y = Swish<alpha={alpha}>(x)", 24)
    other = rewritten(model, decompose_swish)
    x = RANDOM.standard_normal((3, 4)).astype(np.float32)
    other.opset_import[0].version = 23
    np.testing.assert_allclose(run(other, {"x": x})[0], x / (1 + np.exp(-alpha * x)), atol=1e-6)
