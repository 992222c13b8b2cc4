"""Limits on memory, power, energy and money: refused where nothing measures them, and kept where something does."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import optimize
from compress.errors import UnavailableError, UsageError
from compress.hosts import local
from compress.onnx_graph.files import save_model
from compress.profiling import energy
from compress.profiling.energy import energy_of
from tests.graphs import classifier, samples

RECIPE = 'name = "int8"\n[[technique]]\nname = "quantize"\n'


class TenWatts:
    """A counter of something that draws 10 W, whatever it does, and the clock that goes with it.

    Each look at the clock takes a millisecond, so that a machine which is busy between two looks changes nothing.
    """

    now = 0.0

    def perf_counter(self) -> float:
        self.now += 1e-3
        return self.now

    def read(self) -> int:
        return int(self.now * 1e7)

    def spent(self, before: int, after: int) -> int:
        return after - before


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    save_model(classifier(), directory / "model.onnx")
    x = samples(200)
    np.savez(directory / "val.npz", x=x)
    (directory / "int8.toml").write_text(RECIPE)
    return directory


def run(files: Path, out: Path, **settings: Any) -> Any:
    settings = {"target": "cpu", "seconds": 0.02, "threads": 1, "max_drop": 50.0, **settings}
    recipes = [files / "int8.toml"]
    backends = ["onnxruntime"] if settings["target"] == "cpu" else []
    return optimize(
        files / "model.onnx", data=files / "val.npz", out=out, recipes=recipes, backends=backends, **settings
    )


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"objective": "cost"}, UsageError, r"a target with a \[price\]; found none in cpu"),
        ({"objective": "energy"}, UnavailableError, "--objective energy on a machine that measures energy"),
        ({"max_power": 5.0}, UnavailableError, "--max-power on a machine that measures energy"),
        ({"max_power": 5.0, "target": "jetson"}, UnavailableError, "its figures would be estimated"),
        ({"max_memory": 5.0, "target": "jetson"}, UnavailableError, "that measures a build's peak memory"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    error: type[Exception],
    told: str,
) -> None:
    monkeypatch.setattr(local, "counters", lambda _: ())
    with pytest.raises(error, match=told):
        run(files, tmp_path / "build", **settings)
    assert not list(tmp_path.iterdir())


def test_a_power_that_no_build_keeps_is_told_with_the_nearest(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = TenWatts()
    monkeypatch.setattr(local, "counters", lambda _: (counter,))
    monkeypatch.setattr(energy, "time", counter)
    monkeypatch.setattr(local, "energy_of", partial(energy_of, seconds=0.01))
    result = run(files, tmp_path / "build", max_power=4.0)
    assert result.bundle is None
    assert "W, over --max-power 4 W (6 W too much)" in result.choice.reason
    # The same measurements are taken over for another limit, and another objective.
    again = run(files, tmp_path / "build", objective="energy", max_power=20.0, max_memory=100_000.0)
    assert again.resumed == 2
    assert again.bundle is not None
    profile = again.bundle.profile
    assert profile.energy_batch == 1
    assert profile.power_w == pytest.approx(10, rel=0.1)
    assert "| energy of a sample | power |" in (again.bundle.path / "report.md").read_text()


def test_a_price_makes_another_choice_but_no_other_measurement(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def priced(money: float) -> Path:
        path = tmp_path / "rented.toml"
        path.write_text(f'extends = "cpu"\n[price]\ncurrency = "EUR"\nper_hour = {money}\n')
        return path

    first = run(files, tmp_path / "build", target=priced(1.0), objective="cost", max_size=1e-6)
    assert first.bundle is None
    again = run(files, tmp_path / "build", target=priced(2.0), objective="cost")
    assert again.resumed == len(first.candidates)
    assert again.to_dict()["limits"]["price"] == {"currency": "EUR", "per_hour": 2.0, "per_kwh": None}
    assert again.bundle.manifest["target"]["price"]["currency"] == "EUR"
