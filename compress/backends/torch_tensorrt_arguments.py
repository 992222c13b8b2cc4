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
    """Make sure that a function takes keyword arguments by name, and that they take effect.

    Args:
        given: Their names.
        function: That takes them; what it would swallow in ``**kwargs`` does not count.
        settings: A dataclass that keeps what has an effect; None where the function itself uses all.
        release: Of the package, for the message.

    Raises:
        UsageError: The first one that is unknown or without effect, with the closest that is known.
    """
    named = {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    kept = named if settings is None else named & {each.name for each in dataclasses.fields(settings)}
    package = f"Torch-TensorRT {release}".rstrip()
    for name in given:
        if name not in named:
            wanted = f"an argument that {function.__name__}() of {package} names"
            raise UsageError(
                wanted, f"'{name}', which it would ignore", did_you_mean(name, kept) or "remove it"
            )
        if name not in kept:
            wanted = f"an argument that {package} compiles with"
            raise UsageError(wanted, f"'{name}', which it takes and does not use", "remove it")
