"""The verbs' options: one source for Python, the command line and type checkers."""

from __future__ import annotations

import importlib.metadata
import inspect
from typing import Any

import click
import pytest

import compress
from compress.api import options
from compress.cli.distill import distill
from compress.cli.optimize import optimize
from compress.cli.prune import prune
from compress.cli.quantize import quantize
from compress.core.options import Options, description, flag_of, option_fields, spec_of
from compress.errors import UsageError
from compress.techniques.distill import Distill
from compress.training.settings import DISTILLATION, DistillationOptions, TrainingOptions

VERBS: dict[str, tuple[type[Options], Any]] = {
    "optimize": (options.OptimizeOptions, options.OptimizeKeywords),
    "quantize": (options.QuantizeOptions, options.QuantizeKeywords),
    "prune": (options.PruneOptions, options.PruneKeywords),
    "distill": (options.DistillOptions, options.DistillKeywords),
    "choose_student": (options.ChooseStudentOptions, options.ChooseStudentKeywords),
}
COMMANDS: dict[str, click.Command] = {
    "optimize": optimize,
    "quantize": quantize,
    "prune": prune,
    "distill": distill,
}


def _types(keywords: Any) -> dict[str, str]:
    """The types of a TypedDict with those that it inherits, as they are written."""
    return {name: str(each) for name, each in keywords.__annotations__.items()}


@pytest.mark.parametrize("verb", VERBS)
def test_type_checkers_know_the_same_keywords(verb: str):
    kind, keywords = VERBS[verb]
    assert {field.name for field in option_fields(kind)} == set(_types(keywords))


@pytest.mark.parametrize("verb", VERBS)
def test_the_same_are_required(verb: str):
    keywords = VERBS[verb][1]
    signature = inspect.signature(getattr(compress, verb))
    needed = {name for name, each in signature.parameters.items() if each.default is each.empty} - {"model"}
    assert needed == {name for name, each in _types(keywords).items() if "Required[" in each}


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_every_option_with_its_words(verb: str):
    doc = " ".join((inspect.getdoc(getattr(compress, verb)) or "").split())
    for field in option_fields(VERBS[verb][0]):
        assert f"{field.name}: {description(field)}" in doc


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_command_line_has_every_option(verb: str):
    flags = {flag for parameter in COMMANDS[verb].params for flag in parameter.opts}
    kind = VERBS[verb][0]
    for field in option_fields(kind):
        if field.name == "image_options":
            assert {"--image-size", "--image-resize", "--image-mean", "--image-std"} <= flags
        else:
            assert flag_of(kind, field.name) in flags


@pytest.mark.parametrize("verb", VERBS)
def test_words_have_a_subject(verb: str):
    for field in option_fields(VERBS[verb][0]):
        told = spec_of(field).help
        assert told[0].isupper(), field.name
        assert not told.startswith(("Of ", "What is judged")), field.name


@pytest.mark.parametrize(
    ("verb", "former", "now"),
    [
        ("prune", "latency", "--latency-share"),
        ("prune", "precision", "--timing-precision"),
        ("prune", "max_drop", "--untrained-drop"),
        ("distill", "precision", "--training-precision"),
    ],
)
def test_a_former_name_tells_the_new_one(verb: str, former: str, now: str):
    given = {field.name: "x" for field in option_fields(VERBS[verb][0]) if spec_of(field).metavar == "DATA"}
    with pytest.raises(UsageError, match=now):
        getattr(compress, verb)(
            "m.pt2", **{**given, "student": "a:b"} if verb == "distill" else given, **{former: 1}
        )


def test_training_settings_have_one_home():
    assert set(DISTILLATION) == {field.name for field in option_fields(DistillationOptions)}
    assert issubclass(Distill, DistillationOptions)
    assert Distill().epochs == TrainingOptions().epochs


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_drop": 101}, "--max-drop from 0 to 100; found 101"),
        ({"max_size": 0}, "--max-size above 0; found 0"),
        ({"max_latency": 0}, "--max-latency above 0"),
        ({"threads": 5000}, "--threads from 1 to 1024; found 5000"),
        ({"seconds": 0}, "--seconds above 0"),
    ],
)
def test_values_that_cannot_mean_anything_are_refused_before_anything_is_read(
    given: dict[str, Any], message: str
):
    with pytest.raises(UsageError, match=message):
        compress.optimize("nowhere.pt2", data="nowhere.npz", **given)


def test_the_version_is_the_installed_one():
    assert compress.__version__ == importlib.metadata.version("compress-toolkit")
