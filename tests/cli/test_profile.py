from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from compress.cli import main
from compress.onnx_graph.files import save_model, sha256_of
from compress.record import Profile
from tests.graphs import classifier, samples


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(classifier(), tmp_path / "model.onnx")
    np.savez(tmp_path / "val.npz", x=samples(60), y=np.arange(60) % 4)
    return tmp_path


def test_onnx_file_without_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "model.onnx", "--batch", "2", "--threads", "1", "--json"]) == 0
    profile = Profile.from_dict(json.loads(capsys.readouterr().out))
    assert profile.accuracy is None
    assert profile.artifact_sha256 == sha256_of(place / "model.onnx")
    assert [latency.batch for latency in profile.latency] == [2]
    assert profile.latency[0].p50_ms <= (profile.latency[0].p90_ms or 0) <= (profile.latency[0].p99_ms or 0)
    assert profile.coverage is not None
    assert (profile.network, profile.network_sha256) == ("model", None)
    assert profile.recorded_at is not None
    assert abs(datetime.now(UTC) - datetime.fromisoformat(profile.recorded_at)) < timedelta(hours=1)


def test_profile_is_written_whole(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["profile", "model.onnx", "--data", "val.npz", "--threads", "1", "--out", "profile.json"]) == 0
    )
    assert "samples/s" in capsys.readouterr().out
    profile = Profile.from_dict(json.loads((place / "profile.json").read_text()))
    assert len(profile.outcomes) == 45  # a quarter is set apart for calibration
    assert {path.name for path in place.iterdir()} == {"model.onnx", "val.npz", "profile.json"}


def test_network_of_fixed_batch(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(classifier(batch=4), place / "fixed.onnx")
    assert main(["profile", "fixed.onnx", "--data", "val.npz", "--threads", "1", "--json"]) == 0
    profile = Profile.from_dict(json.loads(capsys.readouterr().out))
    assert [latency.batch for latency in profile.latency] == [4]
    assert len(profile.outcomes) == 45  # not a multiple of 4


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere"], 2, "nothing at nowhere"),
        (["val.npz"], 2, "val.npz"),
        (["model.onnx", "--target", "jetson"], 4, "jetson"),
        (["model.onnx", "--data", "nowhere.npz"], 2, "nowhere.npz"),
    ],
)
def test_wrong_input_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    assert main(["profile", *arguments]) == code
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_needs_no_torch(place: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from compress.cli import main\n"
        "sys.exit(main(['profile', 'model.onnx', '--data', 'val.npz', '--threads', '1', '--json']))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
