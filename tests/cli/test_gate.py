from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from compress import optimize
from compress.cli import main
from compress.onnx_graph.files import save_model
from tests.graphs import classifier, samples


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network twice, one five times as wide, and one with another last layer: all on one data set."""
    directory = tmp_path_factory.mktemp("bundles")
    from onnx.reference import ReferenceEvaluator

    x = samples(800)
    (scores,) = ReferenceEvaluator(classifier(channels=32)).run(None, {"x": x})
    np.savez(directory / "val.npz", x=x, y=scores.argmax(1).astype(np.int64))
    broken = classifier(channels=32)
    weights = onnx.numpy_helper.to_array(broken.graph.initializer[4])
    broken.graph.initializer[4].raw_data = weights[::-1].tobytes()
    models = {"same": classifier(channels=32), "broken": broken, "slow": classifier(channels=160)}
    for name, model in models.items():
        save_model(model, directory / f"{name}.onnx")
        recipes = directory / "none.toml"
        recipes.write_text('name = "nothing"\n[[technique]]\nname = "cast"\n')
        optimize(
            directory / f"{name}.onnx",
            data=directory / "val.npz",
            out=directory / name,
            recipes=[recipes],
            seconds=0.05,
            threads=1,
        )
    return directory


def gate(bundles: Path, candidate: str, baseline: str, *arguments: str) -> int:
    code: int = main(["gate", str(bundles / candidate), "--baseline", str(bundles / baseline), *arguments])
    return code


def test_same_build_is_never_failed(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(bundles, "same", "same") in (0, 3)
    assert "accuracy: pass" in capsys.readouterr().out


def test_slower_build_fails_and_the_faster_passes(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(bundles, "slow", "same", "--max-drop", "100", "--json") == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["verdict"] == "fail"
    verdicts = {check["name"]: check["verdict"] for check in verdict["checks"]}
    assert verdicts == {"accuracy": "pass", "slices": "skipped", "latency": "fail", "size": "fail"}
    assert gate(bundles, "same", "slow", "--max-drop", "100") == 0


def test_less_accurate_build_fails(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(bundles, "broken", "same", "--max-slowdown", "1000") == 1
    assert "accuracy: fail" in capsys.readouterr().out


def test_data_is_run_through_both(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(bundles / "val.npz")
    assert gate(bundles, "broken", "same", "--data", data, "--max-slowdown", "1000") == 1
    assert gate(bundles, "same", "same", "--data", data, "--max-slowdown", "1000") == 0


def test_undecided_gate_exits_as_asked(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # No number of samples proves a drop of exactly nothing.
    undecided = ["--max-drop", "0", "--max-slowdown", "1000"]
    assert gate(bundles, "same", "same", *undecided) == 3
    assert gate(bundles, "same", "same", *undecided, "--on-inconclusive", "pass") == 0
    assert gate(bundles, "same", "same", *undecided, "--on-inconclusive", "fail") == 1
    assert "inconclusive" in capsys.readouterr().out


def test_missing_baseline_is_usage(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(bundles, "same", "nowhere") == 2
    assert "a bundle, an ONNX file, or a profile" in capsys.readouterr().err


def test_tampered_bundle_is_usage(bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(bundles / "same", tmp_path / "tampered")
    profile = tmp_path / "tampered" / "profile.json"
    profile.write_text(profile.read_text().replace('"p50_ms": ', '"p50_ms": 9', 1))
    assert gate(bundles, "same", str(tmp_path / "tampered")) == 2
    assert "sha256" in capsys.readouterr().err


def test_profile_of_a_bundle_is_a_baseline_too(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(bundles, "broken", "same/profile.json") == 1
    assert "accuracy: fail" in capsys.readouterr().out


def test_needs_no_torch(bundles: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from compress.cli import main\n"
        f"sys.exit(main(['gate', {str(bundles / 'same')!r}, '--baseline', {str(bundles / 'slow')!r}, "
        "'--max-drop', '100']))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
