"""Recipes: which techniques are applied, in which order, with which settings.

A recipe is data. Its TOML reads:

    name = "int8"

    [[technique]]
    name = "quantize"
    method = "min-max"

It may name the back end that runs the result, and session options to insist on:

    name = "bf16-openvino"
    backend = "openvino"

    [session]
    precision = "bf16"
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from compress.core.toml_schema import read_toml
from compress.errors import RecipeError

Kind = Literal["original", "pruned", "int8", "float8", "cast", "other"]

Origin = Literal["network", "search", "user"]

#: What a recipe is that begins with a technique; those of no other technique are "other".
_KINDS: Mapping[str, Kind] = {
    "prune": "pruned",
    "quantize": "int8",
    "quantize_mixed": "int8",
    "qat": "int8",
    "float8": "float8",
    "cast": "cast",
}


@dataclass(frozen=True)
class Step:
    """One technique with its settings.

    Attributes:
        technique: Name of the technique: of its file in ``compress/techniques``, or of an entry point.
        settings: Settings by name; those left out take the technique's defaults.
    """

    technique: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """An ordered list of techniques.

    Attributes:
        name: Name in tables, unique within a run.
        steps: Steps, applied in this order; no step leaves the network unchanged.
        backend: Name of the back end that runs the result; None for the target's own.
        session: Session options that are part of the recipe, because results depend on them; the others are tuned.
        origin: Origin of the recipe: "network" for the network as it was given, "search" for a proposal of the search,
            "user" for a recipe of the user's own. It is no part of the content: recipes that differ in it alone are
            equal, and their files do not hold it.
    """

    name: str
    steps: tuple[Step, ...] = ()
    backend: str | None = None
    session: dict[str, Any] = field(default_factory=dict)
    origin: Origin = field(default="user", compare=False)

    @property
    def identity(self) -> str:
        """Short hash of the recipe's content, without its name."""
        steps = [[step.technique, step.settings] for step in self.steps]
        done: list[Any] = [steps, self.backend, self.session] if self.backend or self.session else steps
        return hashlib.sha256(json.dumps(done, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def kind(self) -> Kind:
        """Kind of the recipe, taken from its first technique and not from its name; "original" without any."""
        return _KINDS.get(self.steps[0].technique, "other") if self.steps else "original"

    @property
    def computes_the_same(self) -> bool:
        """Whether results differ from the original's by rounding alone: no technique, and no other precision."""
        precisions = (self.session.get("precision", "fp32"), self.session.get("cache", "float32"))
        return not self.steps and precisions in (("fp32", "float32"), (None, "float32"))

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON and TOML can hold; the back end and its session options only where there are any."""
        steps = [{"name": step.technique, **step.settings} for step in self.steps]
        where = {"backend": self.backend, "session": self.session}
        return {
            "name": self.name,
            **{key: value for key, value in where.items() if value},
            "technique": steps,
        }

    def to_toml(self) -> str:
        """Return the recipe as a TOML document."""
        import tomli_w

        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, source: str = "the recipe") -> Recipe:
        """Read back what :meth:`to_dict` returned; settings are checked when the technique is made.

        Raises:
            RecipeError: A key is unknown, missing, or of the wrong type.
        """
        unknown = set(data) - {"name", "technique", "backend", "session"}
        if unknown:
            raise RecipeError(
                f"the keys 'name', 'backend', 'session' and 'technique' in {source}",
                f"'{sorted(unknown)[0]}'",
                "remove it, or move it into a [[technique]] table",
            )
        name, steps = data.get("name"), data.get("technique", [])
        if not isinstance(name, str) or not name:
            raise RecipeError(f"a 'name' in {source}", repr(name), 'add a line such as name = "int8"')
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise RecipeError(
                f"[[technique]] tables in {source}", type(steps).__name__, "write each as [[technique]]"
            )
        backend, session = data.get("backend"), data.get("session", {})
        if backend is not None and (not isinstance(backend, str) or not backend):
            raise RecipeError(
                f"a 'backend' in {source} as a name", repr(backend), 'write backend = "openvino"'
            )
        if not isinstance(session, dict):
            raise RecipeError(
                f"a [session] table in {source}", type(session).__name__, "write it as [session]"
            )
        return cls(name, tuple(_step(step, source) for step in steps), backend, session)

    @classmethod
    def from_file(cls, path: Path) -> Recipe:
        """Read a recipe from a TOML file.

        Raises:
            RecipeError: The file is missing, no TOML, or no recipe.
        """
        data = read_toml(path, RecipeError)
        return cls.from_dict(data, source=str(path))


def _step(table: dict[str, Any], source: str) -> Step:
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise RecipeError(
            f"a 'name' in every [[technique]] of {source}",
            repr(name),
            'name the technique, e.g. name = "quantize"',
        )
    return Step(name, {key: value for key, value in table.items() if key != "name"})
