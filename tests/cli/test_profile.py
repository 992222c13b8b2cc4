from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from onnx import helper

from compress.cli import main
from compress.onnx_graph.files import save_model, sha256_of
from compress.profiling.scenarios import NAMES
from compress.records.profile import Profile
from compress.records.schemas import schema_text
from tests.graphs import classifier, samples

QUICK = ("--threads", "1", "--seconds", "0.1")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(classifier(), tmp_path / "model.onnx")
    np.savez(tmp_path / "val.npz", x=samples(60), y=np.arange(60) % 4)
    return tmp_path


def test_onnx_file_without_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "model.onnx", "--batch", "2", *QUICK, "--json"]) == 0
    profile = Profile.from_dict(json.loads(capsys.readouterr().out))
    assert profile.accuracy is None
    assert profile.artifact_sha256 == sha256_of(place / "model.onnx")
    assert [latency.batch for latency in profile.latency] == [2]
    (latency,) = profile.latency
    assert latency.iterations >= 64
    assert latency.p90_ms is not None
    assert latency.p90_interval is not None
    assert latency.p50_ms <= latency.p90_ms <= latency.p90_interval.high
    assert latency.warm_up is not None
    assert profile.coverage is not None
    assert profile.conditions is not None
    assert profile.conditions["intra_op_threads"] == 1
    assert {layer.source for layer in profile.layers} == {"measured"}
    assert 0 < sum(layer.share for layer in profile.layers) <= 1
    assert profile.scenarios == ()
    assert (profile.network, profile.network_sha256) == ("model", None)
    assert profile.recorded_at is not None
    assert abs(datetime.now(UTC) - datetime.fromisoformat(profile.recorded_at)) < timedelta(hours=1)


def test_open_axes_take_the_shape_that_is_given(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    values = [helper.make_tensor_value_info(name, 1, ["batch", "length", 4]) for name in "xy"]
    save_model(
        helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]), ir_version=10),
        place / "open.onnx",
    )
    assert main(["profile", "open.onnx", *QUICK]) != 0
    assert "--shape" in capsys.readouterr().err
    assert main(["profile", "open.onnx", "--batch", "2", "--input", "1x7x4", *QUICK, "--json"]) == 0
    (latency,) = Profile.from_dict(json.loads(capsys.readouterr().out)).latency
    assert latency.shapes == {"x": [2, 7, 4]}
    assert main(["profile", "open.onnx", "--data", "val.npz", "--input", "1x7x4", *QUICK]) == 2


def test_profile_is_written_whole(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "model.onnx", "--data", "val.npz", *QUICK, "--out", "profile.json"]) == 0
    assert "samples/s" in capsys.readouterr().out
    profile = Profile.from_dict(json.loads((place / "profile.json").read_text()))
    assert len(profile.outcomes) == 60  # all: nothing is calibrated here
    assert {path.name for path in place.iterdir()} == {"model.onnx", "val.npz", "profile.json"}


def test_a_batch_size_given_twice_is_measured_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--batch", "4", "--batch", "1", "--batch", "4"]
    assert main(["profile", "model.onnx", "--threads", "1", "--seconds", "0.05", *sizes, "--json"]) == 0
    assert [entry["batch"] for entry in json.loads(capsys.readouterr().out)["latency"]] == [4, 1]


def test_network_of_fixed_batch(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(classifier(batch=4), place / "fixed.onnx")
    assert main(["profile", "fixed.onnx", "--data", "val.npz", *QUICK, "--json"]) == 0
    profile = Profile.from_dict(json.loads(capsys.readouterr().out))
    assert [latency.batch for latency in profile.latency] == [4]
    assert len(profile.outcomes) == 60


def test_scenarios_are_measured_beside_the_latency_and_valid(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--scenario", "all", "--batch", "1", "--batch", "4", *QUICK]
    assert main(["profile", "model.onnx", *arguments, "--data", "val.npz", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, json.loads(schema_text("profile")))
    profile = Profile.from_dict(data)
    assert [scenario.name for scenario in profile.scenarios] == list(NAMES)
    assert [scenario.percentile for scenario in profile.scenarios] == [90, 99, None]
    assert [latency.batch for latency in profile.scenarios[2].sweep] == [1, 4]
    assert profile.scenarios[1].queries >= 662


def test_the_table_fits_eighty_columns_and_tells_what_was_asked_for(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    sizes = ["--batch", "1", "--batch", "2", "--batch", "4", *QUICK]
    assert main(["profile", "model.onnx", "--scenario", "multi-stream", *sizes]) == 0
    told = capsys.readouterr().out
    for part in (
        "highest throughput at batch",
        "multi-stream",
        "p99, ms",
        "< ",
        "between operators",
        "1 thread,",
    ):
        assert part in told
    assert max(map(len, told.splitlines())) <= 80
    assert "…" not in told


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere"], 2, "nothing at nowhere"),
        (["val.npz"], 2, "val.npz"),
        (["model.onnx", "--target", "jetson"], 4, "jetson"),
        (["model.onnx", "--data", "nowhere.npz"], 2, "nowhere.npz"),
        (["model.onnx", "--metric", "top-1"], 2, "give --data"),
        (["model.onnx", "--image-size", "8x8"], 2, "give --data"),
    ],
)
def test_wrong_input_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    assert main(["profile", *arguments]) == code
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["--scenario", "server"], ["--seconds", "0"], ["--seconds", "nan"], ["--batch", "0"]],
)
def test_options_out_of_range_are_named(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["profile", "model.onnx", *arguments]) == 2
    assert f"'{arguments[0]}'" in capsys.readouterr().err


def test_needs_no_torch(place: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from compress.cli import main\n"
        "sys.exit(main(['profile', 'model.onnx', '--data', 'val.npz', '--threads', '1', '--seconds', '0.1', '--json']))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
