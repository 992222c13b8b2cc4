"""The verbs' options: one source for Python, the command line and type checkers."""

from __future__ import annotations

import importlib.metadata
import inspect
from dataclasses import MISSING
from typing import Any

import click
import numpy as np
import pytest

import compress
from compress.api import build_options, keywords, options, student_options
from compress.cli.distill import distill
from compress.cli.gate import gate
from compress.cli.inspect import inspect as inspect_command
from compress.cli.lint import lint
from compress.cli.optimize import optimize
from compress.cli.profile import profile
from compress.cli.prune import prune
from compress.cli.quantize import quantize
from compress.core.options import (
    Options,
    description,
    fault_of,
    flag_of,
    is_numeric,
    kind_of,
    option_fields,
    spec_of,
)
from compress.data.image_options import ImageOptions
from compress.errors import UsageError
from compress.target.backends import BACKENDS
from compress.techniques import TECHNIQUES
from compress.techniques.distill import Distill
from compress.training.settings import DISTILLATION, DistillationOptions, TrainingOptions

VERBS: dict[str, tuple[type[Options], Any]] = {
    "optimize": (options.OptimizeOptions, keywords.OptimizeKeywords),
    "plan": (options.OptimizeOptions, keywords.OptimizeKeywords),
    "benchmark": (options.BenchmarkOptions, keywords.BenchmarkKeywords),
    "quantize": (options.QuantizeOptions, keywords.QuantizeKeywords),
    "prune": (options.PruneOptions, keywords.PruneKeywords),
    "distill": (student_options.DistillOptions, keywords.DistillKeywords),
    "choose_student": (student_options.ChooseStudentOptions, keywords.ChooseStudentKeywords),
    "profile": (build_options.ProfileOptions, keywords.ProfileKeywords),
    "gate_build": (build_options.GateOptions, keywords.GateKeywords),
    "debug": (build_options.DebugOptions, keywords.DebugKeywords),
    "inspect": (build_options.InspectOptions, keywords.InspectKeywords),
    "lint_network": (build_options.LintOptions, keywords.LintKeywords),
}
COMMANDS: dict[str, click.Command] = {
    "optimize": optimize,
    "quantize": quantize,
    "prune": prune,
    "distill": distill,
    "profile": profile,
    "gate_build": gate,
    "inspect": inspect_command,
    "lint_network": lint,
}


def _types(keywords: Any) -> dict[str, str]:
    """The types of a TypedDict with those that it inherits, as they are written."""
    return {name: str(each) for name, each in keywords.__annotations__.items()}


@pytest.mark.parametrize("verb", VERBS)
def test_type_checkers_know_the_same_keywords(verb: str):
    kind, keywords = VERBS[verb]
    assert {field.name for field in option_fields(kind)} == set(_types(keywords))


def _plain(text: str) -> str:
    """A type without Required and None: what is left out has the default."""
    text = text.removeprefix("ForwardRef('").partition("'")[0] if text.startswith("ForwardRef") else text
    text = text.removeprefix("Required[").removesuffix("]") if text.startswith("Required[") else text
    return text.removesuffix(" | None")


@pytest.mark.parametrize("verb", VERBS)
def test_type_checkers_know_the_same_types(verb: str):
    kind, typed = VERBS[verb]
    known = _types(typed)
    for field in option_fields(kind):
        assert _plain(str(field.type)) == _plain(known[field.name]), field.name


@pytest.mark.parametrize("verb", VERBS)
def test_the_same_are_required(verb: str):
    keywords = VERBS[verb][1]
    signature = inspect.signature(getattr(compress, verb))
    needed = {
        name
        for name, each in signature.parameters.items()
        if each.default is each.empty and each.kind is each.KEYWORD_ONLY
    }
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


def _every_class(kind: type[Options]) -> set[type[Options]]:
    """The options classes of every verb, technique and back end, those of tests left out."""
    below = {each for one in kind.__subclasses__() for each in _every_class(one)}
    return {each for each in {kind, *below} if each.__module__.startswith("compress.")}


def _numeric() -> list[tuple[type[Options], Any]]:
    for registry in (TECHNIQUES, BACKENDS):
        for name in registry.names():
            registry.load(name)
    classes = sorted(_every_class(Options), key=lambda kind: kind.__name__)
    return [(kind, field) for kind in classes for field in option_fields(kind) if is_numeric(field)]


def test_every_number_has_a_range_with_two_ends():
    found = _numeric()
    assert len({field.name for _, field in found}) > 30
    without = {
        f"{kind.__name__}.{field.name}"
        for kind, field in found
        if spec_of(field).low is None or spec_of(field).high is None
    }
    assert without == set()


def test_no_number_takes_what_lies_outside_of_its_range():
    for kind, field in _numeric():
        spec = spec_of(field)
        for value in (spec.low - 1, spec.high + 1, float("nan"), float("inf"), -float("inf"), True):
            held = {"Sequence": [value], "Mapping": {"x": value}}.get(kind_of(field), value)
            assert fault_of(field, held) is not None, (kind, field.name, held)
        if field.default not in (None, MISSING, ()):
            assert fault_of(field, field.default) is None, (kind, field.name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_drop": 101}, "--max-drop from 0 to 100; found 101"),
        ({"max_size": 0}, "--max-size above 0 to 1000000; found 0"),
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


@pytest.mark.parametrize(
    ("verb", "given", "message"),
    [
        ("inspect", {"batch": 0}, "--batch from 1 to 65536; found 0"),
        ("inspect", {"batch": -3}, "--batch from 1 to 65536; found -3"),
        ("inspect", {"batch": 1.5}, "--batch as a whole number from 1 to 65536; found 1.5"),
        ("inspect", {"trust_pickle": "no"}, "--trust-pickle as True or False"),
        ("lint_network", {"dla": 1}, "--dla as True or False; found 1"),
        ("lint_network", {"target": None}, "wanted --target; found none"),
        ("profile", {"threads": 0}, "--threads from 1 to 1024; found 0"),
        ("profile", {"batches": [0]}, r"--batch as a list of whole numbers from 1 to 65536; found \[0\]"),
        ("profile", {"batches": [1, 2.5]}, "--batch as a list of whole numbers from 1"),
        ("profile", {"batches": 4}, "--batch as a list, not a text; found 4"),
        ("profile", {"seconds": -1}, "--seconds above 0 to 86400; found -1"),
        (
            "profile",
            {"scenarios": ["x"]},
            "--scenario as a list out of single-stream, multi-stream, offline, all",
        ),
        ("profile", {"scenarios": "offline"}, "--scenario as a list, not a text; found 'offline'"),
        ("profile", {"keep_on_host": True}, "--host with --keep-on-host"),
        ("profile", {"batch": 4}, "did you mean batches"),
        ("gate_build", {"max_drop": -1}, "--max-drop from 0 to 10000; found -1"),
        (
            "gate_build",
            {"max_slowdown": "2%"},
            "--max-slowdown as a finite number from 0 to 10000; found '2%'",
        ),
        ("gate_build", {"baseline": None}, "wanted --baseline; found none"),
        ("gate_build", {"state": "h"}, "--state as a mapping"),
    ],
)
def test_verbs_on_builds_refuse_the_same_before_anything_is_read(
    verb: str, given: dict[str, Any], message: str
):
    needed = {"lint_network": {"target": "cpu"}, "gate_build": {"baseline": "nowhere"}}.get(verb, {})
    with pytest.raises(UsageError, match=message):
        getattr(compress, verb)("nowhere.onnx", **{**needed, **given})


def test_the_version_is_the_installed_one():
    assert compress.__version__ == importlib.metadata.version("compress-toolkit")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threads": 2.5}, "--threads as a whole number from 1 to 1024; found 2.5"),
        ({"seed": True}, "--seed as a whole number from 0 to 4294967295; found True"),
        ({"strict": "no"}, "--strict as True or False; found 'no'"),
        ({"seconds": float("inf")}, "--seconds as a finite number above 0 to 86400; found inf"),
        ({"recipes": "r.toml"}, "--recipe as a list, not a text; found 'r.toml'"),
        ({"backends": "openvino"}, "--backend as a list, not a text; found 'openvino'"),
        ({"shape": (1, 4)}, "--shape as a mapping"),
        ({"state": ("a", "b")}, "--state as a mapping"),
        ({"batch_axis": 0}, "--batch-axis as a mapping"),
        ({"batch_axis": {"": -1}}, "--batch-axis with whole numbers from 0 to 63"),
        ({"batch_axis": {"x": 1.5}}, "--batch-axis with whole numbers from 0 to 63"),
        ({"shape": {"x": [(1, 0)]}}, "--shape with whole numbers from 1 to 2147483647"),
        ({"shape": {"x": [(1, float("nan"))]}}, "--shape with whole numbers from 1"),
        ({"seed": 2**32}, "--seed from 0 to 4294967295"),
        ({"seconds": 1e9}, "--seconds above 0 to 86400"),
        ({"time_budget": float("nan")}, "--time-budget as a finite number"),
        ({"max_size": float("inf")}, "--max-size as a finite number"),
    ],
)
def test_values_of_another_type_are_refused_in_a_line(given: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        compress.optimize("nowhere.pt2", data="nowhere.npz", **given)


def test_numbers_of_numpy_are_numbers():
    asked = options.OptimizeOptions.of(
        {"data": "x", "threads": np.int64(2), "max_drop": np.float32(1), "image_options": ImageOptions()}
    )
    assert (asked.threads, asked.max_drop) == (2, 1)


def test_help_tells_the_form_of_values_in_python():
    doc = " ".join((inspect.getdoc(compress.optimize) or "").split())
    for form in ("In Python a mapping: {'h': 'hn'}.", "{'': 1}.", "{'x': [(1, 3, 224, 224)]}."):
        assert form in doc
    assert not any(
        "In Python" in (each.help or "") for each in optimize.params if isinstance(each, click.Option)
    )


def test_flags_say_that_they_may_be_given_again_where_they_may():
    for command in COMMANDS.values():
        for each in command.params:
            if isinstance(each, click.Option) and not each.hidden:
                assert ("May be given again." in (each.help or "")) is bool(each.multiple), each.name
