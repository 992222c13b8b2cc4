"""Results of a module in containers that the exporter knows."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from compress.errors import LiftError

_NO_CONTAINERS = (
    torch.Tensor,
    int,
    float,
    complex,
    str,
    bytes,
    enum.Enum,
    torch.dtype,
    torch.device,
    type(None),
)


def return_plain_outputs(module: nn.Module) -> None:
    """Let a module return dicts in the place of dataclasses and of mappings of other kinds.

    It then raises LiftError where it returns other values than tensors and containers, such as the cache of a
    language model.
    """
    forward = module.forward
    todo = "let it return the tensors themselves, or leave that out"
    caching = {
        id(config): path for path, config in _configs(module) if getattr(config, "use_cache", False) is True
    }
    if caching:
        switches = ", ".join(f"{path}.config.use_cache = False" for path in reversed(caching.values()))
        todo = f"turn its cache off where the network is built: {switches}"

    @functools.wraps(forward)
    def plain_forward(*args: Any, **kwargs: Any) -> Any:
        return _plain(forward(*args, **kwargs), todo)

    module.forward = plain_forward


def _configs(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Return the settings of a model and its parts, by the part's path; parts often share the model's."""
    parts = [(f"model.{path}" if path else "model", part) for path, part in module.named_modules()]
    for path, part in reversed(parts):  # the last of the same settings is the outermost
        yield path, getattr(part, "config", None)


def _plain(returned: Any, todo: str) -> Any:
    """Return results in known containers; the same object where all are known already."""
    leaves, structure = pytree.tree_flatten_with_path(returned)
    if all(isinstance(leaf, _NO_CONTAINERS) for _, leaf in leaves):
        return returned
    return pytree.tree_unflatten([_plain_leaf(path, leaf, todo) for path, leaf in leaves], structure)


def _plain_leaf(path: tuple[Any, ...], leaf: Any, todo: str) -> Any:
    if isinstance(leaf, _NO_CONTAINERS):
        return leaf
    if isinstance(leaf, Mapping):
        return _plain(dict(leaf), todo)
    if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
        return _plain({field.name: getattr(leaf, field.name) for field in dataclasses.fields(leaf)}, todo)
    keys = [str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", "")))) for entry in path]
    where = f" as '{'.'.join(keys)}'" if keys else ""
    raise LiftError(
        "a network that returns tensors, alone or in tuples, lists, dicts and dataclasses",
        f"one that returns a {type(leaf).__name__}{where}",
        todo,
    )
