"""``compress techniques``: every technique, and every setting of each."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

import pytest

from compress.cli import main
from compress.recipe import Step
from compress.techniques import TECHNIQUES, load_technique, technique_names
from compress.techniques.distill import Distill
from tests.distributions import installed


def _wide() -> int:
    """Width of the column of names."""
    return max(map(len, technique_names()))


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["techniques", *arguments]) == 0
    return capsys.readouterr().out


def test_the_list_names_each_with_the_first_sentence_of_its_docstring(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = told(capsys)
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == technique_names()
    assert f"{'prune':{_wide()}}  Remove channels, heads and hidden units; at most one setting" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "`" not in out


@pytest.mark.parametrize("name", technique_names())
def test_every_setting_is_told_with_its_default_and_words(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = json.loads(told(capsys, name, "--json"))["techniques"]
    kind = TECHNIQUES.load(name)
    assert [each["name"] for each in found["settings"]] == [
        field.name
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
    ]
    for each in found["settings"]:
        default = getattr(load_technique(Step(name)), each["name"])
        assert each["default"] == (list(default) if isinstance(default, tuple) else default)
        assert len(each["help"].split()) >= 2, each["name"]
    out = told(capsys, name)
    for each in found["settings"]:
        assert f"\n  {each['name']} = " in out
    assert max(map(len, out.splitlines())) <= 80


def test_ranges_and_choices_that_are_declared_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    (distill,) = json.loads(told(capsys, "distill", "--json"))["techniques"]
    settings = {each["name"]: each for each in distill["settings"]}
    assert settings["held_out"]["range"] == "above 0 to below 1"
    assert settings["training_precision"]["choices"] == ["auto", "float32", "bfloat16", "float16"]
    out = told(capsys, "distill")
    assert "Range: above 0 to below 1." in out


def test_the_table_for_a_recipe_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    table = told(capsys, "distill").partition("in a recipe:\n")[2]
    (step,) = tomllib.loads(table)["technique"]
    assert load_technique(Step(step.pop("name"), step)) == Distill()


def test_an_unknown_name_is_one_line_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["techniques", "prun"]) == 2
    assert capsys.readouterr().err == "error: wanted a known technique; found 'prun'; did you mean prune?\n"


def test_techniques_of_other_distributions_are_told_and_broken_ones_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = """
from dataclasses import dataclass
from pathlib import Path
from compress.techniques.base import Technique

@dataclass(frozen=True)
class Blur(Technique):
    \"\"\"Blur weights.

    Attributes:
        radius: Radius in weights, from 1.
    \"\"\"

    radius: int = 2
    where: Path = Path("/tmp")

    def apply(self, network, context):
        return network
"""
    points = {"compress.techniques": {"blur": "acme_blur:Blur", "gone": "acme_blur:Gone"}}
    with installed(tmp_path / "acme", "acme", points, acme_blur=source):
        assert main(["techniques"]) == 0
        found = capsys.readouterr()
        assert f"{'blur':{_wide()}}  Blur weights." in found.out
        assert found.err.startswith("left out: gone: ")
        settings = json.loads(told(capsys, "blur", "--json"))["techniques"][0]["settings"]
        assert [(each["name"], each["default"]) for each in settings] == [("radius", 2), ("where", "/tmp")]
