"""Stand-ins in a loaded checkpoint for the settings that a training script kept beside the weights."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


class Setting:
    """Stands for a setting of a training script: it takes whatever a pickle gives it, and does nothing."""

    def __new__(cls, *_: Any) -> Setting:
        """Make one without looking at the arguments."""
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        """Take nothing over."""


class SettingsDict:
    """Stands for a dictionary of settings: an OrderedDict is made, one of the few types that torch puts items into."""

    def __new__(cls, *_: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]  # an instance of another class is meant
        """Make one without looking at the arguments."""
        return OrderedDict()


def passing_over(names: Iterable[str]) -> AbstractContextManager[None]:
    """Let torch's restricted unpickler pass over settings inside the block: stand-ins come in their place.

    Args:
        names: Names of the settings' classes, as the pickle has them: ``argparse.Namespace``.
    """
    stand_ins: list[Any] = [
        (SettingsDict if name.endswith("AttributeDict") else Setting, name) for name in names
    ]
    return torch.serialization.safe_globals(stand_ins) if stand_ins else nullcontext()


def holds_setting(value: Any) -> bool:
    """Whether a value is the stand-in of a setting, or a list, tuple, set or mapping with one in it."""
    return any(isinstance(item, Setting) for item in _within(value))


def without_attributes(loaded: Any) -> Any:
    """Return a loaded checkpoint; its dictionaries have lost the attributes that a pickle gave them.

    One called ``items`` would stand in the place of the method.

    Args:
        loaded: Object that torch's restricted unpickler made; it is changed.
    """
    for item in _within(loaded):
        if isinstance(item, OrderedDict | Counter):
            vars(item).clear()
    return loaded


def _within(value: Any) -> Iterator[Any]:
    """The value, and all that is in it at any depth, each once."""
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, dict):
            waiting += [*dict.keys(item), *dict.values(item)]
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += item
