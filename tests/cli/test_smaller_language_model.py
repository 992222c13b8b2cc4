"""A language model made smaller in its structure, through `compress optimize` to a bundle that is used as any other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compress.bundle.bundle import Bundle, load_bundle
from compress.cli import main
from tests.language.documents import json_lines, small_model

tokenizers = pytest.importorskip("tokenizers")

TRIM = """
[[technique]]
name = "trim_vocabulary"
"""

PRUNE = """
[[technique]]
name = "prune"
ratio = 0.6
"""

TRAIN = """
[[technique]]
name = "distill"
epochs = 1
batch_size = 4
window = 32
weight_bits = 4
"""

FOUR_BITS = """
[[technique]]
name = "weight_only"
algorithm = "rtn"
compute = "int8"
"""


SIZES = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4}


def texts(count: int, seed: int = 0) -> list[str]:
    """Texts of few words, and one of a word that no other has."""
    random = np.random.default_rng(seed)
    found = [
        " ".join(
            f"nobody reads {random.choice(['the board', 'a file'])}." for _ in range(random.integers(4, 19))
        )
        for _ in range(count - 1)
    ]
    return [*found, "nobody never trusts the old engineer. nobody reads the last release."]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("place")
    small_model(path / "model", **SIZES)
    json_lines(path / "texts", texts(60))
    return path


def optimized(place: Path, name: str, techniques: str, *more: str) -> Bundle:
    recipe = place / f"{name}.toml"
    recipe.write_text(f'name = "{name}"\n{techniques}', encoding="utf-8")
    given = [
        "optimize",
        str(place / "model"),
        "--data",
        str(place / "texts"),
        "--seconds",
        "0.02",
        "--threads",
        "1",
    ]
    given += ["--recipe", str(recipe), "--objective", "size", "--max-drop", "90"]
    assert main([*given, *more, "--out", str(place / f"{name}-build")]) == 0
    return load_bundle(place / f"{name}-build")


@pytest.fixture(scope="module")
def trimmed(place: Path) -> Bundle:
    """A build with fewer tokens, and so few weights that it is faster on any machine."""
    return optimized(place, "trimmed", TRIM + PRUNE)


def test_a_bundle_of_a_trimmed_vocabulary_is_profiled_gated_and_run(
    trimmed: Bundle, place: Path, tmp_path: Path
):
    data = ["--data", str(place / "texts")]
    out = tmp_path / "profile.json"
    assert (
        main(["profile", str(trimmed.path), *data, "--seconds", "0.02", "--batch", "1", "--out", str(out)])
        == 0
    )
    assert json.loads(out.read_text())["accuracy"]["mean"] > 0
    assert main(["inspect", str(trimmed.path)]) == 0
    assert main(["report", str(trimmed.path), "--markdown", str(tmp_path / "report.md")]) == 0
    ran = subprocess.run(
        [sys.executable, str(trimmed.path / "selfcheck.py")], capture_output=True, text=True, check=False
    )
    assert ran.stdout.startswith("pass: ")
    ran = subprocess.run(
        [sys.executable, str(trimmed.path / "run.py"), "nobody reads"], capture_output=True, check=False
    )
    assert ran.returncode == 0


def test_rounding_follows_a_trimmed_vocabulary(place: Path, capsys: pytest.CaptureFixture[str]):
    recipe = place / "both.toml"
    recipe.write_text(f'name = "both"\n{TRIM}{FOUR_BITS.replace("rtn", "gptq")}', encoding="utf-8")
    given = [str(place / "model"), "--data", str(place / "texts"), "--recipe", str(recipe)]
    assert main(["quantize", *given, "--out", str(place / "both.onnx"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    before, after = found["reports"]["trim_vocabulary"]["tokens"]
    assert after < before
    own = tokenizers.Tokenizer.from_file(str(place / "both.tokenizer.json"))
    assert own.get_vocab_size() == after
    assert 0 < found["agreement"]["mean"] <= 1


def test_a_trimmed_vocabulary_is_gated_against_the_whole_one(
    trimmed: Bundle, place: Path, capsys: pytest.CaptureFixture[str]
):
    whole = optimized(place, "whole", FOUR_BITS)
    capsys.readouterr()
    policy = place / "gate.toml"
    policy.write_text('checks = ["accuracy", "latency"]\nmax_drop_points = 90\n', encoding="utf-8")
    arguments = ["--policy", str(policy), "--json"]
    data = ["--data", str(place / "texts")]
    assert main(["gate", str(trimmed.path), "--baseline", str(whole.path), *data, *arguments]) in (0, 1, 3)
    checks = {each["name"]: each for each in json.loads(capsys.readouterr().out)["checks"]}
    assert abs(checks["accuracy"]["figures"]["drop_points"]) < 60
    assert checks["latency"]["figures"]
    assert main(["gate", str(trimmed.path), "--baseline", str(whole.path), *arguments]) in (0, 1, 3)
    capsys.readouterr()
    assert main(["gate", str(whole.path), "--baseline", str(trimmed.path), *data, *arguments]) == 2
    assert "one with a trimmed vocabulary of its own" in capsys.readouterr().err


def test_a_smaller_structure_is_trained_on_the_texts(place: Path):
    json_lines(place / "training", texts(50, seed=1))
    train = ["--train-data", str(place / "training")]
    bundle = optimized(place, "small", TRIM + PRUNE + TRAIN + FOUR_BITS, *train)
    assert bundle.recipe.name == "small"
    lines = (bundle.path / "candidates.jsonl").read_text().splitlines()
    reports = next(each["reports"] for each in map(json.loads, lines) if each["recipe"]["name"] == "small")
    before, after = reports["prune"]["parameters"]
    assert after < before
    assert (
        reports["distill"]["training"]["held_out_losses"][-1]
        < reports["distill"]["training"]["held_out_losses"][0]
    )
    names = [each["name"] for each in bundle.manifest["inputs"]]
    assert sum(name.endswith(".key") for name in names) == len(reports["prune"]["layers"])
    with bundle:
        assert list(bundle.generate("nobody reads", max_new_tokens=4))
    ran = subprocess.run(
        [sys.executable, str(bundle.path / "selfcheck.py")], capture_output=True, text=True, check=False
    )
    assert ran.stdout.startswith("pass: ")
    data = ["--data", str(place / "texts"), "--seconds", "0.02", "--batch", "1"]
    assert main(["profile", str(bundle.path), *data, "--out", str(place / "profile.json")]) == 0
