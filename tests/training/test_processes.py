"""Real processes, started as torchrun starts them, against one alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.data.arrays import ArraySplit
from compress.errors import RecipeError, UnavailableError
from compress.training import loop
from compress.training.loop import train
from compress.training.losses import Distillation
from compress.training.processes import Processes, joined
from compress.training.settings import TrainingOptions


class Tuple(nn.Sequential):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (super().forward(x),)


def network(seed: int, norm: bool) -> Tuple:
    torch.manual_seed(seed)
    layers = [nn.Linear(6, 12), *([nn.BatchNorm1d(12)] if norm else []), nn.ReLU(), nn.Linear(12, 4)]
    return Tuple(*layers)


def data(count: int = 200) -> ArraySplit:
    noise = np.random.default_rng(0)
    return ArraySplit.from_arrays({"x": noise.normal(size=(count, 6)).astype(np.float32)})


def trained(seed: int, norm: bool, folder: Path, kill_at: int | None = None) -> tuple[Tuple, list[float]]:
    """What each process does; the batch of 15 is no multiple of two."""

    def report(progress: loop.Progress) -> None:
        if progress.step == kill_at:
            os.kill(os.getpid(), 9)

    student = network(seed, norm)
    settings = TrainingOptions(epochs=4, batch_size=15, learning_rate=1e-2)
    options = {"inputs": ["x"], "save_to": folder / "training.pt", "save_seconds": 0, "report": report}
    done = train(student, network(0, norm), data(), Distillation(True), settings, **options)
    return student, done.held_out_losses


def main(folder: str, kill_at: str) -> None:
    """Runs in each process; each begins with other weights, as a student made at random does."""
    rank = int(os.environ["RANK"])
    for norm in (False, True):
        own = Path(folder) / str(norm)
        student, losses = trained(1 + rank, norm, own, int(kill_at) or None)
        torch.save({"weights": student.state_dict(), "losses": losses}, own / f"{rank}.pt")


def start(folder: Path, kill_at: int = 0, count: int = 2) -> list[int]:
    """Exit codes of the processes."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    for norm in (False, True):
        (folder / str(norm)).mkdir(parents=True, exist_ok=True)
    code = "import sys; from tests.training.test_processes import main; main(*sys.argv[1:])"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder), str(kill_at)],
            env={**environment, "RANK": str(rank)},
            stderr=subprocess.DEVNULL,
        )
        for rank in range(count)
    ]
    return [each.wait(timeout=300) for each in running]


def results(folder: Path, norm: bool) -> list[dict]:
    return [torch.load(folder / str(norm) / f"{rank}.pt") for rank in (0, 1)]


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(value, other["weights"][name]) for name, value in one["weights"].items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Two processes that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    assert start(folder) == [0, 0]
    return folder


def test_two_processes_end_as_one_does(whole, tmp_path):
    one, losses = trained(1, False, tmp_path)
    first, second = results(whole, norm=False)
    assert same(first, second)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(first["weights"][name], value, rtol=1e-4, atol=1e-5)
    assert first["losses"] == pytest.approx(losses, rel=1e-4)
    assert losses[-1] < 0.9 * losses[0]


def test_with_batch_norms_both_hold_the_same(whole, tmp_path):
    first, second = results(whole, norm=True)
    assert same(first, second)
    alone = trained(1, True, tmp_path)[1]
    assert first["losses"][-1] == pytest.approx(alone[-1], rel=0.5)  # ghost batches make it another training


@pytest.mark.slow
def test_a_killed_training_of_two_goes_on(whole, tmp_path):
    assert all(start(tmp_path, kill_at=17))
    assert (tmp_path / "False" / "training.pt").exists()
    assert not (tmp_path / "False" / "0.pt").exists()
    assert start(tmp_path) == [0, 0]
    for norm in (False, True):
        expected, again = results(whole, norm)[0], results(tmp_path, norm)[0]
        assert same(expected, again)
        assert again["losses"] == expected["losses"]


def test_a_process_that_is_left_alone_says_how_to_go_on(monkeypatch):
    def gone(*_: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr("torch.distributed.all_reduce", gone)
    with pytest.raises(UnavailableError, match="run the same command again"):
        Processes(0, 2).sum([torch.zeros(1)])


def test_the_parts_are_everything_once():
    for count in (1, 2, 3, 7):
        parts = [Processes(rank, count).part(15) for rank in range(count)]
        assert [row for part in parts for row in range(15)[part]] == list(range(15))
        assert sum(Processes(rank, count).share(15) for rank in range(count)) == pytest.approx(1)


def test_without_torchrun_it_is_alone(monkeypatch):
    assert joined() == Processes(0, 1)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")  # as some schedulers set it for other reasons
    assert joined() == Processes(0, 1)


def test_processes_that_do_not_answer(monkeypatch):
    for name, value in {
        "RANK": "x",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UnavailableError, match="torchrun"):
        joined()


def test_a_batch_has_to_be_divisible_among_the_processes(monkeypatch):
    monkeypatch.setattr(loop, "joined", lambda: Processes(0, 16))
    settings = TrainingOptions(batch_size=15)
    with pytest.raises(RecipeError, match="batch_size of at least 16"):
        train(network(1, False), network(0, False), data(), Distillation(True), settings, inputs=["x"])
