"""A language model through `compress optimize` in OpenVINO: to a bundle that writes text and that every verb takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compress.bundle.bundle import Bundle, load_bundle
from compress.cli import main
from compress.errors import BundleError
from tests.language.documents import json_lines, sentences, small_model

pytest.importorskip("tokenizers")
pytest.importorskip("openvino")

RECIPE = """name = "eight bits"
backend = "openvino"

[[technique]]
name = "weight_only"
algorithm = "rtn"
bits = 8

[session]
cache = "int8"
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    place = tmp_path_factory.mktemp("place")
    small_model(place / "model")
    json_lines(place / "texts", sentences(60))
    (place / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    given = ["optimize", str(place / "model"), "--data", str(place / "texts"), "--seconds", "0.02"]
    given += ["--threads", "1", "--objective", "size", "--max-size", "0.3", "--max-drop", "30"]
    assert main([*given, "--recipe", str(place / "recipe.toml"), "--out", str(place / "build")]) == 0
    return load_bundle(place / "build")


def test_the_build_is_openvinos_and_measured_as_any_other(bundle: Bundle):
    assert (bundle.recipe.name, bundle.artifact.backend) == ("eight bits", "openvino")
    assert bundle.artifact.path.name == "openvino_model.xml"
    assert bundle.artifact.options["cache"] == "int8"
    weights = bundle.path / "openvino_model.bin"
    assert bundle.artifact.size_bytes == weights.stat().st_size + bundle.artifact.path.stat().st_size
    accuracy, (latency, *_) = bundle.profile.accuracy, bundle.profile.latency
    assert accuracy is not None
    assert accuracy.beside["divergence"] > 0
    assert latency.source == "measured"
    shipped = set(bundle.manifest["files"])
    assert {"tokenizer.json", "generation.py", "openvino_generation.py", "run.py", "selfcheck.py"} <= shipped
    assert not {"genai_config.json", "run.cpp"} & shipped
    assert "openvino_model.bin" in (bundle.path / "SHA256SUMS").read_text(encoding="utf-8")


def test_it_writes_text_and_its_program_the_same(bundle: Bundle):
    with load_bundle(bundle.path) as opened:
        pieces = list(opened.generate("the old engineer", max_new_tokens=256))
    assert "".join(pieces)
    ran = subprocess.run(
        [sys.executable, str(bundle.path / "run.py"), "the old engineer"],
        capture_output=True,
        check=True,
        cwd=bundle.path.parent,
    )
    assert ran.stdout.decode("utf-8") == "".join(pieces) + "\n"


def test_it_checks_itself(bundle: Bundle):
    ran = subprocess.run(
        [sys.executable, str(bundle.path / "selfcheck.py")], capture_output=True, text=True, check=False
    )
    assert ran.stdout.startswith("pass: "), ran.stdout


def test_every_verb_takes_it(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    build, texts = str(bundle.path), str(bundle.path.parent / "texts")
    quick = ["--data", texts, "--seconds", "0.02", "--batch", "1", "--out", str(tmp_path / "profile.json")]
    assert main(["profile", build, *quick]) == 0
    measured = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))["accuracy"]
    assert bundle.profile.accuracy is not None
    assert measured["mean"] == pytest.approx(bundle.profile.accuracy.mean, rel=1e-6)
    (tmp_path / "gate.toml").write_text('checks = ["accuracy", "size"]\n', encoding="utf-8")
    sides = [build, "--baseline", build, "--data", texts, "--policy", str(tmp_path / "gate.toml")]
    capsys.readouterr()
    assert main(["gate", *sides, "--json"]) == 0
    checks = {each["name"]: each for each in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["accuracy"]["figures"]["drop_points"] == 0
    assert main(["report", build, "--markdown", str(tmp_path / "report.md")]) == 0
    assert "openvino" in (tmp_path / "report.md").read_text(encoding="utf-8")
    shapes = {each["name"]: each for each in bundle.manifest["sample"]["inputs"]}
    arrays = {
        name: np.fromfile(bundle.path / each["file"], each["dtype"]).reshape(each["shape"])
        for name, each in shapes.items()
    }
    np.savez(tmp_path / "step.npz", **arrays)
    assert main(["predict", build, str(tmp_path / "step.npz")]) == 0
    assert "logits" in capsys.readouterr().out
    assert main(["inspect", build]) != 0
    assert "OpenVINO" in capsys.readouterr().err


def test_damage_is_told(bundle: Bundle, tmp_path: Path):
    import shutil

    copied = tmp_path / "copied"
    shutil.copytree(bundle.path, copied)
    weights = copied / "openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    with pytest.raises(BundleError, match=r"openvino_model\.xml with sha256"):
        load_bundle(copied)
