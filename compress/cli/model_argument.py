"""The MODEL argument of commands that read a graph, and the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from compress.api.opened_model import InputShape

_FORM = "[NAME=]1x3x32x32[:DTYPE]"


class InputShapeType(click.ParamType[InputShape]):
    """Type of a flag's value ``[NAME=]1x3x32x32[:DTYPE]``."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> InputShape:
        """See :meth:`click.ParamType.convert`."""
        import numpy as np

        if isinstance(value, InputShape):
            return value
        name, _, rest = str(value).rpartition("=")
        sizes, _, dtype = rest.partition(":")
        try:
            shape = tuple(int(size) for size in sizes.lower().split("x"))
            if min(shape) < 1:
                raise ValueError
            return InputShape(name, shape, np.dtype(dtype or "float32").name)
        except (ValueError, TypeError):
            self.fail(f"wanted {_FORM}; found '{value}'; write one size for each axis", param, ctx)


def input_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--shape``, once for each input of the network; ``--input`` is its older name."""
    return click.option(
        "--shape",
        "--input",
        "inputs",
        type=InputShapeType(),
        metavar=_FORM,
        multiple=True,
        help="Shape of an input, where the file does not state it or leaves axes open; may be given again. DTYPE is "
        "NumPy's name. [default: float32]",
    )(command)
