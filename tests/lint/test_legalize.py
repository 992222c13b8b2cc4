"""Between the techniques and the build a graph is written as the target's runtime reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from compress.api.optimize import optimize
from compress.api.quantize import quantize
from compress.data.task import load_task
from compress.lint import lint
from compress.lint.legalize import legalize, rewrites_note
from compress.network.network import Network, load_network
from compress.target.target import load_target
from compress.techniques.base import Context

XAVIER = load_target("jetson-agx-xavier")  # TensorRT 8.5: opset 17, no LayerNormalization, no Gelu


@pytest.fixture
def network(tmp_path: Path) -> Network:
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 20]> g (float[N,4] x) => (float[N,4] y) '
        "{ n = LayerNormalization(x, scale) g = Gelu(n) y = MatMul(g, weight) }"
    )
    for name, values in {"scale": np.ones(4), "weight": np.eye(4)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    onnx.save(model, tmp_path / "model.onnx")
    return load_network(tmp_path / "model.onnx")


def context_for(name: str) -> Context:
    samples = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    return Context(load_task((samples, np.arange(20) % 4)), load_target(name), 0)


def test_a_graph_is_written_for_the_release_and_it_is_told(network: Network) -> None:
    context = context_for("jetson-agx-xavier")
    rewritten = legalize(network, context)
    assert lint(network.to_onnx(), XAVIER) != []
    assert lint(rewritten.to_onnx(), XAVIER) == []
    rewrites = context.reports["rewrites"]
    assert list(rewrites) == ["layer-normalization", "gelu", "opset"]
    (note,) = rewrites_note(context.reports, "jetson-agx-xavier")
    assert note == (
        "The graph was rewritten for what jetson-agx-xavier reads: layer-normalization (1), gelu (1), opset (2)"
    )


@pytest.mark.parametrize("target", ["jetson-orin-nano-super", "raspberry-pi-5"])
def test_nothing_is_done_where_nothing_is_needed(network: Network, target: str) -> None:
    context = context_for(target)
    assert legalize(network, context) is network
    assert context.reports == {}
    assert rewrites_note(context.reports, target) == ()


def test_inputs_stay_as_the_data_has_them(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 20]> g (int64[N,4] x) => (float[N,4,2] y) { y = Gather(table, x) }'
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((9, 2), np.float32), "table"))
    onnx.save(model, tmp_path / "model.onnx")
    context = context_for("jetson-agx-xavier")
    rewritten = legalize(load_network(tmp_path / "model.onnx"), context).to_onnx()
    assert list(context.reports["rewrites"]) == ["opset"]
    assert rewritten.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64


def test_what_optimize_ships_is_what_was_rewritten(network: Network, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).standard_normal((80, 4)).astype(np.float32)
    labels = (samples.argmax(1)).astype(np.int64)
    result = optimize(
        tmp_path / "model.onnx", data=(samples, labels), target=XAVIER, out=tmp_path / "build", max_drop=50
    )
    assert result.bundle is not None
    assert all("rewrites" in entry.reports for entry in result.candidates if entry.profile is not None)
    assert lint(onnx.load(result.bundle.artifact.path), XAVIER) == []
    report = (result.bundle.path / "report.md").read_text()
    assert (
        "The graph was rewritten for what jetson-agx-xavier reads: layer-normalization (1), gelu (1)"
        in report
    )


def test_quantize_writes_a_graph_that_the_release_reads(network: Network, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).standard_normal((80, 4)).astype(np.float32)
    labels = (samples.argmax(1)).astype(np.int64)
    done = quantize(
        tmp_path / "model.onnx", data=(samples, labels), target=XAVIER, out=tmp_path / "int8.onnx"
    )
    assert list(done.reports["rewrites"]) == ["layer-normalization", "gelu", "opset"]
    assert lint(onnx.load(done.path), XAVIER) == []
