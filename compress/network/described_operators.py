"""Operators of other libraries that packages describe: the functions of the entry point group ``compress.operators``.

The name of an entry is the operator's, such as ``acme::snake``. Its function takes the operator's arguments and
computes the same with PyTorch's operators, which then take the operator's place wherever it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compress.core.registry import Registry, function
from compress.errors import LiftError

DESCRIBED_OPERATORS: Registry[Callable[..., Any]] = Registry(
    "operator",
    "compress.operators",
    {},
    wanted="a function that takes the operator's arguments and computes the same with PyTorch's operators",
    check=function,
    error=LiftError,
)
