"""Options say everything about themselves once: checks, signatures, docstrings and flags follow from it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict, Unpack

import pytest

from compress.core.options import (
    Options,
    declared_in,
    description,
    flag_of,
    option,
    option_fields,
    required,
    spec_of,
    takes,
)
from compress.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Common(Options):
    RANK: ClassVar[int] = 60

    seed: int = option("Seed of every random choice", 0, low=0)


@dataclass(frozen=True, kw_only=True)
class Own(Common):
    RANK: ClassVar[int] = 50
    RENAMED: ClassVar[Mapping[str, str]] = {"width": "share"}

    data: str = required("Evaluation data")
    share: float | None = option("Share of the channels to keep", low=0, above=True, high=1)
    names: tuple[str, ...] = option("Layer to keep", (), flag="--keep")
    kind: str = option("Kind of scores", "plain", choices=("plain", "fancy"))


class Keywords(TypedDict, total=False):
    data: str
    share: float | None


def test_groups_come_by_rank_and_then_in_order():
    assert [field.name for field in option_fields(Own)] == ["data", "share", "names", "kind", "seed"]
    assert declared_in(Own, "seed") is Common
    assert declared_in(Own, "share") is Own


def test_what_is_not_given_has_its_default_and_none_stands_for_it():
    assert Own.of({"data": "x", "seed": None}) == Own(data="x", share=None, names=(), kind="plain", seed=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "wanted --data; found none; give it"),
        ({"data": None}, "wanted --data; found none"),
        ({"data": "x", "shar": 1}, "wanted an option that exists; found 'shar'; did you mean share?"),
        ({"data": "x", "zzz": 1}, "use one of data, share, names, kind, seed"),
        ({"data": "x", "width": 0.5}, "wanted --share; found --width; use the new name"),
        ({"data": "x", "share": 0}, r"wanted --share above 0 to 1; found 0; correct it"),
        ({"data": "x", "share": 1.5}, "found 1.5"),
        ({"data": "x", "share": math.nan}, "found nan"),
        ({"data": "x", "share": "half"}, "found 'half'"),
        ({"data": "x", "share": True}, "found True"),
        ({"data": "x", "kind": "odd"}, "wanted --kind one of plain, fancy; found 'odd'"),
        ({"data": "x", "seed": -1}, "wanted --seed from 0; found -1"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(given: dict[str, Any], message: str):
    with pytest.raises(UsageError) as caught:
        Own.of(given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_flags_have_the_names_of_options_or_their_own():
    assert flag_of(Own, "names") == "--keep"
    assert flag_of(Own, "share") == "--share"


@pytest.mark.parametrize(
    ("low", "high", "above", "below", "text"),
    [
        (0, None, False, False, "from 0"),
        (0, None, True, False, "above 0"),
        (0, 1, False, True, "from 0 to below 1"),
        (0, 1, True, False, "above 0 to 1"),
        (None, 1, False, False, "up to 1"),
        (None, None, False, False, ""),
    ],
)
def test_ranges_in_words(low: float | None, high: float | None, above: bool, below: bool, text: str):
    field = dataclass(frozen=True)(
        type(
            "One",
            (),
            {
                "__annotations__": {"it": float},
                "it": option("It", 0, low=low, high=high, above=above, below=below),
            },
        )
    ).__dataclass_fields__["it"]
    assert spec_of(field).range_text == text
    assert description(field) == ("It." if not text else f"It. Range: {text}.")


@takes(Own)
def verb(model: str, *, reporter: str = "none", **options: Unpack[Keywords]) -> Own:
    """Do something.

    Args:
        model: The network.
        reporter: Who hears of it.

    Returns:
        The options.
    """
    return Own.of(options)


def test_the_signature_and_the_docstring_show_every_option():
    assert list(inspect.signature(verb).parameters) == [
        "model",
        "data",
        "share",
        "names",
        "kind",
        "seed",
        "reporter",
    ]
    assert inspect.signature(verb).parameters["data"].default is inspect.Parameter.empty
    doc = inspect.getdoc(verb) or ""
    for line in (
        "model: The network.",
        "share: Share of the channels to keep. Range: above 0 to 1.",
        "Returns:",
    ):
        assert line in doc
    assert doc.index("seed: Seed of every random choice.") < doc.index("Returns:")


def test_the_function_itself_is_called():
    assert verb("model", data="x", share=0.5).share == 0.5
