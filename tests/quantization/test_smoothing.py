from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from compress.onnx_graph.fold import prepare
from compress.quantization import Settings, quantize_static
from compress.quantization.probe import OutputError, Probe
from compress.quantization.smoothing import smooth, smoothable
from compress.target.target import QuantizationFlavour

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)
WIDTH, TOKENS = 16, 5


def block(
    seed: int = 0, outliers: float = 60, norm: str = "layer", read_twice: bool = False
) -> onnx.ModelProto:
    """A normalisation whose scale has outlier channels, read by two MatMul (the head of a transformer block)."""
    random = np.random.default_rng(seed)
    scale = np.ones(WIDTH)
    scale[random.permutation(WIDTH)[:2]] = outliers
    stored = {
        "scale": scale,
        "shift": random.normal(0, 0.1, WIDTH) * scale,
        "query": random.normal(0, 1, (WIDTH, 8)) / np.sqrt(scale)[:, None],
        "key": random.normal(0, 1, (WIDTH, 8)) / np.sqrt(scale)[:, None],
    }
    if norm == "layer":
        nodes = [helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["n"], "norm")]
    else:  # as exporters write it where the opset has no operator for it
        nodes = [
            helper.make_node("ReduceL2", ["x"], ["length"], "length", keepdims=1),
            helper.make_node("Div", ["x", "length"], ["unit"], "unit"),
            helper.make_node("Mul", ["unit", "scale"], ["scaled"], "scaled"),
            helper.make_node("Add", ["shift", "scaled"], ["n"], "shifted"),
        ]
    nodes += [
        helper.make_node("MatMul", ["n", "query"], ["q"], "query"),
        helper.make_node("MatMul", ["n", "key"], ["k"], "key"),
        helper.make_node("Sub" if read_twice else "Mul", ["q", "k"], ["y"], "product"),
    ]
    if read_twice:
        nodes += [helper.make_node("ReduceSum", ["n"], ["z"], "sum", keepdims=0)]
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", TOKENS, WIDTH])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in ("y", "z")[: 1 + read_twice]
        ],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def batches(count: int = 4) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    return [{"x": random.standard_normal((16, TOKENS, WIDTH)).astype(np.float32)} for _ in range(count)]


@given(
    seed=st.integers(0, 999), outliers=st.floats(0.01, 500), norm=st.sampled_from(["layer", "written out"])
)
@settings(max_examples=20, deadline=None)
def test_the_function_stays(seed, outliers, norm):
    prepared = prepare(block(seed, outliers, norm))
    smoothed, done = smooth(prepared, batches(), U8S8)
    onnx.checker.check_model(smoothed, full_check=True)
    (wanted,), (found,) = (Probe(model, ["y"]).run(batches()[0]) for model in (prepared, smoothed))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    if outliers > 30:
        assert [(each.tensor, each.readers) for each in done] == [("n", ("query", "key"))]


@pytest.mark.parametrize("norm", ["layer", "written out"])
def test_outlier_channels_cost_less(norm):
    model = block(norm=norm)
    plain, _ = quantize_static(model, batches(), U8S8, Settings(smooth=False, equalize=False))
    better, report = quantize_static(model, batches(), U8S8)
    outputs = OutputError(prepare(model), batches(8)[4:])
    assert outputs.of(better) < 0.5 * outputs.of(plain)
    assert report.recovery["smooth"]["kept"]
    assert 0 < report.recovery["smooth"]["where"][0]["alpha"] < 1


def test_channels_that_are_alike_are_left_alone():
    _, done = smooth(prepare(block(outliers=1)), batches(), U8S8)
    assert done == ()


def test_a_tensor_that_others_read_too_is_left_alone():
    assert smoothable(prepare(block())) == ["n"]
    assert smoothable(prepare(block(read_twice=True))) == []
