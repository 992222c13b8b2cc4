"""Targets under the names that other libraries give them."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compress
from compress.core.progress import Reporter
from compress.core.tensor_spec import TensorSpec
from compress.data import open_data
from compress.data.binding import bind_split
from compress.data.task import load_task
from compress.errors import DataError

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = np.arange(24) % 3


class Batches:
    def __init__(self, form: Any) -> None:
        self.form = form

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(X), 8):
            yield self.form(X[start : start + 8], Y[start : start + 8])


@pytest.mark.parametrize("name", ["labels", "label", "y"])
@pytest.mark.parametrize("kind", ["mapping", "iterator", "arrays", "npz"])
def test_targets_are_found_by_name(name: str, kind: str, tmp_path: Path) -> None:
    loader = Batches(lambda x, y: {"x": x, name: y})
    np.savez(tmp_path / "data.npz", x=X, **{name: Y})
    sources = {
        "mapping": loader,
        "iterator": iter(loader),
        "arrays": {"x": X, name: Y},
        "npz": tmp_path / "data.npz",
    }
    split = open_data(sources[kind])
    assert split.labels is not None
    assert split.labels.tolist() == Y.tolist()
    assert split.sha256 == open_data((X, Y)).sha256
    assert split.origin.get("targets") == (None if name == "y" else name)
    assert split.take([3, 1]).origin.get("targets") == split.origin.get("targets")
    assert load_task(split, calibrates=False).metric.name == "top-1"


def test_y_wins_and_what_else_there_is_stays_an_input() -> None:
    for source in ({"x": X, "labels": Y + 1, "y": Y}, Batches(lambda x, y: ({"x": x, "labels": y + 1}, y))):
        split = open_data(source)
        assert split.labels is not None
        assert split.labels.tolist() == Y.tolist()
        assert set(next(split.batches(2)).inputs) == {"x", "labels"}
    both = next(open_data({"x": X, "labels": Y, "label": Y + 1}).batches(2))
    assert set(both.inputs) == {"x", "label"}
    assert both.targets is not None
    assert both.targets.tolist() == [0, 1]
    assert set(next(open_data(Batches(lambda x, y: ({"x": x, "labels": y},))).batches(2)).inputs) == {
        "x",
        "labels",
    }
    assert next(open_data({"labels": X}).batches(2)).targets is None  # the only array is no target


def test_an_input_of_that_name_is_told_how_to_stay_one() -> None:
    inputs = [TensorSpec("x", "float32", ("batch", 3)), TensorSpec("labels", "int64", ("batch",))]
    with pytest.raises(DataError, match="name the targets y"):
        bind_split(open_data({"x": X, "labels": Y}), inputs, "evaluation data")
    bound = bind_split(open_data({"x": X, "labels": Y, "y": Y}), inputs, "evaluation data")
    assert set(next(bound.batches(2)).inputs) == {"x", "labels"}


def test_the_choice_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")

    told: list[str] = []

    class Notes(Reporter):
        def note(self, text: str) -> None:
            told.append(text)

    monkeypatch.chdir(tmp_path)
    batches = Batches(lambda x, y: UserDict({"pixel_values": x, "labels": y}))  # as Hugging Face makes them
    compress.quantize(torch.nn.Linear(3, 3), data=batches, reporter=Notes())
    assert "the array 'labels' of the data is taken as the targets" in told
