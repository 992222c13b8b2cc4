"""``--shape``: the sizes of open axes that an engine is built for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from compress.errors import UsageError

Command = Callable[..., Any]


def shape_option(command: Command) -> Command:
    """``--shape``, once for each input; arrives as ``shape``, input → its shapes, None where none is given."""

    @functools.wraps(command)
    def with_shapes(shapes: tuple[str, ...], **settings: Any) -> Any:
        return command(shape=read_shapes(shapes), **settings)

    return click.option(
        "--shape",
        "shapes",
        multiple=True,
        metavar="[INPUT=]1x3x224x224[..1x3x640x640]",
        help="Sizes that engines are built for where an axis of an input is open besides the number of samples: one "
        "shape, SMALLEST..LARGEST, or SMALLEST..USUAL..LARGEST. May be given again. [default: those of --data]",
    )(with_shapes)


def read_shapes(given: tuple[str, ...]) -> dict[str, list[tuple[int, ...]]] | None:
    """Input → its shapes, under ``""`` of the only one; None where none is given.

    Raises:
        UsageError: One of them is no shape, or an input has two.
    """
    from compress.data.sizes import FORM

    read: dict[str, list[tuple[int, ...]]] = {}
    for each in given:
        name, _, text = each.rpartition("=")
        try:
            shapes = [tuple(int(size) for size in part.lower().split("x")) for part in text.split("..")]
        except ValueError:
            shapes = []
        if not shapes or any(size < 1 for shape in shapes for size in shape):
            raise UsageError(f"--shape of the form {FORM}", f"'{each}'", "write one size for each axis")
        if name in read:
            what = f"of '{name}'" if name else "without a name"
            raise UsageError(f"one --shape {what}", "two", "leave one out")
        read[name] = shapes
    return read or None
