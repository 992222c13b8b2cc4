"""Fields of a record that have another name now: the old ones are taken and read for two releases, and warn."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from compress.core.moved import GONE_IN

Record = TypeVar("Record")


def renamed_fields(**names: str) -> Callable[[type[Record]], type[Record]]:
    """Return a decorator for a dataclass with fields that were called otherwise.

    Args:
        names: New name of each field, by the old one.
    """

    def with_old_names(kind: type[Record]) -> type[Record]:
        make = kind.__init__

        @functools.wraps(make)
        def initialize(self: Record, *arguments: Any, **fields: Any) -> None:
            for old in names.keys() & fields.keys():
                _warn(kind, old, names[old])
                fields[names[old]] = fields.pop(old)
            make(self, *arguments, **fields)

        def read(self: Record, name: str) -> Any:
            if name not in names:
                raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'")
            _warn(kind, name, names[name])
            return getattr(self, names[name])

        setattr(kind, "__init__", initialize)  # noqa: B010 - a plain assignment to it is no typed Python
        setattr(kind, "__getattr__", read)  # noqa: B010
        return kind

    return with_old_names


def _warn(kind: type, old: str, new: str) -> None:
    warnings.warn(
        f"'{kind.__name__}.{old}' is '{kind.__name__}.{new}' now; the old name goes in compress {GONE_IN}",
        DeprecationWarning,
        stacklevel=3,
    )
