"""What ``compress lint`` writes with --fix and --sarif, and what its exit code is then."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from compress.cli import main
from tests.rewriting import assert_same, graph

XAVIER = ["--target", "jetson-agx-xavier"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    model = graph("n = LayerNormalization(x, s) y = Gelu(n)", s=np.ones(4, np.float32))
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["lint", *arguments]) == code
    told = capsys.readouterr()
    return told.out + told.err


def test_a_mended_graph_is_written_and_passes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "[--fix: gelu]" in printed(capsys, str(path), *XAVIER, code=1)
    out = path.with_name("out.onnx")
    told = printed(capsys, str(path), *XAVIER, "--fix", str(out)).splitlines()
    assert [line.partition(":")[0] for line in told[:3]] == [
        "rewrote layer-normalization",
        "rewrote gelu",
        "rewrote opset",
    ]
    assert "its outputs differ by" in told[3]
    assert told[4:] == ["no findings"]
    assert_same(onnx.load(path), onnx.load(out), (3, 4))
    assert printed(capsys, str(out), *XAVIER) == "no findings\n"


def test_what_is_left_decides_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    onnx.save(graph("g = Gelu(x) [hard] y = Hardmax(g)"), path)
    told = printed(capsys, str(path), *XAVIER, "--fix", str(out), "--json", code=1)
    report = json.loads(told)
    assert [finding["node"] for finding in report["findings"]] == ["hard"]
    assert list(report["rewrites"]) == ["gelu", "opset"]
    assert report["largest_difference"] <= 1e-5
    assert report["written"] == str(out)


def test_what_could_not_be_rewritten_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    onnx.save(graph("y = ReduceMean<noop_with_empty_axes=1>(x)"), path)
    told = printed(capsys, str(path), *XAVIER, "--fix", str(out), code=1)
    assert "could not rewrite opset: ReduceMean at" in told


def test_sarif_beside_the_lines(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = path.with_name("lint.sarif")
    told = printed(capsys, str(path), *XAVIER, "--sarif", str(log), code=1)
    results = json.loads(log.read_text())["runs"][0]["results"]
    rules = [line for line in told.splitlines() if not line.startswith(" ")][:-1]
    assert len(results) == 3
    assert {f"{each['level']} {each['ruleId']}" for each in results} == set(rules)


@pytest.mark.parametrize("option", ["--fix", "--sarif"])
def test_a_place_that_cannot_be_written(option: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = printed(capsys, str(path), *XAVIER, option, str(path.parent / "none" / "out"), code=2)
    assert told.startswith("error: wanted a place to write to")
    assert len(told.splitlines()) == 1


def test_the_accelerator_is_looked_at_when_asked(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = printed(capsys, str(path), "--target", "jetson-agx-orin-64gb", "--dla")
    assert "Gelu is not among the DLA's operators" in told
    assert told.endswith("0 errors, 3 warnings\n")


def test_a_back_end_that_the_target_lacks(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "a back end of the target" in printed(capsys, str(path), *XAVIER, "--backend", "openvin", code=2)
