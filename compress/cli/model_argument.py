"""The flags of commands on builds and on networks' files, and the shapes of inputs among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field
from typing import Any

import click

from compress.api.opened_model import InputShape
from compress.cli.generated import Command, GroupedOption, help_of, options_of
from compress.cli.options import SPECIAL
from compress.core.options import Options, spec_of

_FORM = "[NAME=]1x3x32x32[:DTYPE]"


class InputShapeType(click.ParamType[InputShape]):
    """Type of a flag's value ``[NAME=]1x3x32x32[:DTYPE]``."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> InputShape:
        """See :meth:`click.ParamType.convert`."""
        import numpy as np

        if isinstance(value, InputShape):
            return value
        name, _, shape_text = str(value).rpartition("=")
        sizes, _, dtype = shape_text.partition(":")
        try:
            shape = tuple(int(size) for size in sizes.lower().split("x"))
            if min(shape) < 1:
                raise ValueError
            return InputShape(name, shape, np.dtype(dtype or "float32").name)
        except (ValueError, TypeError):
            self.fail(f"wanted {_FORM}; found '{value}'; write one size for each axis", param, ctx)


def _shape_flag(field: Field[Any], group: str | None) -> Callable[[Command], Command]:
    """Make ``--shape``, once for each input of the network; ``--input`` is its older name."""
    return click.option(
        "--shape",
        "--input",
        field.name,
        type=InputShapeType(),
        metavar=spec_of(field).metavar,
        multiple=True,
        help=f"{help_of(field, again=True)} DTYPE is NumPy's name of the data type. [default: float32]",
        cls=GroupedOption,
        group=group,
    )


def build_options(kind: type[Options]) -> Callable[[Command], Command]:
    """Give a command on builds or files a flag for each option of its verb; the values arrive as ``options``, by name.

    Args:
        kind: The options class of the verb.
    """
    return options_of(kind, special={**SPECIAL, "shape": _shape_flag})
