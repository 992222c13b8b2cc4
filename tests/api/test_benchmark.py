"""A network in every back end and precision that is here, side by side; nothing is chosen or kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import jsonschema
import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

import compress
from compress.api.benchmark import _planned
from compress.backends.providers import CPU, XNNPACK
from compress.cli import main
from compress.core.progress import Reporter
from compress.errors import CompressError
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe, Step
from compress.records.schemas import schema_text
from compress.search.attempts import ENDS_A_RUN
from compress.search.backends import CompetingBackends
from compress.search.run_directory import Candidate
from compress.target.target import load_target
from tests.graphs import classifier, samples

QUICK = {"seconds": 0.05, "threads": 1}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(classifier(), tmp_path / "model.onnx")
    (scores,) = ReferenceEvaluator(classifier()).run(None, {"x": samples(60)})
    np.savez(tmp_path / "val.npz", x=samples(60), y=scores.argmax(1).astype(np.int64))
    return tmp_path


def test_every_precision_has_a_row_with_figures_or_the_reason(place: Path) -> None:
    before = sorted(place.rglob("*"))
    result = compress.benchmark("model.onnx", data="val.npz", backends=["onnxruntime"], **QUICK)
    rows = {row.precision: row for row in result.rows}
    assert list(rows) == ["fp32", "fp16", "bf16", "int8"]
    fp32, int8 = rows["fp32"].profile, rows["int8"].profile
    assert fp32 is not None
    assert int8 is not None
    assert fp32.accuracy is not None
    assert fp32.accuracy.mean == 1.0  # the labels are the network's own answers
    assert int8.artifact_sha256 != fp32.artifact_sha256
    assert int8.accuracy is not None
    assert int8.accuracy.drop is not None
    assert [each.batch for each in int8.latency] == [
        1,
        32,
    ]  # no build is left out of the race at any batch size
    assert all(each.ratio is not None for each in int8.latency)
    assert rows["fp16"].profile is None
    assert rows["fp16"].reason == "cpu does not list fp16 for onnxruntime"
    assert sorted(place.rglob("*")) == before


def test_a_build_that_fails_is_a_row_with_its_reason(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise ValueError("no ranges")

    monkeypatch.setattr("compress.techniques.quantize.Quantize.apply", failing)
    result = compress.benchmark("model.onnx", data="val.npz", backends=["onnxruntime"], **QUICK)
    assert result.rows[-1].precision == "int8"
    assert result.rows[-1].reason == "ValueError: no ranges"
    assert result.rows[0].profile is not None


@pytest.mark.parametrize("error", ENDS_A_RUN)
def test_what_ends_a_run_ends_a_benchmark_too(
    place: Path, monkeypatch: pytest.MonkeyPatch, error: type[CompressError]
) -> None:
    def failing(*_: object) -> None:
        raise error("a board that answers", "none", "look at it")

    monkeypatch.setattr("compress.techniques.quantize.Quantize.apply", failing)
    with pytest.raises(error, match="a board that answers"):
        compress.benchmark("model.onnx", data="val.npz", backends=["onnxruntime"], **QUICK)


def test_each_row_that_was_tried_is_told_when_it_ends(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Told(Reporter):
        begun: ClassVar[list[str]] = []
        ended: ClassVar[list[tuple[str, str | None]]] = []

        def begin(self, recipe: Recipe) -> None:
            self.begun.append(recipe.name)

        def end(self, candidate: Candidate, resumed: bool) -> None:
            assert not resumed
            self.ended.append((candidate.recipe.name, candidate.failure))

    def failing(*_: object) -> None:
        raise ValueError("no ranges")

    monkeypatch.setattr("compress.techniques.quantize.Quantize.apply", failing)
    compress.benchmark("model.onnx", data="val.npz", backends=["onnxruntime"], reporter=Told(), **QUICK)
    assert Told.begun == ["fp32", "int8"]
    assert Told.ended == [("fp32", None), ("int8", "ValueError: no ranges")]


def test_rows_of_a_target_that_lists_them_all() -> None:
    target = replace(load_target("l4"), precisions=("fp32", "fp16", "bf16", "int8", "fp8"))
    rows = list(_planned(target, CompetingBackends(("tensorrt",))))
    assert [row.precision for row in rows] == ["fp32", "fp16", "bf16", "int8", "fp8"]
    assert [row.recipe and row.recipe.steps for row in rows] == [
        (),
        (Step("cast", {"precision": "float16"}),),
        (Step("cast", {"precision": "bfloat16"}),),
        (Step("quantize", {"scope": "all"}),),
        (Step("float8"), Step("cast", {"precision": "float16"})),
    ]
    jetson = load_target("jetson")  # lists no fp8
    assert "fp8" not in {row.precision for row in _planned(jetson, CompetingBackends(("tensorrt",)))}


def test_a_providers_rows_are_asked_for_and_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """This ONNX Runtime has no such provider: each row tells what the back end says of it."""
    monkeypatch.setattr("compress.search.backends.tried", lambda: ((CPU, XNNPACK), ()))
    run = ["benchmark", "model.onnx", "--data", "val.npz", "--backend", "onnxruntime"]
    assert main([*run, "--seconds", "0.05", "--threads", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, json.loads(schema_text("benchmark")))
    rows = [row for row in printed["rows"] if row["provider"] == XNNPACK]
    assert [row["precision"] for row in rows] == ["fp32", "fp16", "bf16", "int8"]
    assert f"wanted ONNX Runtime with the {XNNPACK}" in rows[0]["reason"]
    assert rows[1]["reason"] == f"cpu does not list fp16 for {XNNPACK}"
    assert [row["profile"] for row in rows] == [None] * 4


def test_the_command_prints_a_row_for_each(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["benchmark", "model.onnx", "--data", "val.npz", "--backend", "onnxruntime"]
    run += ["--seconds", "0.05", "--threads", "1"]
    assert main(run) == 0
    told = capsys.readouterr().out
    assert sum(line.startswith("✓") for line in told.splitlines()) == 2
    assert sum(line.startswith("✗") for line in told.splitlines()) == 2
    assert "onnxruntime bf16: cpu does not list bf16 for onnxruntime" in told
    assert main([*run, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, json.loads(schema_text("benchmark")))
    assert [row["precision"] for row in printed["rows"]] == ["fp32", "fp16", "bf16", "int8"]
