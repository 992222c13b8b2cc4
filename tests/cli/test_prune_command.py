from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import compress
from compress.cli import main
from compress.network.network import load_network
from compress.onnx_graph.files import sha256_of
from tests.graphs import classifier
from tests.killing import killed_in_training
from tests.networks import ResidualCNN, build

X = np.random.default_rng(0).standard_normal((60, 3, 8, 8)).astype(np.float32)
QUICK = ("--threads", "1", "--seconds", "0.05")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("prune")
    batch = torch.export.Dim("batch", min=1)
    module = build(ResidualCNN)
    program = torch.export.export(module, (torch.from_numpy(X[:2]),), dynamic_shapes=({0: batch},))
    torch.export.save(program, place / "net.pt2")
    np.savez(place / "val.npz", x=X, y=np.arange(60) % 5)
    np.savez(place / "train.npz", x=np.concatenate([X, X, X]) + 1)
    return place


def run(place: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.chdir(place)
    return main(["prune", "net.pt2", "--data", "val.npz", *QUICK, *arguments])


def test_a_smaller_network_is_written_that_is_read_again(place, monkeypatch, capsys) -> None:
    assert run(place, monkeypatch, "--ratio", "0.4", "--keep", "stem", "--importance", "magnitude") == 0
    told = capsys.readouterr().out
    for part in (
        "pruned.pt2",
        "MACs: ",
        "parameters: ",
        "latency on cpu: ",
        "× the original",
        "top-1: ",
        "drop: ",
    ):
        assert part in told
    pruned, original = load_network(place / "pruned.pt2"), load_network(place / "net.pt2")
    assert pruned.graph is not None
    assert original.graph is not None
    assert pruned.graph.get_submodule("stem").out_channels == 8
    assert sum(each.numel() for each in pruned.graph.parameters()) < sum(
        each.numel() for each in original.graph.parameters()
    )
    assert {path.name for path in place.iterdir()} >= {"net.pt2", "pruned.pt2"}
    assert not [path for path in place.iterdir() if path.name.startswith(".")]


def test_rounds_of_pruning_and_training_are_all_reported(place, monkeypatch, capsys) -> None:
    training = ("--epochs", "1", "--batch-size", "20", "--learning-rate", "0.002", "--temperature", "2")
    arguments = ("--ratio", "0.5", "--rounds", "2", "--train-data", "train.npz", *training)
    assert run(place, monkeypatch, *arguments, "--out", "small.onnx", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["reports"]) == {"prune", "distill", "prune-2", "distill-2"}
    assert told["reports"]["prune"]["settings"]["ratio"] == pytest.approx(1 - 0.5**0.5)
    for name in ("distill", "distill-2"):
        settings = told["reports"][name]["settings"]
        expected = {"epochs": 1, "batch_size": 20, "learning_rate": 0.002, "temperature": 2.0}
        assert {name: settings[name] for name in expected} == expected
    assert told["reports"]["prune-2"]["macs"][1] < told["reports"]["prune"]["macs"][1]
    assert told["sha256"] == sha256_of(place / "small.onnx")
    assert [each["name"] for each in told["networks"]] == ["original", "pruned"]
    assert told["networks"][1]["accuracy"]["drop"] is not None
    assert told["latency"][1]["ratio"] > 0
    onnx.checker.check_model(onnx.load(place / "small.onnx"))


def test_a_latency_on_an_absent_target_is_estimated(place, monkeypatch, capsys) -> None:
    arguments = ("--latency-share", "0.999", "--target", "jetson-orin-nano-super", "--out", "board.pt2")
    assert run(place, monkeypatch, *arguments) == 0
    told = capsys.readouterr().out
    assert "(estimated)" in told
    assert "predicted from its layers" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--latency-share", "0.5", "--ratio", "0.3"), "one of ratio, latency_share and untrained_drop"),
        (("--latency-share", "1.5"), "is not above 0 to below 1"),
        (("--out", "pruned.bin"), "ends in .pt2 or .onnx"),
        (("--out", "net.pt2"), "given as a network"),
        (("--untrained-drop", "1", "--rounds", "2"), "leave --rounds out"),
        (("--ratio", "0.3", "--keep", "stam"), "did you mean"),
        (("--ratio", "0.3", "--epochs", "0", "--train-data", "train.npz"), "epochs"),
        (
            ("--ratio", "0.3", "--batch-size", "100", "--train-data", "train.npz"),
            "at least 200 training samples",
        ),
        (("--ratio", "0.3", "--label-weight", "0.5", "--train-data", "train.npz"), "set label_weight = 0"),
        (("--ratio", "0.3", "--features", "1"), "--train-data with --features"),
        (("--ratio", "0.3", "--epoch-samples", "99"), "--train-data with --epoch-samples"),
        (("--latency-share", "0.5", "--per-layer"), "--ratio with --per-layer; found --latency-share"),
        (("--ratio", "0.5", "--timing-precision", "int8"), "found ratio; remove timing_precision"),
        (("--keep", "stam"), "did you mean stem?"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(place, monkeypatch, capsys, arguments, told) -> None:
    before = sha256_of(place / "net.pt2")
    assert run(place, monkeypatch, *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert told in error
    assert sha256_of(place / "net.pt2") == before


def test_of_several_processes_the_first_alone_tells(place, monkeypatch, capsys) -> None:
    waited: list[float] = []
    monkeypatch.setattr("compress.cli.torchrun.time.sleep", waited.append)
    monkeypatch.setenv("RANK", "1")
    assert run(place, monkeypatch, "--out", "pruned.bin") == 2
    assert waited
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_training_killed_for_real_goes_on_at_the_widths_that_were_chosen(
    place, monkeypatch, capsys
) -> None:
    training = ("--train-data", "train.npz", "--epochs", "2", "--batch-size", "10")
    arguments = ("--latency-share", "0.98", "--out", "killed.pt2", *training, "--json")
    kept = place / "killed.pt2.partial"
    checkpoint = killed_in_training(
        ["prune", "net.pt2", "--data", "val.npz", *QUICK, *arguments], place, kept
    )
    assert 0 < torch.load(checkpoint)["step"] < 2 * 16
    (decided,) = kept.rglob("prune-*.json")
    chosen = json.loads(decided.read_text())
    steps: list[int] = []
    monkeypatch.setattr("compress.cli.terminal.TerminalReporter.tick", lambda _, done: steps.append(done))
    assert run(place, monkeypatch, *arguments) == 0
    assert steps[0] > 1
    told = json.loads(capsys.readouterr().out)
    left = {name: before - after for name, (before, after) in told["reports"]["prune"]["groups"].items()}
    assert {name: gone for name, gone in left.items() if gone} == {
        name: len(units) for name, units in chosen["units"].items()
    }
    assert told["reports"]["prune"]["latency"] == chosen["told"]["latency"]
    assert not kept.exists()


def test_an_onnx_model_is_refused(place, monkeypatch, capsys) -> None:
    onnx.save(classifier(), place / "model.onnx")
    monkeypatch.chdir(place)
    np.savez("four.npz", x=np.zeros((20, 3, 16, 16), np.float32), y=np.arange(20) % 4)
    assert main(["prune", "model.onnx", "--data", "four.npz"]) == 2
    assert "wanted " in capsys.readouterr().err


def test_python_gives_the_same(place) -> None:
    done = compress.prune(
        build(ResidualCNN),
        data=str(place / "val.npz"),
        ratio=0.3,
        out=place / "live.pt2",
        threads=1,
        seconds=0.05,
    )
    assert isinstance(done, compress.PruneResult)
    assert done.networks[1].parameters < done.networks[0].parameters
    assert done.reports["prune"]["settings"]["importance"] == "hessian_diagonal"
    assert done.path.exists()
