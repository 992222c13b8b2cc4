"""Kinds of checkpoints, told by their outermost keys and the names they import; nothing in them is executed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from compress.network.formats.weight_sets import flag_of, is_averaged

_ULTRALYTICS = re.compile(r"(ultralytics|models\.(yolo|common|experimental))\b.*")
_MODULE = re.compile(r"torch\.nn\.modules\..*")
_OPTIMIZERS = frozenset({"optimizer", "optimizers", "optimizer_state_dict", "optimizer_states", "optim"})
#: Keys with state of the training, whose tensors are no weights.
_TRAINING = re.compile(r"optim|sched|scaler|loss|rng|random|callback|collected_params")


def kind_of(keys: Collection[str], imported: Sequence[str] = ()) -> str | None:
    """Return the kind of a checkpoint, with its article; None where it is nothing but tensors, or unknown.

    Args:
        keys: Texts of its outermost container; its keys are among them.
        imported: Names that its pickle imports beyond those of tensors.
    """
    has = frozenset(keys)
    if (
        any(map(_ULTRALYTICS.fullmatch, imported))
        or {"model", "train_args"} <= has
        or {"model", "best_fitness"} <= has
    ):
        return "an Ultralytics checkpoint"
    if {"pytorch-lightning_version", "state_dict"} <= has:
        return "a Lightning checkpoint"
    if {"arch", "state_dict"} <= has and has & {"version", "args", "state_dict_ema"}:
        return "a timm checkpoint"
    if {"_modules", "_parameters"} <= has:
        return "a module saved whole"
    if any(map(is_averaged, has)):
        return "a checkpoint with averaged weights (EMA)"
    if has & _OPTIMIZERS or "epoch" in has:
        return "a training checkpoint"
    return None


def how_to_trust(keys: Collection[str], imported: Sequence[str]) -> str:
    """Return what loads a pickle that runs code, and what is better: for the end of an error.

    Args:
        keys: Texts of its outermost container; its keys are among them.
        imported: Names that it imports beyond those of tensors.
    """
    whole_module = {"_modules", "_parameters"} <= set(keys) or any(map(_MODULE.fullmatch, imported))
    stated = not whole_module and any(key.endswith("state_dict") for key in keys)
    flags = "--trust-pickle with --factory" if stated else "--trust-pickle"
    return f"save the state_dict() alone; {flags} loads it if you know who made it"


def factory_of(kind: str | None, arch: object) -> str:
    """Return the flag with the factory of a checkpoint, where the checkpoint names its architecture."""
    if isinstance(arch, str) and re.fullmatch(r"\w+(\.\w+)?", arch):
        if kind == "a timm checkpoint":
            return f"--factory timm:{arch}"
        return f"--factory torchvision.models:{arch}, if it is torchvision's"
    return "--factory package.module:callable"


def sets_of(loaded: Any) -> list[str]:
    """Return the outermost keys of a checkpoint under which weights lie, where one of them is an average; else none."""
    if not isinstance(loaded, Mapping):
        return []
    keys = [
        str(key)
        for key, value in loaded.items()
        if _holds_weights(value) and not _TRAINING.search(str(key).lower())
    ]
    return keys if len(keys) > 1 and any(map(is_averaged, keys)) else []


def sets_told(places: Sequence[str]) -> str:
    """Return the flags that choose among sets of weights, for the end of an error; empty without a choice."""
    if len(places) < 2:
        return ""
    return f"; {' or '.join(flag_of(place, places) for place in places)} chooses the weights"


def _holds_weights(value: Any) -> bool:
    from torch import Tensor, nn

    if isinstance(value, nn.Module):
        return True
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return any(isinstance(item, Tensor) or _holds_weights(item) for item in items)
