from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import RecipeError
from compress.recipe import Recipe, Step
from compress.techniques import load_technique, technique_names
from tests.distributions import installed

names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)
settings = st.dictionaries(
    names.filter(lambda name: name != "name"),
    st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.text(max_size=10)
    | st.lists(st.text(max_size=5), max_size=3),
    max_size=3,
)
recipes = st.builds(Recipe, names, st.lists(st.builds(Step, names, settings), max_size=3).map(tuple))


@given(recipes)
def test_toml_round_trip(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert Recipe.from_file(path) == recipe


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_a_recipe_or_a_recipe_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_bytes(content)
    with contextlib.suppress(RecipeError):
        assert isinstance(Recipe.from_file(path), Recipe)


def test_identity_is_of_the_steps_and_not_of_the_name() -> None:
    step = Step("quantize", {"method": "mse"})
    assert Recipe("a", (step,)).identity == Recipe("b", (step,)).identity
    assert Recipe("a", (step,)).identity != Recipe("a", (Step("quantize", {}),)).identity


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ('name = "x"\ncolour = "red"', "colour"),
        ('[[technique]]\nname = "quantize"', "'name' in"),
        ('name = "x"\ntechnique = 3', "technique"),
        ('name = "x"\n[[technique]]\nmethod = "mse"', "every"),
        ("name = ", "TOML"),
    ],
)
def test_wrong_recipes_say_where(tmp_path: Path, toml: str, told: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(toml)
    with pytest.raises(RecipeError, match=told):
        Recipe.from_file(path)


def test_every_file_in_techniques_is_a_technique() -> None:
    assert {"quantize", "cast"} <= set(technique_names())
    for name in technique_names():
        assert load_technique(Step(name)) is not None


def test_a_technique_of_another_package(tmp_path: Path) -> None:
    source = (
        "from dataclasses import dataclass\nfrom compress.techniques.base import Technique\n"
        "class Loose(Technique):\n    def apply(self, network, context):\n        return network\n"
        "@dataclass(frozen=True)\nclass Halve(Loose):\n    times: int = 1\n"
    )
    points = {"compress.techniques": {"halve": "acme_techniques:Halve", "loose": "acme_techniques:Loose"}}
    with installed(tmp_path, "acme", points, acme_techniques=source):
        assert load_technique(Step("halve", {"times": 2})).times == 2  # type: ignore[attr-defined]
        with pytest.raises(RecipeError, match="did you mean times"):
            load_technique(Step("halve", {"time": 2}))
        with pytest.raises(
            RecipeError, match=r"of acme 1.0 to be a dataclass .*found Loose, which is no dataclass"
        ):
            load_technique(Step("loose"))
        assert {"halve", "quantize"} <= set(technique_names())


def test_what_techniques_derive_from_is_no_technique() -> None:
    assert "base" not in technique_names()
    with pytest.raises(RecipeError, match="technique"):
        load_technique(Step("base"))


def test_unknown_technique_gets_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="quantize"):
        load_technique(Step("quantise"))


def test_unknown_setting_gets_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="method"):
        load_technique(Step("quantize", {"methode": "mse"}))


def test_wrong_value_of_a_setting_is_refused_before_anything_runs() -> None:
    with pytest.raises(RecipeError, match="abacus"):
        load_technique(Step("quantize", {"method": "abacus"}))


@pytest.mark.parametrize(
    ("techniques", "kind"),
    [
        ((), "original"),
        (("quantize",), "int8"),
        (("quantize_mixed", "cast"), "int8"),
        (("qat",), "int8"),
        (("prune", "quantize"), "pruned"),
        (("cast",), "cast"),
        (("float8", "cast"), "float8"),
        (("weight_only",), "other"),
    ],
)
def test_what_a_recipe_is_follows_from_what_it_does(techniques: tuple[str, ...], kind: str) -> None:
    assert Recipe("my own name", tuple(Step(name) for name in techniques)).kind == kind
