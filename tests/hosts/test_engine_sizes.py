"""Networks with open axes on a board, and on one that is not at hand: engines get their sizes from data or --shape.

trtexec is a STAND-IN that refuses a profile, or a call, as the real one does.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress import optimize
from compress.backends.base import Artifact
from compress.backends.onnxruntime import OnnxRuntime
from compress.backends.trtexec import DEFAULTS, Trtexec
from compress.cli import main
from compress.errors import DataError, NetworkError, UsageError
from compress.gate import GatePolicy, Verdict, gate
from compress.hosts import connect
from compress.hosts.base import Build
from compress.hosts.board import probe
from compress.hosts.engines import Engines
from compress.hosts.ssh import SshShell
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe
from compress.target.shape_ranges import ShapeRange
from compress.target.target import Target, load_target
from tests.hosts.standin_board import StandInBoard

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def one_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting the stand-in costs a second; that several builds are taken has a test of its own."""
    monkeypatch.setitem(DEFAULTS, "builds", 1)


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array((RANDOM.standard_normal(shape) / 4).astype(np.float32), name)


def segmenter(batch: int | str = "batch") -> onnx.ModelProto:
    """Conv → Relu → Conv on images of any size."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"], "conv1", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "w2"], ["y"], "conv2", pads=[1] * 4),
    ]
    graph = helper.make_graph(
        nodes,
        "segmenter",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, "height", "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 2, "height", "width"])],
        [weight("w1", 8, 3, 3, 3), weight("w2", 2, 8, 3, 3)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tagger() -> onnx.ModelProto:
    """Rows of a table, scaled by a mask of the same length, then a MatMul."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "gather"),
        helper.make_node("Unsqueeze", ["mask", "last"], ["m"], "unsqueeze"),
        helper.make_node("Mul", ["e", "m"], ["g"], "mul"),
        helper.make_node("MatMul", ["g", "w"], ["y"], "matmul"),
    ]
    graph = helper.make_graph(
        nodes,
        "tagger",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", "length"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "length", 5])],
        [weight("table", 20, 16), weight("w", 16, 5), numpy_helper.from_array(np.array([-1]), "last")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def images(count: int, height: int, width: int) -> np.ndarray[Any, Any]:
    return RANDOM.standard_normal((count, 3, height, width)).astype(np.float32)


def batches(*sizes: tuple[int, int]) -> list[dict[str, np.ndarray[Any, Any]]]:
    """Four images of each size."""
    return [{"x": images(4, *size)} for size in sizes]


def shapes_in(arguments: list[str]) -> dict[str, str]:
    return dict(each[2:].split("Shapes=") for each in arguments if "Shapes=" in each)


def engines_shapes(bundle: Path) -> dict[str, str]:
    """Of the bundle's script, by ``min``, ``opt`` and ``max``."""
    lines = [line.strip().rstrip("\\ ").strip("'") for line in (bundle / "build.sh").read_text().splitlines()]
    return shapes_in(lines)


@pytest.fixture
def target() -> Target:
    range_ = ShapeRange((1, 3, 8, 8), (1, 3, 8, 12), (4, 3, 16, 16), 0)
    return replace(load_target("jetson"), batch_sizes=(1, 4), input_shapes={"x": range_})


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return Trtexec().compile(segmenter(), tmp_path, {**DEFAULTS, "builds": 1})


@pytest.mark.parametrize("release", ["8.5", "11.1"])
def test_an_engine_takes_every_size_of_its_profile(
    board: StandInBoard, target: Target, artifact: Artifact, release: str
) -> None:
    board.release(release)
    with connect(target, 0.05, "board") as host, host.open(artifact, target) as session:
        with OnnxRuntime().open(replace(artifact, backend="onnxruntime", options={})) as here:
            for x in (images(6, 8, 8), images(1, 16, 9)):
                (found,), (wanted,) = session.run({"x": x}), here.run({"x": x})
                np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        with pytest.raises(DataError, match=r"1x3x8x8 to 4x3x16x16; found 1x3x17x8.*--shape"):
            session.run({"x": images(1, 17, 8)})
        figures = host.latency(Build(artifact, session), None, None, target)
    assert [each.shapes for each in figures] == [{"x": [1, 3, 8, 12]}, {"x": [4, 3, 8, 12]}]


def test_an_axis_without_a_size_is_refused_with_a_way_out(
    board: StandInBoard, target: Target, artifact: Artifact
) -> None:
    unknown = replace(target, input_shapes={})
    with (
        connect(target, 0.05, "board") as host,
        pytest.raises(UsageError, match=r"--shape x=1x3xheightxwidth"),
    ):
        host.open(artifact, unknown)


@pytest.mark.parametrize(
    "given, told",
    [
        ([], "no optimization profile"),
        (["--minShapes=x:1x3x8x8", "--optShapes=x:1x3x8x8"], "no optimization profile"),
        ([f"--{end}Shapes=x:1x3x8xwidth" for end in ("min", "opt", "max")], "Invalid shape"),
        ([f"--{end}Shapes=x:1x4x8x8" for end in ("min", "opt", "max")], "do not fit"),
        (["--minShapes=x:2x3x8x8", "--optShapes=x:1x3x8x8", "--maxShapes=x:2x3x8x8"], "do not fit"),
        ([f"--{end}Shapes=x:1x3x8x8,y:1" for end in ("min", "opt", "max")], "'y'"),
    ],
)
def test_the_stand_in_is_as_unkind_as_the_tool(
    board: StandInBoard, tmp_path: Path, given: list[str], told: str
) -> None:
    save_model(segmenter(), tmp_path / "model.onnx")
    with SshShell("board") as shell:
        engines = Engines(shell, probe(shell))
        arguments = [f"--onnx={tmp_path / 'model.onnx'}", "--saveEngine=model.engine", *given]
        with pytest.raises(NetworkError, match=told):
            engines.execute(str(tmp_path), arguments, "build an engine")


def test_a_run_on_the_board_with_data_of_several_sizes(tmp_path: Path, board: StandInBoard) -> None:
    save_model(segmenter(), tmp_path / "model.onnx")
    result = optimize(
        tmp_path / "model.onnx",
        data=batches((8, 12), (8, 12), (16, 9)),
        target="jetson",
        host="board",
        out=tmp_path / "build",
        recipes=[recipe("int8", "quantize")],
        seconds=0.05,
        max_drop=100.0,
    )
    assert [entry.rejected for entry in result.candidates] == [None, None]
    assert result.bundle is not None
    manifest = result.bundle.manifest
    wanted = {"min": "x:1x3x8x9", "opt": "x:1x3x8x12", "max": "x:8x3x16x12"}
    assert shapes_in(manifest["engine"]["arguments"]) == engines_shapes(tmp_path / "build") == wanted
    assert manifest["target"]["input_shapes"]["x"]["usual"] == [1, 3, 8, 12]
    assert [each.shapes["x"] for each in result.bundle.profile.latency] == [[1, 3, 8, 12], [8, 3, 8, 12]]
    assert any("x 1x3x8x9 to 8x3x16x12" in note for note in result.notes)
    assert "8x3x16x12" in (tmp_path / "build" / "report.md").read_text()
    variables = {"COMPRESS_STANDIN": str(board.play), "TRTEXEC": str(board.play / "bin" / "trtexec")}
    checked = subprocess.run(
        ["sh", tmp_path / "build" / "selfcheck.sh"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert checked.returncode == 0, checked.stdout
    # The bundle tells the gate which sizes its engine takes.
    policy = GatePolicy(checks=("latency",), looks=(2,), alpha=0.25, max_slowdown_percent=900.0)
    (check,) = gate(tmp_path / "build", tmp_path / "build", host="board", policy=policy)
    assert check.verdict is Verdict.PASS


def recipe(name: str, technique: str, session: dict[str, Any] | None = None) -> Recipe:
    text = {"name": name, "technique": [{"name": technique}], "session": session or {}}
    return Recipe.from_dict(text)


def test_an_onnx_file_without_data_is_profiled_at_the_shape_that_is_given(
    tmp_path: Path, board: StandInBoard, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(segmenter(batch=1), tmp_path / "model.onnx")
    given = [
        "profile",
        str(tmp_path / "model.onnx"),
        "--host",
        "board",
        "--target",
        "jetson",
        "--seconds",
        "0.05",
    ]
    assert main(given) == 2
    assert "--shape x=1x3xheightxwidth" in capsys.readouterr().err
    assert main([*given, "--shape", "x=1x3x8x12", "--json"]) == 0
    (figure,) = json.loads(capsys.readouterr().out)["latency"]
    assert figure["shapes"] == {"x": [1, 3, 8, 12]}


def test_the_accelerator_gets_an_engine_for_each_batch_size(
    board: StandInBoard, target: Target, artifact: Artifact
) -> None:
    one = ShapeRange((1, 3, 8, 12), (1, 3, 8, 12), (4, 3, 8, 12), 0)
    known = replace(target, input_shapes={"x": one})
    asked = replace(artifact, options={**artifact.options, "dla_core": 0})
    with connect(known, 0.05, "board") as host:
        with host.open(asked, known) as session:
            assert session.run({"x": images(2, 8, 12)})[0].shape == (2, 2, 8, 12)
            figures = host.latency(Build(asked, session), None, None, known)
        assert [each.batch for each in figures] == [1, 4]
        with pytest.raises(UsageError, match="one shape of 'x' for an engine of the DLA"):
            host.open(asked, target)


def test_several_sizes_put_the_accelerator_out_of_the_race(tmp_path: Path) -> None:
    save_model(segmenter(), tmp_path / "model.onnx")
    given: dict[str, Any] = {
        "target": "jetson",
        "recipes": [recipe("int8-dla", "quantize", {"dla_core": 0})],
        "max_drop": 100.0,
    }
    one, several = {"x": images(60, 8, 12)}, batches((8, 8), (8, 12)) * 3
    result = optimize(tmp_path / "model.onnx", data=one, out=tmp_path / "one", **given)
    assert result.candidates[1].rejected is None
    result = optimize(tmp_path / "model.onnx", data=several, out=tmp_path / "several", **given)
    assert "one shape of 'x' for an engine of the DLA" in str(result.candidates[1].rejected)


@pytest.mark.parametrize(
    "model, data, wanted",
    [
        (
            segmenter(),
            {"x": images(60, 8, 12)},
            {"min": "x:1x3x8x12", "opt": "x:1x3x8x12", "max": "x:{most}x3x8x12"},
        ),
        (
            segmenter(batch=1),
            {"x": images(60, 8, 12)},
            {"min": "x:1x3x8x12", "opt": "x:1x3x8x12", "max": "x:1x3x8x12"},
        ),
        (
            tagger(),
            {"ids": RANDOM.integers(0, 20, (60, 7)), "mask": np.ones((60, 7), np.float32)},
            {"min": "ids:1x7,mask:1x7", "opt": "ids:1x7,mask:1x7", "max": "ids:{most}x7,mask:{most}x7"},
        ),
    ],
    ids=["images", "a batch of 1 only", "two inputs of one length"],
)
@pytest.mark.parametrize("name", ["jetson", "h100-sxm", "jetson-agx-xavier"])
def test_a_board_that_is_not_at_hand_is_told_the_sizes(
    tmp_path: Path, model: onnx.ModelProto, data: Any, wanted: dict[str, str], name: str
) -> None:
    save_model(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "val.npz", **data)
    result = optimize(
        tmp_path / "model.onnx",
        data=tmp_path / "val.npz",
        target=name,
        out=tmp_path / "build",
        recipes=[recipe("int8", "quantize")],
        max_drop=100.0,
    )
    assert [entry.rejected for entry in result.candidates] == [None, None]
    most = load_target(name).batch_sizes[-1]
    assert engines_shapes(tmp_path / "build") == {end: each.format(most=most) for end, each in wanted.items()}


def test_the_command_takes_a_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(tagger(), tmp_path / "model.onnx")
    np.savez("val.npz", ids=RANDOM.integers(0, 20, (60, 7)), mask=np.ones((60, 7), np.float32))
    given = ["optimize", "model.onnx", "--data", "val.npz", "--target", "jetson", "--max-drop", "100"]
    assert main([*given, "--shape", "ids=1x1..1x128"]) == 0
    assert engines_shapes(tmp_path / "build") == {
        "min": "ids:1x1,mask:1x1",
        "opt": "ids:1x7,mask:1x7",
        "max": "ids:8x128,mask:8x128",
    }
    manifest = json.loads((tmp_path / "build" / "manifest.json").read_text())
    assert manifest["options"]["shape"] == ["ids=1x1..1x128"]
    assert main([*given, "--shape", "ids=1x1..1x6"]) == 2  # the data has 7
    assert main([*given, "--shape", "tokens=1x7"]) == 2


def test_a_module_of_one_size_is_opened_for_the_range_that_is_asked(tmp_path: Path) -> None:
    from torch import nn

    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    optimize(
        module,
        data={"x": images(60, 8, 12)},
        target="jetson",
        out=tmp_path / "build",
        recipes=[recipe("int8", "quantize")],
        max_drop=100.0,
        shape={"": [(1, 3, 8, 8), (1, 3, 16, 16)]},
    )
    found = engines_shapes(tmp_path / "build")
    assert [each.partition(":")[2] for each in found.values()] == ["1x3x8x8", "1x3x8x12", "8x3x16x16"]
