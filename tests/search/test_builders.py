"""The seam through which a search hands out the making of builds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import optimize
from compress.api.search_inputs import SearchInputs
from compress.errors import UsageError
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe, Step
from compress.search.builders import BuilderHere
from compress.search.cluster_builder import _files_of, _timed_steps, _write_below
from compress.search.limits import Limits
from compress.search.proposals import proposals
from compress.target.target import load_target
from tests.graphs import classifier, samples


class Watched(BuilderHere):
    """Makes builds here, and keeps what it was told."""

    def __init__(self, make: Any) -> None:
        super().__init__(make)
        self.expected: list[list[str]] = []
        self.made: list[str] = []
        self.closed = False

    def expect(self, certain: Sequence[Recipe], possible: Sequence[Recipe]) -> None:
        self.expected.append([recipe.name for recipe in certain])
        assert not possible

    def build(self, recipe: Recipe, context: Any, directory: Path) -> Any:
        self.made.append(recipe.name)
        return super().build(recipe, context, directory)

    def close(self) -> None:
        self.closed = True


def test_a_search_tells_what_comes_next_and_takes_what_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(classifier(batch=8), tmp_path / "model.onnx")
    x = samples(40)
    np.savez(tmp_path / "val.npz", x=x, y=np.arange(40) % 3)
    recipes = [Recipe("one", (Step("quantize"),)), Recipe("two", (Step("quantize", {"method": "min-max"}),))]
    watched: list[Watched] = []

    def builder(self: SearchInputs, attempts: Any, run: Any, reporter: Any) -> Watched:
        watched.append(Watched(attempts.built))
        return watched[0]

    monkeypatch.setattr(SearchInputs, "builder", builder)
    result = optimize(
        tmp_path / "model.onnx",
        data=tmp_path / "val.npz",
        out=tmp_path / "build",
        target="cpu",
        backends=["onnxruntime"],
        recipes=recipes,
        seconds=0.05,
        threads=1,
    )
    assert [entry.recipe.name for entry in result.candidates] == ["fp32", "one", "two"]
    assert watched[0].expected == [["two"], []]
    assert watched[0].made == ["one", "two"]
    assert watched[0].closed


@pytest.mark.parametrize(
    ("steps", "timed"),
    [
        ((Step("quantize"),), 0),
        ((Step("prune", {"latency_share": 0.5}), Step("distill"), Step("quantize")), 1),
        ((Step("distill"), Step("prune", {"latency_share": 0.5})), None),
        ((Step("low_rank"), Step("distill")), None),
    ],
)
def test_what_takes_times_is_not_left_to_a_worker(steps: tuple[Step, ...], timed: int | None) -> None:
    assert _timed_steps(Recipe("made", steps)) == timed


def test_settings_are_searched_of_trainings_alone(tmp_path: Path) -> None:
    listed = {
        tune: [
            each.recipe
            for each in proposals(load_target("cpu"), Limits(), trains=True, prunable=True, tune=tune)
        ]
        for tune in (None, 7)
    }
    trained = [
        recipe for recipe in listed[7] if recipe.steps[-1:] and recipe.steps[-1].technique == "distill"
    ]
    assert trained
    assert all(recipe.steps[-1].settings["tune"] == 7 for recipe in trained)
    assert len(listed[7]) == len(listed[None])
    assert not any("tune" in step.settings for recipe in listed[None] for step in recipe.steps)
    save_model(classifier(batch=8), tmp_path / "model.onnx")
    data = {"x": samples(40), "y": np.arange(40) % 3}
    with pytest.raises(UsageError, match="wanted training data with --tune; found none"):
        optimize(tmp_path / "model.onnx", data=data, out=tmp_path / "build", target="cpu", tune=3)


def test_what_the_first_steps_kept_goes_to_the_next_worker(tmp_path: Path) -> None:
    plain = Recipe("plain", (Step("prune", {"latency_share": 0.5}), Step("distill")))
    rounded = Recipe("rounded", (*plain.steps, Step("quantize")))
    other = Recipe("other", (Step("prune", {"latency_share": 0.7}), Step("distill")))
    first = Recipe("", plain.steps[:1]).identity
    kept = {f"{first}/prune-1.json": b"{}", f"{plain.identity}/distill.pt": b"weights"}
    _write_below(tmp_path / "there", kept)
    assert _files_of(tmp_path / "there", plain) == kept
    assert _files_of(tmp_path / "there", rounded) == kept
    assert _files_of(tmp_path / "there", other) == {}
    assert _files_of(tmp_path / "nothing", plain) == {}
