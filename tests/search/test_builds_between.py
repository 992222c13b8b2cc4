"""What is tried between a build that lost too much and a slower one that kept its accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from compress.recipe import Recipe, Step
from compress.search.limits import Limits
from compress.search.proposals import propose as recipes_to_try
from compress.search.pruned import proposals_of_pruned
from compress.search.run_directory import Candidate
from compress.target.target import load_target
from compress.techniques import load_technique
from tests.records import candidate
from tests.searches import propose

Drop = tuple[float, float, float]
LOST: Drop = (1.2, 1.67, 2.2)
KEPT: Drop = (0.0, 0.4, 0.9)
UNDECIDED: Drop = (0.2, 0.6, 1.03)


class Measured:
    """A run whose builds get the figures that a function gives, by the recipe."""

    def __init__(self, figures: Callable[[Recipe], tuple[float, Drop, dict[str, Any]]]) -> None:
        self.figures = figures
        self.candidates: list[Candidate] = []

    def find(self, recipe: Recipe) -> Candidate | None:
        return next((entry for entry in self.candidates if entry.recipe == recipe), None)

    def add(self, recipe: Recipe) -> None:
        if not self.candidates:
            self.candidates.append(replace(candidate("fp32"), recipe=recipe))
            return
        ratio, drop, reports = self.figures(recipe)
        entry = candidate(recipe.name, ratio=ratio, drop=drop)
        self.candidates.append(replace(entry, recipe=recipe, reports=reports))

    @property
    def names(self) -> list[str]:
        return [entry.recipe.name for entry in self.candidates]


def sensitivity(layers: int, in_float: int) -> dict[str, Any]:
    """The report of a choice that left the first layers in float; the first is the most sensitive."""
    return {
        "sensitivity": {
            "layers": [
                {
                    "layer": f"conv{number}",
                    "operator": "Conv",
                    "error": 1.0 / (1 + number),
                    "cost": 1 / layers,
                    "together": 1,
                    "kept": "float" if number < in_float else "int8",
                }
                for number in range(layers)
            ]
        }
    }


def searched(
    layers: int, mixed: int, fate: Callable[[int], tuple[float, Drop]], target: str = "raspberry-pi-5"
) -> Measured:
    """Search int8 builds of a network of some layers.

    Args:
        layers: Number of layers.
        mixed: Number of layers that ``quantize_mixed`` leaves in float.
        fate: Function that returns ratio and drop of a build with so many layers in float.
        target: Name of the target.
    """

    def figures(recipe: Recipe) -> tuple[float, Drop, dict[str, Any]]:
        if recipe.name in ("fp16", "fp8"):
            return 1.2, KEPT, {}
        settings = recipe.steps[0].settings
        if recipe.name == "int8-mixed":
            return *fate(mixed), sensitivity(layers, mixed)
        if "exclude_nodes" in settings:
            load_technique(recipe.steps[0])
            names = settings["exclude_nodes"]
            assert set(names) == {f"conv{number}" for number in range(len(names))}
            return *fate(len(names)), {}
        if recipe.name == "int8-mixed-careful":
            return 0.95, LOST, {}
        return *fate(0), {}

    run = Measured(figures)
    for recipe in propose(load_target(target), Limits(), run):
        run.add(recipe)
    return run


def between(run: Measured) -> list[str]:
    return [name for name in run.names if name.endswith("-in-float")]


def test_a_build_whose_drop_is_undecided_asks_for_one_more_layer_in_float() -> None:
    """As seen on six convolutions: the next thing tried was another recipe altogether."""
    drops = {0: LOST, 3: UNDECIDED, 4: KEPT}
    ratios = {0: 0.32, 3: 0.80, 4: 0.84}
    run = searched(6, 3, lambda number: (ratios[number], drops[number]))
    assert between(run) == ["int8-4-in-float"]
    assert run.names[-1] == "int8-4-in-float"  # it kept the accuracy: nothing more careful is wanted


def test_what_lies_between_all_of_int8_and_a_build_that_kept_its_accuracy_is_halved() -> None:
    enough = 3
    run = searched(8, 6, lambda number: (0.3 + 0.1 * number, KEPT if number >= enough else LOST))
    assert between(run) == ["int8-3-in-float", "int8-1-in-float", "int8-2-in-float"]


def test_an_undecided_build_goes_on_with_twice_as_many_layers_more() -> None:
    run = searched(32, 8, lambda number: (0.2 + 0.02 * number, KEPT if number > 14 else UNDECIDED))
    assert between(run)[:4] == [f"int8-{number}-in-float" for number in (9, 11, 15, 13)]


def test_the_fastest_between_has_a_twin_with_fp16_where_the_graph_says_the_types() -> None:
    def fate(number: int) -> tuple[float, Drop]:
        return 0.3 + 0.1 * number, KEPT if number >= 3 else LOST

    run = searched(8, 6, fate, "jetson")
    assert [name for name in run.names if "-in-float" in name] == [
        "int8-3-in-float",
        "int8-1-in-float",
        "int8-2-in-float",
        "int8-3-in-float-fp16",
    ]
    twin = run.candidates[-1].recipe
    assert [step.technique for step in twin.steps] == ["quantize", "cast"]
    assert not [name for name in searched(8, 6, fate).names if name.endswith("-in-float-fp16")]


def test_nothing_is_tried_between_where_it_saves_no_time() -> None:
    run = searched(6, 3, lambda number: (0.50 + 0.005 * number, KEPT if number > 2 else LOST))
    assert not between(run)


def test_nothing_is_tried_between_without_a_choice_of_layers() -> None:
    run = Measured(lambda _: (0.5, LOST, {}))
    for recipe in propose(load_target("raspberry-pi-5"), Limits(), run):
        run.add(recipe)
    assert "int8-mixed-careful" in run.names
    assert not between(run)


def test_what_was_tried_between_is_not_tried_again() -> None:
    """A build that could not be made tells nothing, and would be proposed until there are too many."""
    run = searched(8, 6, lambda number: (0.3 + 0.1 * number, KEPT if number >= 6 else LOST))
    assert len(set(between(run))) == len(between(run))


def pruned(least: float, pays: float = 1.0) -> list[str]:
    """Prune a network that keeps its accuracy down to a share; ``pays`` is the part of the time saved."""

    def figures(recipe: Recipe) -> tuple[float, Drop, dict[str, Any]]:
        share = recipe.steps[0].settings["latency_share"]
        return 1 - pays * (1 - share), KEPT if share >= least else LOST, {}

    run = Measured(figures)
    run.add(Recipe("fp32", origin="network"))
    for recipe in recipes_to_try(proposals_of_pruned(None, Limits(), True), run):  # type: ignore[arg-type]
        run.add(recipe)
    return run.names[1:]


@pytest.mark.parametrize(
    ("least", "tried"),
    [
        (0.9, ["0.5", "0.7"]),  # neither keeps it: more of the latency gains little
        (0.6, ["0.5", "0.7", "0.59"]),
        (0.55, ["0.5", "0.7", "0.59"]),
        (0.4, ["0.5", "0.35", "0.42"]),
        (0.3, ["0.5", "0.35", "0.24", "0.29"]),
        (0.1, ["0.5", "0.35", "0.24", "0.17"]),
    ],
)
def test_the_share_that_a_network_bears_is_found_by_halving(least: float, tried: list[str]) -> None:
    assert pruned(least) == [f"pruned-{share}x" for share in tried]


def test_a_share_between_is_not_tried_where_fewer_channels_save_no_time() -> None:
    assert pruned(0.1, pays=0.0) == ["pruned-0.5x", "pruned-0.35x"]


def test_each_share_that_kept_the_accuracy_is_built_as_the_fastest_too() -> None:
    int8 = Recipe("int8", (Step("quantize", {"scope": "all"}),), origin="search")

    def figures(recipe: Recipe) -> tuple[float, Drop, dict[str, Any]]:
        if recipe == int8:
            return 0.5, KEPT, {}
        share = recipe.steps[0].settings["latency_share"]
        return share * (0.5 if len(recipe.steps) > 2 else 1.0), KEPT if share >= 0.6 else LOST, {}

    run = Measured(figures)
    for recipe in (Recipe("fp32", origin="network"), int8):
        run.add(recipe)
    for recipe in recipes_to_try(proposals_of_pruned(None, Limits(), True), run):  # type: ignore[arg-type]
        run.add(recipe)
    assert run.names[2:] == ["pruned-0.5x", "pruned-0.7x", "pruned-0.7x-int8", "pruned-0.59x"]
