"""An ONNX file with its weights in a file beside it, as torch's exporter writes it, is a network as any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from compress.cli import main
from compress.onnx_graph.files import sha256_of
from tests.graphs import classifier, samples


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from onnx.reference import ReferenceEvaluator

    model, x = classifier(), samples(40)
    (scores,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.savez(tmp_path / "val.npz", x=x, y=scores.argmax(1))
    onnx.save(model, tmp_path / "whole.onnx")
    onnx.save(
        model,
        tmp_path / "net.onnx",
        save_as_external_data=True,
        location="net.onnx.data",
        size_threshold=0,
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def size_of_both(place: Path) -> int:
    return (place / "net.onnx").stat().st_size + (place / "net.onnx.data").stat().st_size


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main([*arguments, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_it_is_measured_and_its_size_is_that_of_both_files(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = told(
        capsys, "profile", "net.onnx", "--data", "val.npz", "--seconds", "0.02", "--out", "p.json"
    )
    assert measured["artifact_bytes"] == size_of_both(place)
    assert measured["artifact_sha256"] == sha256_of(place / "net.onnx")
    assert measured["accuracy"]["mean"] == 1  # type: ignore[index]
    figures = told(capsys, "compare", "p.json", "p.json")["figures"]
    assert figures["size"][0] == figures["size"][1]  # type: ignore[index]


def test_the_gate_takes_it_on_both_sides(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "gate.toml").write_text('checks = ["churn", "size"]\nmax_churn_percent = 20\n')
    found = told(
        capsys, "gate", "net.onnx", "--baseline", "net.onnx", "--data", "val.npz", "--policy", "gate.toml"
    )
    assert found["verdict"] == "pass"
    checks = {each["name"]: each for each in found["checks"]}  # type: ignore[attr-defined]
    assert str(size_of_both(place)) in checks["size"]["detail"]


def test_it_is_read_as_the_whole_file_is(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    apart, whole = (told(capsys, "inspect", name) for name in ("net.onnx", "whole.onnx"))
    assert apart["layers"] == whole["layers"]
    assert told(capsys, "lint", "net.onnx", "--target", "cpu")["findings"] == []
