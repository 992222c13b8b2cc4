"""One bad layer of a quantized network is named, and the smallest part with a fault is found."""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest

import compress
from compress.cli import main
from compress.errors import DataError, NetworkError, OutputError, UsageError
from compress.onnx_graph.files import save_model
from compress.quantization import batches, difference
from compress.quantization.difference import _Noise, differences, shared_inputs
from compress.records.schemas import schema_text
from tests.graphs import classifier, samples


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``int8.onnx``, quantized well, and ``bad.onnx``, where the second convolution's weights have wrong scales."""
    directory = tmp_path_factory.mktemp("networks")
    save_model(classifier(), directory / "model.onnx")
    np.savez(directory / "val.npz", x=samples(60))
    compress.quantize(directory / "model.onnx", data=directory / "val.npz", out=directory / "int8.onnx")
    model = onnx.load(directory / "int8.onnx")
    scale = next(each for each in model.graph.initializer if each.name == "w2_quantized_scale")
    scale.CopyFrom(onnx.numpy_helper.from_array(3 * onnx.numpy_helper.to_array(scale), scale.name))
    onnx.save(model, directory / "bad.onnx")
    return directory


@pytest.fixture
def place(networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the networks and their data, which a test may change."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(networks, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_the_one_bad_layer_is_named(place: Path) -> None:
    good = compress.debug("model.onnx", "int8.onnx", data="val.npz")
    assert good.samples == 60
    assert good.first_divergence is None
    assert [each.tensor for each in good.tensors] == ["c1", "r1", "c2", "r2", "p", "f", "scores"]
    bad = {each.node: each for each in compress.debug("model.onnx", "bad.onnx", data="val.npz").tensors}
    result = compress.debug("model.onnx", "bad.onnx", data="val.npz")
    assert result.worst is not None
    assert result.worst.node == "conv2"
    assert result.worst.own_db < 0  # weights three times as large: the error is twice the signal
    assert result.first_divergence is not None
    assert result.first_divergence.node == "conv2"
    for name in (
        "conv1",
        "fc",
    ):  # the layers beside it add no more noise than before, whatever arrives at them
        same = next(each for each in good.tensors if each.node == name)
        assert bad[name].own_db == pytest.approx(same.own_db, abs=0.01)
        assert same.own_db > 30
    assert bad["fc"].all_db < 20 < bad["fc"].own_db


def test_a_network_beside_itself_differs_nowhere(place: Path) -> None:
    result = compress.debug("model.onnx", "model.onnx", data="val.npz", samples=8)
    assert result.samples == 8
    assert {each.own_db for each in result.tensors} == {math.inf}
    assert {each.all_db for each in result.tensors} == {math.inf}


def test_nothing_that_differs_is_told_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["debug", "model.onnx", "model.onnx", "--data", "val.npz", "--samples", "8"]
    assert main(run) == 0
    told = capsys.readouterr().out
    assert "no tensor differs, on 8 samples" in told
    assert "most noise" not in told
    assert main([*run, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, json.loads(schema_text("debug")))
    assert printed["worst"] is None
    assert {each["own_db"] for each in printed["tensors"]} == {None}


def test_values_that_are_not_finite_are_told_apart_from_no_difference(place: Path) -> None:
    broken = onnx.load("model.onnx")
    weights = next(each for each in broken.graph.initializer if each.name == "w2")
    values = np.array(onnx.numpy_helper.to_array(weights))
    values.flat[0] = np.nan
    weights.CopyFrom(onnx.numpy_helper.from_array(values, "w2"))
    onnx.save(broken, "nan.onnx")
    printed = compress.debug("model.onnx", "nan.onnx", data="val.npz", samples=4).to_dict()
    jsonschema.validate(printed, json.loads(schema_text("debug")))
    told = {each["node"]: each["own_db"] for each in printed["tensors"]}
    assert (told["conv1"], told["conv2"]) == (None, "-inf")
    printed["tensors"][0]["own_db"] = "inf"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(printed, json.loads(schema_text("debug")))


@pytest.mark.parametrize(("samples_asked", "run"), [(1, 1), (33, 33), (59, 59), (200, 60)])
def test_so_many_samples_are_run(place: Path, samples_asked: int, run: int) -> None:
    assert compress.debug("model.onnx", "int8.onnx", data="val.npz", samples=samples_asked).samples == run


@pytest.mark.parametrize(("samples_asked", "run"), [(1, 8), (15, 8), (16, 16), (200, 56)])
def test_a_fixed_batch_is_run_whole(place: Path, samples_asked: int, run: int) -> None:
    """Whether it is the first network that takes 8 samples alone, or the second."""
    _fixed("int8.onnx", 8)
    for other in ("model.onnx", "int8.onnx"):
        result = compress.debug("fixed.onnx", other, data="val.npz", samples=samples_asked)
        assert result.samples == run
        assert compress.debug(other, "fixed.onnx", data="val.npz", samples=samples_asked).samples == run


def test_too_few_samples_for_one_batch_are_told(place: Path) -> None:
    _fixed("int8.onnx", 64)
    with pytest.raises(DataError, match=r"at least 64 samples.*60"):
        compress.debug("fixed.onnx", "fixed.onnx", data="val.npz")


def _fixed(path: str, batch: int) -> None:
    """Write ``fixed.onnx``: a network that takes one batch size alone."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del model.graph.value_info[:]
    onnx.save(model, "fixed.onnx")


def test_a_pruned_network_is_no_form_of_the_original(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second convolution has fewer channels: the tensors have the same names and other shapes."""
    pruned = onnx.load("model.onnx")
    for name, axis in (("w1", 0), ("b1", 0), ("w2", 1)):
        weights = next(each for each in pruned.graph.initializer if each.name == name)
        values = onnx.numpy_helper.to_array(weights)
        half = np.ascontiguousarray(np.take(values, range(values.shape[axis] // 2), axis))
        weights.CopyFrom(onnx.numpy_helper.from_array(half, name))
    del pruned.graph.value_info[:]
    onnx.save(pruned, "pruned.onnx")
    assert main(["debug", "model.onnx", "pruned.onnx", "--data", "val.npz"]) == 2
    assert "wanted two networks whose tensor c1 has one shape" in capsys.readouterr().err


def test_shapes_that_the_files_do_not_tell_are_compared_where_they_run(place: Path) -> None:
    nodes = [
        onnx.helper.make_node("Reshape", ["x", "to"], ["t"], name="reshape"),
        onnx.helper.make_node("ReduceMean", ["t"], ["y"], name="mean", keepdims=0),
    ]
    info, floats = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    models = []
    for sizes in ([2, 6], [3, 4]):
        to = onnx.helper.make_node("Identity", ["sizes"], ["to"], name="sizes")
        given = onnx.numpy_helper.from_array(np.array(sizes), "sizes")
        graph = onnx.helper.make_graph(
            [to, *nodes], "g", [info("x", floats, [12])], [info("y", floats, [])], [given]
        )
        graph.value_info.append(info("t", floats, None))
        models.append(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]))
        models[-1].ir_version = 8
    with pytest.raises(NetworkError, match=r"tensor t.*\[2, 6\].*\[3, 4\]"):
        differences(*models, [{"x": np.ones(12, np.float32)}])


@pytest.mark.parametrize("change", ["name", "dtype", "size"])
def test_other_inputs_are_refused(place: Path, change: str) -> None:
    other = onnx.load("model.onnx")
    given = other.graph.input[0]
    if change == "size":
        given.type.tensor_type.shape.dim[2].dim_value += 1
    elif change == "dtype":
        given.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
        given.name = "doubles"
        other.graph.node.insert(0, onnx.helper.make_node("Cast", ["doubles"], ["x"], name="cast", to=1))
    else:
        given.name = "pixels"
        other.graph.node.insert(0, onnx.helper.make_node("Identity", ["pixels"], ["x"], name="same"))
    del other.graph.value_info[:]
    if change == "size":
        del other.graph.output[0].type.tensor_type.shape.dim[:]
    with pytest.raises(NetworkError, match="two networks with the same inputs"):
        shared_inputs(onnx.load("model.onnx"), other)


def test_batches_are_cut_to_what_fits_in_memory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = list[int]()
    cut = batches.bounded

    def seen(*arguments: Any) -> Any:
        for batch in cut(*arguments, at_once=1):
            ran.append(len(batch["x"]))
            yield batch

    monkeypatch.setattr(difference, "bounded", seen)
    whole = compress.debug("model.onnx", "int8.onnx", data="val.npz", samples=5)
    assert ran == [1] * 5
    assert whole.samples == 5


def test_the_ratio_is_that_of_its_formula(place: Path) -> None:
    noise = _Noise()
    noise.add(np.array([3.0, 4.0]), np.array([3.0, 3.5]))
    assert noise.db == pytest.approx(20.0)  # 25 over 0.25
    noise.add(np.array([1.0]), np.array([np.nan]))
    assert noise.db == -math.inf


def test_the_smallest_part_that_shows_a_fault_is_found(place: Path) -> None:
    """The fault that the command looks for: a node of this name, with values of its inputs beside it."""
    check = "sh -c 'grep -q conv2 {model} && test -s {inputs} && exit 1 || exit 0'"
    result = compress.debug("model.onnx", "bad.onnx", data="val.npz", check=check)
    assert result.reduced is not None
    assert result.reduced.nodes == ("conv2",)
    assert result.reduced.tries <= 12  # halved twice, of 17 tensors
    part = onnx.load("part.onnx")
    onnx.checker.check_model(part)
    assert [output.name for output in part.graph.output] == ["c2"]
    assert set(result.reduced.inputs) == {each.name for each in part.graph.input}
    none = compress.debug("model.onnx", "bad.onnx", data="val.npz", check="sh -c 'test -s {model}'")
    assert none.reduced is None


def test_the_command_names_the_layer(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["debug", "model.onnx", "bad.onnx", "--data", "val.npz"]
    assert main(run) == 0
    told = capsys.readouterr().out
    assert "most noise of its own: conv2 (Conv), -" in told
    assert "first below 20 dB, on 60 samples: conv2 (Conv), -" in told
    assert main([*run, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, json.loads(schema_text("debug")))
    assert printed["worst"] == printed["first_divergence"] == "c2"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--check", "true"], "with {model} in it"),
        (["--check", "no-such-program {model}"], "no-such-program"),
        (["--check", "sh '{model}"], "close the quotation"),
        (["--samples", "0"], "--samples"),
        (["--check", "sh -c 'sleep 60' {model}", "--check-seconds", "0.5"], "ends within 0.5 s"),
        (["--check", "true {model}", "--out", "nowhere/part.onnx"], "nowhere"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    place: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["debug", "model.onnx", "bad.onnx", "--data", "val.npz", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (place / "part.onnx").exists()


def test_networks_without_a_common_name_are_refused(place: Path) -> None:
    other = onnx.load("model.onnx")
    for node in other.graph.node:
        node.input[:] = [
            name if name in ("x",) or name.startswith(("w", "b")) else f"{name}_" for name in node.input
        ]
        node.output[:] = [f"{name}_" for name in node.output]
    other.graph.output[0].name += "_"
    del other.graph.value_info[:]
    onnx.save(other, "other.onnx")
    with pytest.raises(compress.CompressError, match="tensors of the same names"):
        compress.debug("model.onnx", "other.onnx", data="val.npz")


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(place: Path) -> None:
    with pytest.raises(OutputError):
        compress.debug("absent.onnx", "absent.onnx", data="none", check="true {model}", out="nowhere/p.onnx")


def test_what_a_command_started_ends_with_its_time(place: Path) -> None:
    check = "sh -c 'sleep 600 & echo $! > child; wait' {model}"
    with pytest.raises(UsageError, match="--check-seconds"):
        compress.debug("model.onnx", "bad.onnx", data="val.npz", check=check, check_seconds=1)
    child = Path("/proc") / (place / "child").read_text().strip()
    deadline = time.monotonic() + 120
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(child)


def _runs(process: Path) -> bool:
    """Whether a process of Linux's /proc has not ended; one that waits for its parent has."""
    try:
        return "\nState:\tZ" not in (process / "status").read_text()
    except OSError:
        return False
