from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import compress
from compress.api.quantize import PRECISIONS, quantize
from compress.cli import main
from compress.machine import room
from compress.onnx_graph.files import save_model, sha256_of
from compress.quantization import METHODS, SCOPES
from tests.graphs import classifier, samples


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(classifier(), tmp_path / "model.onnx")
    np.savez(tmp_path / "val.npz", x=samples(60), y=np.arange(60) % 4)
    return tmp_path


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def test_writes_the_file_and_tells_coverage_accuracy_and_agreement(place, capsys) -> None:
    assert main(["quantize", "model.onnx", "--data", "val.npz"]) == 0
    told = capsys.readouterr().out
    assert "model.int8.onnx" in told
    assert "top-1: " in told
    assert "90 % interval" in told
    assert "agreement with the original: " in told
    assert "int8: 7 nodes; float: 0" in told
    assert "100.0 % of the multiply-accumulates" in told
    assert {path.name for path in place.iterdir()} == {"model.onnx", "val.npz", "model.int8.onnx"}
    assert "QuantizeLinear" in operators(place / "model.int8.onnx")


def test_json_is_of_that_very_file(place, capsys) -> None:
    assert main(["quantize", "model.onnx", "--data", "val.npz", "--out", "small.onnx", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["sha256"] == sha256_of(place / "small.onnx")
    assert result["bytes"] == (place / "small.onnx").stat().st_size
    assert result["accuracy"]["samples"] == 45
    assert result["accuracy"]["drop"] is not None
    assert result["agreement"]["mean"] > 0.9
    assert result["reports"]["quantize"]["samples"] == 15


def test_without_labels_agreement_is_the_metric(place, capsys) -> None:
    np.savez("plain.npz", x=samples(60))
    assert main(["quantize", "model.onnx", "--data", "plain.npz"]) == 0
    assert capsys.readouterr().out.count("agreement") == 1


@pytest.mark.parametrize(
    ("precision", "target", "expected"),
    [
        ("fp16", "cpu", "Cast"),
        ("int8+fp16", "jetson", "QuantizeLinear"),
        ("fp8", "h100-sxm", "QuantizeLinear"),
    ],
)
def test_other_precisions(place, precision: str, target: str, expected: str) -> None:
    metric = {"scores": "classes"}  # the graph does not show it
    found = quantize("model.onnx", data="val.npz", target=target, precision=precision, metric=metric)
    assert found.path.name == f"model.{precision}.onnx"
    assert expected in operators(found.path)
    assert found.agreement is not None
    assert found.agreement.mean > 0.9


def test_bf16_is_written_and_said_not_to_be_measured(place, capsys) -> None:
    assert (
        main(["quantize", "model.onnx", "--data", "val.npz", "--precision", "bf16", "--target", "jetson"])
        == 0
    )
    assert "not measured" in capsys.readouterr().out
    types = {tensor.data_type for tensor in onnx.load("model.bf16.onnx").graph.initializer}
    assert TensorProto.BFLOAT16 in types


def test_every_setting_from_the_command_from_a_recipe_and_from_python(place, capsys) -> None:
    flags = ["--method", "percentile", "--percentile", "99.9", "--scope", "weights-ops"]
    flags += ["--exclude", "conv1", "--exclude", "Gemm"]
    assert main(["quantize", "model.onnx", "--data", "val.npz", *flags]) == 0
    Path("own.toml").write_text(
        'name = "own"\n[[technique]]\nname = "quantize"\nmethod = "percentile"\npercentile = 99.9\n'
        'scope = "weights-ops"\nexclude_nodes = ["conv1"]\nexclude_ops = ["Gemm"]\n'
    )
    assert main(["quantize", "model.onnx", "--data", "val.npz", "--recipe", "own.toml"]) == 0
    python = compress.quantize(
        "model.onnx",
        data="val.npz",
        method="percentile",
        percentile=99.9,
        scope="weights-ops",
        exclude=["conv1", "Gemm"],
        out="python.onnx",
    )
    assert python.sha256 == sha256_of(Path("model.int8.onnx")) == sha256_of(Path("model.own.onnx"))
    assert python.reports["quantize"]["float_nodes"]["conv1"] == "excluded by the recipe"
    assert python.reports["quantize"]["float_nodes"]["fc"] == "excluded by the recipe"


def test_a_flag_overrides_the_recipe(place) -> None:
    Path("own.toml").write_text('name = "own"\n[[technique]]\nname = "quantize"\nmethod = "min-max"\n')
    found = quantize("model.onnx", data="val.npz", recipe="own.toml", method="entropy")
    assert found.recipe.steps[0].settings["method"] == "entropy"


def test_the_command_knows_every_choice() -> None:
    from compress.cli.quantize import quantize as command

    choices = {option.name: getattr(option.type, "choices", None) for option in command.params}
    assert set(choices["precision"]) == set(PRECISIONS)
    assert set(choices["method"]) == set(METHODS)
    assert set(choices["scope"]) == set(SCOPES)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.onnx", "--data", "val.npz"], "nowhere.onnx"),
        (["model.onnx", "--data", "nowhere.npz"], "nowhere.npz"),
        (["model.onnx", "--data", "val.npz", "--out", "no/where.onnx"], "no directory no"),
        (["model.onnx", "--data", "val.npz", "--out", "model.onnx"], "given as a network"),
        (["model.onnx", "--data", "val.npz", "--out", "small.pt2"], "ends in .onnx; found small.pt2"),
        (["model.onnx", "--data", "val.npz", "--exclude", "conv3"], "conv3"),
        (["model.onnx", "--data", "val.npz", "--percentile", "3"], "percentile"),
        (
            ["model.onnx", "--data", "val.npz", "--precision", "fp16", "--method", "mse"],
            "leave the setting out",
        ),
        (["model.onnx", "--data", "val.npz", "--precision", "fp8"], "fp8 for cpu"),
        (["model.onnx", "--data", "val.npz", "--precision", "bf16"], "bfloat16 for cpu"),
        (["model.onnx", "--data", "val.npz", "--recipe", "nowhere.toml"], "nowhere.toml"),
        (["model.onnx", "--data", "val.npz", "--target", "toaster"], "toaster"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(place, capsys, arguments, told) -> None:
    before = sha256_of(place / "model.onnx")
    assert main(["quantize", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert {path.name for path in place.iterdir()} == {"model.onnx", "val.npz"}
    assert sha256_of(place / "model.onnx") == before


def test_a_quantized_network_is_refused(place, capsys) -> None:
    assert main(["quantize", "model.onnx", "--data", "val.npz"]) == 0
    assert main(["quantize", "model.int8.onnx", "--data", "val.npz"]) == 2
    assert "quantized already" in capsys.readouterr().err


def test_weights_without_room_are_refused_before_they_are_read(place, capsys, monkeypatch) -> None:
    # Two matrices of 1.2 GiB in a file of holes, which takes no room on the disk.
    rows, columns = 1 << 15, 9_600
    size = rows * columns * 4
    with Path("weights.bin").open("wb") as file:
        file.truncate(2 * size)
    weights = []
    for index, dims in enumerate(((columns, rows), (rows, columns))):
        tensor = TensorProto(name=f"w{index}", dims=dims, data_type=TensorProto.FLOAT)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "weights.bin"), ("offset", index * size), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        weights.append(tensor)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w0"], ["h"]), helper.make_node("MatMul", ["h", "w1"], ["y"])],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", columns])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    Path("large.onnx").write_bytes(model.SerializeToString())
    np.savez("wide.npz", x=np.random.default_rng(0).random((8, columns), np.float32))
    monkeypatch.setattr(room, "available_memory", lambda: 3 * 10**9)
    assert main(["quantize", "large.onnx", "--data", "wide.npz"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "3.77 GB of memory for large.onnx with 2.52 GB of weights; found 3 GB available" in error


def test_needs_no_torch(place) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from compress.cli import main\n"
        "sys.exit(main(['quantize', 'model.onnx', '--data', 'val.npz']))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
