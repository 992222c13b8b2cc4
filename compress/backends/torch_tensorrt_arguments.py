"""Keyword arguments of Torch-TensorRT, held against the release that is installed.

``torch_tensorrt.dynamo.compile`` ends in ``**kwargs``: a name that it does not know, misspelt or from another release,
is swallowed without a word, and the engine is built without it. So each name has to be in its signature; and in
``CompilationSettings`` too, since what is not kept there has no effect on the engine.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from compress.core.suggestions import did_you_mean
from compress.errors import UsageError


def check_arguments(
    given: Iterable[str], function: Callable[..., Any], settings: type | None = None, release: str = ""
) -> None:
    """Check that a function takes keyword arguments by name, and that they have an effect.

    Args:
        given: Names of the keyword arguments.
        function: Function that takes them; names swallowed by ``**kwargs`` do not count.
        settings: Dataclass with the settings that have an effect; None where the function itself uses all.
        release: Release of the package, for the message.

    Raises:
        UsageError: An argument is unknown or has no effect; the closest known one is named.
    """
    named = {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    names_used = named if settings is None else named & {field.name for field in dataclasses.fields(settings)}
    package = f"Torch-TensorRT {release}".rstrip()
    for name in given:
        if name not in named:
            wanted = f"an argument that {function.__name__}() of {package} names"
            raise UsageError(
                wanted, f"'{name}', which it would ignore", did_you_mean(name, names_used) or "remove it"
            )
        if name not in names_used:
            wanted = f"an argument that {package} compiles with"
            raise UsageError(wanted, f"'{name}', which it takes and does not use", "remove it")
