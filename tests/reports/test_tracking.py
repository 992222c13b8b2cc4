"""Runs in MLflow: in its real store, and what is said where there is none."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.cli import main
from compress.reports.run import read_run
from compress.reports.tracking import metrics_of
from tests.reports.runs import written

Report = Callable[..., int]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install -e '.[mlflow]'")
    address = (tmp_path / "runs").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    return mlflow.MlflowClient(tracking_uri=address)


def runs_in(store: Any, experiment: str = "compress") -> dict[str, Any]:
    number = store.get_experiment_by_name(experiment).experiment_id
    return {run.info.run_name: run for run in store.search_runs([number])}


def test_a_run_with_its_figures_and_files(
    store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = written(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(build), "--mlflow", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "report.html").exists()  # it is there, and not also here
    record, runs = read_run(build), runs_in(store)
    assert set(runs) == {entry.recipe.name for entry in record.candidates}

    shipped = runs[record.shipped]
    assert told["mlflow"].endswith(f"run {shipped.info.run_id}")
    assert shipped.info.status == "FINISHED"
    assert shipped.data.metrics == metrics_of(record.profile)
    assert shipped.data.metrics["accuracy"] == record.profile.accuracy.mean
    assert shipped.data.metrics["batch_1/ratio_to_fp32"] == record.profile.latency[0].ratio
    assert shipped.data.params["options.max-drop"] == "1.0"
    assert shipped.data.params["target"] == record.profile.target
    assert shipped.data.tags["compress.reason"] == record.choice.reason
    assert shipped.data.tags["compress.artifact_sha256"] == record.profile.artifact_sha256

    files = {each.path for each in store.list_artifacts(shipped.info.run_id)}
    assert {"report.html", "figures.csv", "manifest.json", "profile.json", "candidates.jsonl"} <= files
    profile = store.download_artifacts(shipped.info.run_id, "profile.json", str(tmp_path))
    assert Path(profile).read_bytes() == (build / "profile.json").read_bytes()

    for name, run in runs.items():
        if name != record.shipped:
            assert run.data.tags["mlflow.parentRunId"] == shipped.info.run_id
            assert run.data.tags["compress.verdict"] == record.choice.verdicts[name]
    failed = next(entry for entry in record.candidates if entry.profile is None)
    assert runs[failed.recipe.name].data.metrics == {}


def test_the_user_names_the_experiment(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "edge")
    assert main(["report", str(written(tmp_path)), "--mlflow"]) == 0
    assert "int8" in runs_in(store, "edge")


def test_estimates_have_names_of_their_own(tmp_path: Path) -> None:
    profile = read_run(written(tmp_path)).profile
    estimated = replace(profile, latency=(replace(profile.latency[0], source="estimated"),))
    assert "batch_1/p50_ms" in metrics_of(profile)
    assert "batch_1/p50_ms" not in metrics_of(estimated)
    assert metrics_of(estimated)["batch_1/estimated_p50_ms"] == profile.latency[0].p50_ms


def test_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["report", str(written(tmp_path)), "--mlflow"]) == 2
    assert "export MLFLOW_TRACKING_URI=" in capsys.readouterr().err


def test_without_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert main(["report", str(written(tmp_path)), "--mlflow"]) == 4
    told = capsys.readouterr().err
    assert "[mlflow]" in told
    assert len(told.strip().splitlines()) == 1


def test_a_server_that_does_not_answer(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@localhost:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["report", str(written(tmp_path)), "--mlflow"]) == 4
    told = capsys.readouterr().err
    assert "http://localhost:1" in told
    assert "secret" not in told
    assert len(told.strip().splitlines()) == 1


def test_what_was_written_before_a_failure_is_marked(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(type(store), "log_artifacts", fail)
    assert main(["report", str(written(tmp_path)), "--mlflow"]) == 4
    assert {run.info.status for run in runs_in(store).values()} == {"FAILED"}
