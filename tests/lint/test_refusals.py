"""A build that its target refuses is not shipped for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress import optimize
from compress.cli import main
from compress.errors import NotDeployableError
from compress.lint import check_deployable, refusals
from compress.target.target import load_target
from tests.graphs import classifier

JETSON = load_target("jetson")


def scaled(*, twice: bool = True) -> onnx.ModelProto:
    """A MatMul of inputs that an operator scales which TensorRT has not, once or twice."""
    names = ("x", "xs") if twice else ("x",)
    nodes = [
        helper.make_node(
            "Scaler", [name], [f"{name}s"], f"scaler_{name}", domain="ai.onnx.ml", offset=[1.0], scale=[2.0]
        )
        for name in names
    ]
    nodes.append(helper.make_node("MatMul", [f"{names[-1]}s", "w"], ["y"], "product"))
    weight = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "w")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weight])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(scaled(), tmp_path / "m.onnx")
    np.savez(tmp_path / "val.npz", x=np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32))
    return tmp_path


def test_one_line_for_each_rule() -> None:
    (told,) = refusals(scaled(), JETSON)
    assert "Scaler" in told
    assert "(2 such nodes)" in told
    (single,) = refusals(scaled(twice=False), JETSON)
    assert "such nodes" not in single
    assert refusals(classifier(), JETSON) == ()


def test_a_build_that_is_refused_names_operator_and_way_out(files: Path) -> None:
    with pytest.raises(NotDeployableError, match=r"TensorRT 10\.3.*Scaler.*compress lint.*--host") as error:
        check_deployable(files / "m.onnx", JETSON)
    assert error.value.exit_code == 1
    onnx.save(classifier(), files / "plain.onnx")
    check_deployable(files / "plain.onnx", JETSON)


def test_nothing_is_shipped_for_a_target_that_refuses_it(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["optimize", "m.onnx", "--data", "val.npz", "--target", "jetson", "--out", "build"]) == 1
    told = capsys.readouterr()
    assert "Scaler" in told.err
    assert "build the engine" not in told.out + told.err
    assert not (files / "build").exists()


def test_here_the_same_network_is_shipped(files: Path) -> None:
    result = optimize("m.onnx", data="val.npz", target="cpu", out="build", seconds=0.02, time_budget=1)
    assert result.bundle is not None


def test_a_file_that_is_quantized_for_it_says_so(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["quantize", "m.onnx", "--data", "val.npz", "--target", "jetson", "--out", "q.onnx"]
    assert main(arguments) == 1
    told = capsys.readouterr().out
    assert f"{JETSON.name} will refuse this file: " in told
    assert "Scaler" in told
    assert (files / "q.onnx").exists()
