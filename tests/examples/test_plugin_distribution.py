"""The example of a distribution that adds to compress: built, installed, and each thing of it used by its name."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import compress
from tests.graphs import classifier, samples

pytestmark = pytest.mark.slow

ROOT = Path(compress.__file__).parents[1]
EXAMPLE = ROOT / "examples" / "plugin"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, data in the example's own form, a recipe with its technique, and the example installed in ``site``."""
    place = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, place / "source")  # a build writes beside what it builds
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*pip, "--target", str(place / "site"), str(place / "source")], check=True)
    onnx.save(classifier(), place / "model.onnx")
    x = samples(64)
    labels = ReferenceEvaluator(classifier()).run(None, {"x": x})[0].argmax(axis=1)
    lines = [" ".join(map(str, (label, *sample.ravel()))) for label, sample in zip(labels, x, strict=True)]
    (place / "val.txt").write_text("\n".join(["samples 3 8 8", *lines]) + "\n")
    technique = '[[technique]]\nname = "round_weights"\ndecimals = 2\n'
    (place / "recipe.toml").write_text(f'name = "rounded"\n\n{technique}')
    (place / "elsewhere.toml").write_text(f'name = "rounded"\nbackend = "example-runtime"\n\n{technique}')
    (place / "provider.toml").write_text(
        'extends = "cpu"\ndescription = "This machine, where another maker\'s provider competes."\n'
        'precisions = ["fp32"]\n\n[further_providers]\nAzureExecutionProvider = ["fp32"]\n'
    )
    return place


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    """Run a command where the example is installed; what it prints, and its exit code."""

    def running(*arguments: str, module: str = "compress") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(place / "site"), str(ROOT)))}
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, check=False
        )

    return running


@pytest.fixture(scope="module")
def build(place: Path, run: Run) -> Path:
    """A build for the example's target, by its metric, with its technique, from its data."""
    options = ["--data", "val.txt", "--metric", "within-one", "--max-drop", "100", "--seconds", "0.05"]
    names = ["--target", "example-board", "--recipe", "recipe.toml", "--out", "build"]
    done = run("optimize", "model.onnx", *options, *names)
    assert done.returncode == 0, done.stderr
    return place / "build"


def test_each_of_its_things_is_listed(run: Run) -> None:
    done = run("plugins", "--json")
    assert done.returncode == 0, done.stdout
    found = [each for each in json.loads(done.stdout)["plugins"] if not each["built_in"]]
    assert {(each["kind"], each["name"]) for each in found} == {
        ("technique", "round_weights"),
        ("back end", "example-runtime"),
        ("metric", "within-one"),
        ("target", "example-board"),
        ("data reader", "sample-rows"),
        ("lint rule", "channel-multiple"),
        ("report format", "tsv"),
        ("operator", "compress_example::snake"),
    }
    assert {(each["distribution"], each["version"]) for each in found} == {("compress-example", "1.0")}


def test_a_build_is_made_with_all_of_them(build: Path) -> None:
    profile = json.loads((build / "profile.json").read_text())
    manifest = json.loads((build / "manifest.json").read_text())
    assert profile["backend"] == "example-runtime"
    assert manifest["target"]["name"] == "example-board"
    assert manifest["data"]["metric"] == "within-one"
    assert sum(manifest["data"][part]["samples"] for part in ("evaluation", "calibration")) == 64
    candidates = [json.loads(line) for line in (build / "candidates.jsonl").read_text().splitlines()]
    assert [each["recipe"]["name"] for each in candidates] == ["fp32", "rounded"]
    assert candidates[1]["reports"]["round_weights"] == {"tensors": 6, "decimals": 2}
    assert candidates[1]["profile"]["backend"] == "example-runtime"


def test_its_report_has_a_line_for_each_candidate(build: Path, run: Run, place: Path) -> None:
    assert run("report", str(build), "--format", "tsv", "table.tsv").returncode == 0
    with (place / "table.tsv").open(newline="") as file:
        assert [row["recipe"] for row in csv.DictReader(file, dialect="excel-tab")] == ["fp32", "rounded"]


def test_its_back_end_competes_on_a_target_that_does_not_list_it(place: Path, run: Run) -> None:
    options = ["--data", "val.txt", "--max-drop", "100", "--seconds", "0.05", "--out", "here"]
    names = ["--target", "cpu", "--backend", "example-runtime", "--recipe", "elsewhere.toml"]
    done = run("optimize", "model.onnx", *options, *names)
    assert done.returncode == 0, done.stderr
    candidates = [json.loads(line) for line in (place / "here" / "candidates.jsonl").read_text().splitlines()]
    assert [each["profile"]["backend"] for each in candidates] == ["onnxruntime", "example-runtime"]


def test_an_execution_provider_of_another_maker_competes(place: Path, run: Run) -> None:
    options = ["--data", "val.txt", "--max-drop", "100", "--seconds", "0.05", "--out", "provider"]
    done = run("optimize", "model.onnx", *options, "--target", "provider.toml", "--backend", "onnxruntime")
    assert done.returncode == 0, done.stderr
    candidates = [
        json.loads(line) for line in (place / "provider" / "candidates.jsonl").read_text().splitlines()
    ]
    sessions = [each["recipe"].get("session") for each in candidates]
    assert {"provider": "AzureExecutionProvider"} in sessions


def test_quantize_measures_with_its_metric(run: Run) -> None:
    options = [
        "--data",
        "val.txt",
        "--metric",
        "within-one",
        "--target",
        "example-board",
        "--out",
        "int8.onnx",
    ]
    done = run("quantize", "model.onnx", *options)
    assert done.returncode == 0, done.stderr
    assert "within-one: " in done.stdout


def test_its_lint_rule_is_checked_for_its_back_end_alone(run: Run) -> None:
    for target, rules in (("example-board", {"channel-multiple"}), ("raspberry-pi-5", set())):
        done = run("lint", "model.onnx", "--target", target, "--json")
        assert {each["rule"] for each in json.loads(done.stdout)["findings"]} == rules


def test_its_back_end_keeps_what_every_back_end_must(place: Path, run: Run) -> None:
    done = run("-q", "-p", "no:cacheprovider", str(place / "source" / "tests"), module="pytest")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
