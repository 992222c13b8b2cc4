"""``compress.prune`` from Python: what it passes on, what it refuses, and how it goes on after an interruption."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import compress
from compress.api.distill import Evaluated
from compress.api.prune import _untrained
from compress.cli.prune import _lines
from compress.core.progress import Reporter
from compress.errors import CompressError, DataError, RecipeError, UsageError
from compress.hosts.absent import AbsentHost
from compress.pruning import decision
from compress.training import loop, processes
from compress.training.processes import Processes
from tests.records import candidate

NOISE = np.random.default_rng(0)
X, TRAINING = (NOISE.normal(size=(count, 16)).astype(np.float32) for count in (80, 200))
DATA = {"x": X, "y": np.arange(80) % 5}
TRAINED = {"train_data": {"x": TRAINING}, "epochs": 2, "batch_size": 50}
BOARD = "raspberry-pi-5"  # estimated, so that nothing depends on times


class Watching(Reporter):
    """Remembers what was done, and interrupts it."""

    def __init__(self, step: int | None = None, stage: str | None = None) -> None:
        self.steps, self.stages = 0, []
        self._last_step, self._last_stage = step, stage

    def stage(self, text: str) -> None:
        self.stages.append(text)
        if text == self._last_stage:
            raise KeyboardInterrupt

    def tick(self, done: int) -> None:
        self.steps += 1
        if self.steps == self._last_step:
            raise KeyboardInterrupt


def module(width: int = 20) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 5)]
    return nn.Sequential(*layers).eval()


def prune(out: Path, width: int = 20, **settings) -> compress.PruneResult:
    given = {"data": DATA, "importance": "magnitude", "threads": 1, "seconds": 0.05, **settings}
    return compress.prune(module(width), out=out, **given)


def checkpoints(out: Path) -> dict[Path, dict]:
    """What the trainings of a run kept, by their places."""
    kept = out.with_name(out.name + ".partial")
    return {path.relative_to(kept): torch.load(path) for path in kept.rglob("distill.pt")}


def test_an_interrupted_run_of_several_rounds_goes_on(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    settings = {"ratio": 0.4, "rounds": 2, **TRAINED}
    whole, rest = Watching(stage="measuring accuracy"), Watching(stage="measuring accuracy")
    with pytest.raises(KeyboardInterrupt):
        prune(tmp_path / "whole.pt2", reporter=whole, **settings)
    assert whole.steps == 2 * 2 * 3
    with pytest.raises(KeyboardInterrupt):
        prune(tmp_path / "killed.pt2", reporter=Watching(step=9), **settings)
    with pytest.raises(KeyboardInterrupt):
        prune(tmp_path / "killed.pt2", reporter=rest, **settings)
    assert rest.steps == 12 - 8  # the first round is not trained again
    expected, found = (checkpoints(tmp_path / f"{name}.pt2") for name in ("whole", "killed"))
    assert found.keys() == expected.keys()
    assert len(found) == 2
    for place, state in found.items():
        assert state["step"] == 6
        for name, value in state["best"].items():
            assert torch.equal(value, expected[place]["best"][name])


def test_what_fails_after_training_does_not_lose_it(tmp_path) -> None:
    settings = {"ratio": 0.4, **TRAINED}
    with pytest.raises(KeyboardInterrupt):
        prune(tmp_path / "out.pt2", reporter=Watching(stage="measuring accuracy"), **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["out.pt2.partial"]
    again = Watching()
    done = prune(tmp_path / "out.pt2", reporter=again, **settings)
    assert again.steps == 0
    assert done.networks[1].parameters < done.networks[0].parameters
    assert [path.name for path in tmp_path.iterdir()] == ["out.pt2"]


def test_a_share_of_the_latency_is_divided_among_the_rounds(tmp_path) -> None:
    settings = {"latency_share": 0.81, "rounds": 2, "timing_precision": "int8", "target": BOARD}
    done = prune(tmp_path / "out.pt2", 256, **settings)
    for name in ("prune", "prune-2"):
        assert done.reports[name]["settings"]["latency_share"] == pytest.approx(0.9)
        assert done.reports[name]["latency"]["table"]["precision"] == "int8"


def test_what_is_to_run_in_int8_is_timed_in_int8(tmp_path, monkeypatch) -> None:
    seen: list[set[str]] = []
    real = AbsentHost.latency

    def watched(self, build, *rest):
        seen.append({node.op_type for node in onnx.load(build.artifact.path).graph.node})
        return real(self, build, *rest)

    monkeypatch.setattr(AbsentHost, "latency", watched)
    for precision, quantized in (("int8", True), ("fp32", False)):
        settings = {"latency_share": 0.9, "timing_precision": precision, "target": BOARD}
        prune(tmp_path / f"{precision}.pt2", 256, **settings)
        assert ["QuantizeLinear" in operators for operators in seen[-2:]] == [quantized, quantized]


def test_with_training_data_half_of_the_latency_goes(tmp_path) -> None:
    training = {
        "epochs": 1,
        "epoch_samples": 40,
        "batch_size": 20,
        "learning_rate": 2e-3,
        "temperature": 2.0,
        "label_weight": 0.25,
        "features": 0.5,
    }
    labelled = {"x": TRAINING, "y": np.arange(200) % 5}
    done = prune(tmp_path / "out.pt2", 256, target=BOARD, train_data=labelled, **training)
    pruning, recovery = done.recipe.steps
    assert pruning.settings["latency_share"] == 0.5
    assert recovery.settings == training
    assert {**done.reports["distill"]["settings"], **training} == done.reports["distill"]["settings"]


def test_without_it_one_point_does(tmp_path) -> None:
    with pytest.raises(RecipeError, match=r"at most 0\.5 points, half of untrained_drop"):
        prune(tmp_path / "out.pt2", 256, target=BOARD, data={"x": X})


class Sorting(nn.Module):
    """Twice an operator that no rule knows."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(16, 12), nn.Linear(12, 12)
        self.three, self.four, self.five = nn.Linear(12, 20), nn.Linear(20, 20), nn.Linear(20, 5)
        with torch.no_grad():
            self.five.weight.mul_(100)  # the units of four matter more than any of three
            self.four.bias.mul_(100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x).sort(dim=1).values
        x = self.two(x).sort(dim=1).values
        return self.five(self.four(self.three(x).relu()).relu())


@pytest.fixture(scope="module")
def hardly(tmp_path_factory) -> compress.PruneResult:
    out = tmp_path_factory.mktemp("hardly") / "out.pt2"
    given = {"data": DATA, "importance": "magnitude", "threads": 1, "seconds": 0.05}
    return compress.prune(Sorting().eval(), out=out, ratio=0.1, per_layer=True, **given)


def test_one_round_takes_the_ratio_as_given(hardly) -> None:
    assert hardly.recipe.steps[0].settings["ratio"] == 0.1
    assert hardly.reports["prune"]["groups"] == {"three": [20, 18], "four": [20, 18]}
    assert [path.name for path in hardly.path.parent.iterdir()] == ["out.pt2"]


def test_what_training_data_would_buy_is_told(hardly) -> None:
    margin = {"margin": {"note": "give --train-data"}}
    limited = dataclasses.replace(hardly, reports={"prune": {**hardly.reports["prune"], **margin}})
    assert "give --train-data" in list(_lines(limited))
    assert "give --train-data" not in list(_lines(hardly))


def test_why_layers_were_kept_is_told_briefly(hardly) -> None:
    def told(notes: list[str]) -> list[str]:
        reports = {"prune": {**hardly.reports["prune"], "notes": notes}}
        found = _lines(dataclasses.replace(hardly, reports=reports))
        return [line for line in found if line.startswith("note: ")]

    own = hardly.reports["prune"]["notes"]
    assert told(own) == [f"note: {note}" for note in own]
    assert ["sort" in note for note in own] == [True, True]
    assert told([]) == []
    assert told(list("abcde")) == ["note: a", "note: b", "note: c", "note: 2 more like these, in --json"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"per_layer": True, "latency_share": 0.5}, "--ratio with --per-layer; found --latency-share"),
        ({"per_layer": True}, "--ratio with --per-layer; found none"),
        (
            {"timing_precision": "int8", "ratio": 0.3},
            "untrained_drop with timing_precision; found ratio",
        ),
        ({"ratio": 0.3, "epochs": 5}, "--train-data with --epochs; found none"),
        ({"ratio": 0.3, "label_weight": 0.5}, "--train-data with --label-weight"),
        ({"rounds": 2}, "--train-data, --latency-share or --ratio with several rounds; found none"),
        (
            {"rounds": 2, "untrained_drop": 1.0},
            "with several rounds; found --untrained-drop; leave --rounds out",
        ),
        ({"rounds": 0}, "wanted --rounds from 1"),
        ({"ratio": 0.3, "learning_rate": -1, "train_data": "missing.npz"}, "--learning-rate above 0"),
        ({"ratio": 1.5}, "--ratio from 0 to below 1"),
    ],
)
def test_what_means_nothing_together_is_refused_before_anything_is_read(tmp_path, settings, told) -> None:
    with pytest.raises(UsageError, match=told):
        prune(tmp_path / "out.pt2", **{"data": "missing.npz", **settings})


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"train_data": {"x": TRAINING[:100]}}, DataError, "at least 128 training samples"),
        ({"train_data": {"x": TRAINING}, "label_weight": 0.5}, DataError, "training data with labels"),
        ({"keep": ["8"], "untrained_drop": 1.0}, RecipeError, "the name of a layer to keep; found '8'"),
    ],
)
def test_what_training_or_pruning_would_refuse_is_told_before_any_layer_is_timed(
    tmp_path, settings, error: type[CompressError], told
) -> None:
    class Timed(Watching):
        def step(self, text: str, total: int = 0) -> None:
            assert text != "timing layers"

    with pytest.raises(error, match=told):
        prune(tmp_path / "out.pt2", target=BOARD, reporter=Timed(), **settings)
    assert not list(tmp_path.iterdir())


def test_another_process_takes_what_the_first_tells(tmp_path, monkeypatch) -> None:
    told: list[object] = []

    def of_the_first(processes: Processes, value: object) -> object:
        told.append(value)
        return ({"0": np.arange(4)}, {}) if len(told) == 1 else "what the first wrote"

    monkeypatch.setattr(Processes, "broadcast", of_the_first)
    for place in (processes, decision):
        monkeypatch.setattr(place, "joined", lambda: Processes(1, 2))
    watching = Watching()
    assert prune(tmp_path / "out.pt2", ratio=0.3, reporter=watching) == "what the first wrote"
    assert told == [None, None]
    assert "measuring accuracy" not in watching.stages
    assert not list(tmp_path.iterdir())


def together(folder: str) -> None:
    """Runs in each process; left alone, the second would choose other widths."""
    rank = int(os.environ["RANK"])
    settings = {"ratio": (0.3, 0.6)[rank], **TRAINED}
    done = prune(Path(folder) / "out.pt2", **settings)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(done.to_dict()))


@pytest.mark.slow
def test_two_processes_prune_alike_and_the_first_alone_writes(tmp_path) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    given = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    code = "import sys; from tests.api.test_prune_api import together; together(*sys.argv[1:])"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], env={**os.environ, **given, "RANK": str(rank)}
        )
        for rank in (0, 1)
    ]
    assert [each.wait(timeout=300) for each in running] == [0, 0]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["reports"]["prune"]["groups"] != {"0": [20, 20], "2": [20, 20]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.json", "1.json", "out.pt2"]


@pytest.mark.parametrize(
    ("points", "said"), [(None, False), (0.4, False), (-3.0, False), (1.5, True), (float("inf"), True)]
)
def test_accuracy_that_went_without_training_is_told(points: float | None, said: bool) -> None:
    entry = candidate("pruned", drop=None if points is None else (points - 1, points, points + 1))
    assert entry.profile is not None
    assert entry.profile.accuracy is not None
    warnings = _untrained(Evaluated("pruned", entry.profile.accuracy, 1, None))
    assert bool(warnings) is said
    assert all("--train-data" in warning for warning in warnings)
