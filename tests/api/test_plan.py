"""What a run would try is listed with nothing measured and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import compress
from compress.cli import main
from compress.hosts.local import LocalHost
from compress.onnx_graph.files import save_model
from compress.records.schemas import schema_text
from tests.graphs import classifier, samples


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(classifier(), tmp_path / "model.onnx")
    np.savez(tmp_path / "val.npz", x=samples(60), y=np.arange(60) % 4)
    return tmp_path


def planned(**options: object) -> compress.PlanResult:
    return compress.plan("model.onnx", data="val.npz", backends=["onnxruntime"], max_drop=100, **options)


def test_the_builds_are_those_of_the_run_in_its_order(place: Path) -> None:
    listed = [build.recipe.name for build in planned().builds]
    result = compress.optimize(
        "model.onnx", data="val.npz", backends=["onnxruntime"], max_drop=100, seconds=0.05, threads=1
    )
    tried = [entry.recipe.name for entry in result.candidates]
    assert listed[:4] == ["fp32", "int8", "int8-matmul", "dynamic-int8"]
    assert [name for name in listed if name in tried] == tried


def test_nothing_is_measured_or_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measuring(*_: object, **__: object) -> None:
        raise AssertionError("a dry run measures")

    for name in ("latency", "reference", "tune", "first_ratio", "layers", "peak_memory_mb"):
        monkeypatch.setattr(LocalHost, name, measuring)
    before = sorted(place.rglob("*"))
    assert planned().builds
    assert sorted(place.rglob("*")) == before


def test_a_condition_what_is_needed_and_the_time_are_told(place: Path) -> None:
    result = planned(seconds=3.0)
    builds = {build.recipe.name: build for build in result.builds}
    assert result.samples == {"evaluation": 45, "calibration": 15, "training": 0}
    assert builds["fp32"].needs == ()
    assert builds["fp32"].when is None
    assert builds["int8"].needs == ("15 calibration samples",)
    assert builds["dynamic-int8"].when == "if matrix products outnumber convolutions"
    assert builds["int8-recovered"].when == "if int8 is faster, and loses more than 100 points"
    assert builds["int8-mixed"].minutes
    assert builds["int8-mixed"].seconds is None
    spent = builds["int8"].seconds
    assert spent is not None
    assert 3.0 < spent.low < 6.0 < spent.high < 60.0  # two batch sizes of 3 s each, and the processes' start
    assert result.seconds.low == pytest.approx(
        sum(each.seconds.low for each in result.builds if each.seconds is not None and each.when is None)
    )


def test_own_recipes_and_training_change_the_list(place: Path) -> None:
    (place / "mine.toml").write_text('name = "mine"\n[[technique]]\nname = "quantize"\n')
    assert [build.recipe.name for build in planned(recipes=["mine.toml"]).builds] == ["fp32", "mine"]
    np.savez(place / "train.npz", x=samples(80)[60:])
    assert "int8-qat" in [build.recipe.name for build in planned(train_data="train.npz").builds]
    assert "int8-qat" not in [build.recipe.name for build in planned().builds]
    assert "int4-weights" in [build.recipe.name for build in planned(objective="size").builds]


def test_the_command_prints_the_same(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["optimize", "model.onnx", "--data", "val.npz", "--backend", "onnxruntime"]
    arguments += ["--max-drop", "100", "--dry-run"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert " 1. fp32 (onnxruntime): " in told
    assert "    only if int8 is faster, and loses more than 100 points\n" in told
    assert "nothing was measured or written" in told
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, json.loads(schema_text("plan")))
    assert [build["recipe"]["name"] for build in printed["builds"]][:2] == ["fp32", "int8"]
    assert not (place / "build").exists()


def test_a_wrong_argument_is_refused_as_by_the_run(place: Path) -> None:
    (place / "build").mkdir()
    (place / "build" / "mine.txt").write_text("mine")
    with pytest.raises(compress.CompressError, match="build"):
        planned()


def test_a_doubt_is_told_as_a_warning_and_no_note(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The labels are no answers of the network: it is right by chance alone."""
    np.savez("val.npz", x=samples(400), y=np.arange(400) % 4)
    assert main(["optimize", "model.onnx", "--data", "val.npz", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("warning: the original is right") for line in lines)
    assert not any(line.startswith("note: warning") for line in lines)
