"""A module's weights, found in a checkpoint under whatever names wrappers and training scripts gave them.

A checkpoint is flattened to dotted names (``state_dict.model._orig_mod.stem.weight``). A place is a prefix of such
names, and the module's weights lie at the place below which most of its own names are found in their shapes. What
lies beside that place (an optimizer's state, a loss's weights, a count of averages) is another's; below it, every
name has to be the module's.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from compress.errors import NetworkError, UntrustedFileError
from compress.network.formats.settings import holds_setting
from compress.network.formats.weight_sets import (
    fits,
    flag_of,
    is_averaged,
    is_meant,
    named_lists,
    no_such_set,
)
from compress.network.tracing import essence, quiet

#: Under which keys training scripts and wrappers keep a network's weights; earlier ones are preferred.
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "_orig_mod",
    "ema",
    "weights",
    "params",
)
# What wrappers put into the middle of a name: DataParallel, torch.compile, sharded and checkpointed layers.
_INSERTED = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_COUNTER = "num_batches_tracked"  # of a norm; absent before torch 0.4.1, and used in training alone
_EXTRA = "_extra_state"
_SHARD = re.compile(r"-\d+-of-\d+\.\w+$")
_DEEPEST = 8  # levels of mappings that are looked into
_NAMED = 3  # of many wrong names, how many a message lists


def tensors_of(loaded: Any, file: Path) -> dict[str, Any]:
    """Return every tensor in a checkpoint by its dotted name, and the extra state of modules.

    Args:
        loaded: Content of the file.
        file: Path of the checkpoint, for messages.

    Raises:
        UntrustedFileError: A module's extra state has an object that was not loaded.
    """
    tensors = dict(_flat(loaded, (), 0))
    for name, value in tensors.items():
        if name.endswith(_EXTRA) and holds_setting(value):
            raise UntrustedFileError(
                f"plain values in the module's own state '{name}'",
                f"{file}, an object in it that is not loaded",
                "if you trust the source: --trust-pickle",
            )
    return tensors


def _flat(value: Any, path: tuple[str, ...], depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, torch.Tensor) or (path and path[-1].endswith(_EXTRA)):
        yield ".".join(path), value
    elif depth < _DEEPEST:
        if isinstance(value, nn.Module):
            value = value.state_dict()
        if isinstance(value, list | tuple):
            value = dict(enumerate(value))
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield from _flat(item, (*path, str(key)), depth + 1)


def fill(
    module: nn.Module, tensors: Mapping[str, Any], *, factory: str, path: Path, weights: str | None = None
) -> tuple[str, ...]:
    """Fill a module with its weights from a checkpoint.

    Args:
        module: Module as its factory built it; it may be on the meta device, or have lazy layers.
        tensors: Tensors of the checkpoint, as :func:`tensors_of` names them.
        factory: Reference that built the module, for messages.
        path: Path of the checkpoint, for messages.
        weights: Set of weights to take, of several: ``ema``, ``model`` or its key. None takes the most usual one.

    Returns:
        Keys of the sets of weights in the checkpoint that fit, the one that was taken first.

    Raises:
        NetworkError: The checkpoint does not hold exactly the module's weights, or holds several sets that fit.
    """
    module_state = {
        name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)
    }
    tensors = named_lists(module, tensors)
    state, places = _state_for(module_state, tensors, factory, path, weights)
    trained = next((place for place in places[1:] if not is_averaged(place)), None)
    if weights is not None and trained is not None:
        # An average often holds parameters alone; statistics of norms are then those of the network it is of.
        others, _ = _state_for(module_state, tensors, factory, path, trained)
        buffers = dict(module.named_buffers())
        state |= {name: tensor for name, tensor in others.items() if name in buffers and name not in state}
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(module_state[name].shape)}"
        for name in module_state
        if name in state and not fits(state[name], module_state[name])
    ]
    missing: list[str] = [name for name in module_state if name not in state]
    unexpected: list[str] = [name for name in state if name not in module_state]
    if not shapes:
        missing, unexpected = _load(module, state, path)
    tied = _tied(module_state)
    missing = [
        name for name in missing if not name.endswith(_COUNTER) and not tied.get(name, set()) & state.keys()
    ]
    # A buffer that is no longer saved, such as a table of positions, is in the checkpoints of before.
    computed = dict(module.named_buffers())
    unexpected = [name for name in unexpected if name not in computed and not name.endswith(_COUNTER)]
    problems = [
        f"{len(names)} {what} ({first_names(names)})"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", shapes),
        )
        if names
    ]
    if problems:
        todo = "name the factory that built this network"
        if _SHARD.search(path.name):
            todo = "give the index that lists every shard (….index.json)"
        elif not missing and not shapes:
            todo += "; where they are a loss's or another part's, save the state dict without them"
        raise NetworkError(
            f"weights for the network that {factory} builds",
            f"{path} with tensors {', '.join(problems)}",
            todo,
        )
    _refuse_untied(tied, state, factory, path)
    return places


def first_names(names: Iterable[object]) -> str:
    """Return the first few names, and a sign that there are more."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:_NAMED]) + (", …" if len(listed) > _NAMED else "")


# --- which tensors are the module's -------------------------------------------------------------------------


def _state_for(
    module_tensors: Mapping[str, torch.Tensor],
    tensors: Mapping[str, Any],
    factory: str,
    path: Path,
    weights: str | None,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the tensors of the module's place, by its own names where it has them; and all places that fit."""
    outer = len(
        _wrapping(module_tensors)
    )  # the factory may build a wrapper itself, and the checkpoint hold what it wraps
    named = {_plain(name[outer:]): name for name in module_tensors}
    if len(named) < len(module_tensors):  # a name of its own looks like one that a wrapper inserted
        named = {name: name for name in module_tensors}
    places: dict[str, dict[str, str]] = defaultdict(dict)  # place → own name → name in the checkpoint
    for name in tensors:
        parts = name.split(".")
        for depth in range(len(parts)):
            tail = ".".join(parts[depth:])
            mine = tail if tail in module_tensors else named.get(_plain(tail))
            if mine is not None and (mine == tail or mine not in places[".".join(parts[:depth])]):
                places[".".join(parts[:depth])][mine] = name
    place, *others = _places(places, module_tensors, tensors, factory, path, weights)
    names_in_module = {name: mine for mine, name in places.get(place, {}).items()}
    start = len(place) + 1 if place else 0
    state = {
        names_in_module.get(name, name[start:]): value
        for name, value in tensors.items()
        if not place or name.startswith(f"{place}.")
    }
    return state, (place, *others)


def _wrapping(module_tensors: Iterable[str]) -> str:
    """Return the common beginning of all names, as far as it consists of wrappers' keys: ``model.``."""
    levels = zip(*(name.split(".")[:-1] for name in module_tensors), strict=False)
    shared = itertools.takewhile(lambda level: len(set(level)) == 1 and level[0] in WRAPPERS, levels)
    return "".join(f"{level[0]}." for level in shared)


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _INSERTED)


def _places(
    places: Mapping[str, Mapping[str, str]],
    module_tensors: Mapping[str, torch.Tensor],
    tensors: Mapping[str, Any],
    factory: str,
    path: Path,
    weights: str | None,
) -> tuple[str, ...]:
    """Return the places where weights of the module lie, those to take first."""
    fitting = {
        place: sum(
            fits(tensors[name], module_tensors[mine])
            for mine, name in names.items()
            if not mine.endswith(_COUNTER)
        )
        for place, names in places.items()
    }
    most = max(fitting.values(), default=0)
    sets = [place for place, count in fitting.items() if count and 2 * count >= most]
    meant = {place: count for place, count in fitting.items() if count and is_meant(place, weights, sets)}
    if not meant:
        if weights is not None:
            raise no_such_set(weights, _distinct(places, fitting, tensors), path)
        return (next((place for place in _known_places(tensors)), ""),)
    most = max(meant.values())
    best = _innermost(places, [place for place, count in meant.items() if count == most])
    ranked = sorted(
        (place for place in best if _rank(place) is not None), key=lambda place: _rank(place) or ()
    )
    chosen = ranked[0] if ranked else best[0]
    different = [place for place in best if _differ(places[chosen], places[place], tensors)]
    if not ranked and different:
        flags = [flag_of(place, best) for place in best[:2]]
        raise NetworkError(
            f"one set of weights for the network that {factory} builds",
            f"{path} with {len(best)} different ones that fit ({first_names(best)})",
            f"name it: {' or '.join(flags)}",
        )
    # Every other set that could be meant, also one that holds parameters without statistics of norms.
    others = [
        place
        for place in _distinct(places, fitting, tensors)
        if _differ(places[chosen], places[place], tensors)
    ]
    return (chosen, *others)


def _distinct(
    places: Mapping[str, Mapping[str, str]], fitting: Mapping[str, int], tensors: Mapping[str, Any]
) -> list[str]:
    """Return the places that hold at least half as many of the module's tensors as the best."""
    most = max(fitting.values(), default=0)
    enough = _innermost(places, [place for place, count in fitting.items() if count and 2 * count >= most])
    distinct: list[str] = []
    for place in enough:
        if all(_differ(places[other], places[place], tensors) for other in distinct):
            distinct.append(place)
    return distinct


def _innermost(places: Mapping[str, Mapping[str, str]], among: Iterable[str]) -> list[str]:
    """Return of places with the same tensors the innermost one each, the shortest names first."""
    best: dict[frozenset[str], str] = {}
    for place in sorted(among, key=len):
        best[frozenset(places[place].values())] = place
    return list(best.values())


def _differ(one: Mapping[str, str], other: Mapping[str, str], tensors: Mapping[str, Any]) -> bool:
    """Whether the tensors of two places differ in any that both have, or they have none in common."""
    shared = [mine for mine in one if mine in other and not mine.endswith(_COUNTER)]
    return not shared or any(not _equal(tensors[one[mine]], tensors[other[mine]]) for mine in shared)


def _equal(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return one is other
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))


def _known_places(tensors: Iterable[str]) -> list[str]:
    """Return the places that consist of wrappers' keys alone, the outermost and most usual first."""
    chains = set()
    for name in tensors:
        parts = name.split(".")[:-1]
        length = next((at for at, part in enumerate(parts) if part not in WRAPPERS), len(parts))
        chains.add(".".join(parts[:length]))
    return sorted(chains - {""}, key=lambda place: _rank(place) or ())


def _rank(place: str) -> tuple[int, ...] | None:
    """Return the rank of a place by how usual it is; None where its name is unknown."""
    parts = place.split(".") if place else []
    if any(part not in WRAPPERS and part not in _INSERTED for part in parts):
        return None
    return tuple(WRAPPERS.index(part) if part in WRAPPERS else len(WRAPPERS) for part in parts)


# --- loading ------------------------------------------------------------------------------------------------


def _load(module: nn.Module, state: dict[str, Any], path: Path) -> tuple[list[str], list[str]]:
    """Let torch load the state; return the missing and the unknown names, after its own conversions."""
    on_meta = any(parameter.is_meta for parameter in module.parameters())
    try:
        with quiet():
            keys = module.load_state_dict(state, strict=False, assign=on_meta)
    except Exception as error:
        raise NetworkError(
            f"weights that {type(module).__name__}.load_state_dict() takes",
            f"{path}: {essence(error)}",
            "name the factory that built this network",
        ) from error
    return list(keys.missing_keys), list(keys.unexpected_keys)


def _tied(module_tensors: Mapping[str, torch.Tensor]) -> dict[str, set[str]]:
    """Return all names of each tensor that has several, by each of them."""
    groups: dict[Any, set[str]] = defaultdict(set)
    for name, tensor in module_tensors.items():
        if not is_lazy(tensor) and not tensor.is_meta and tensor.numel():
            groups[tensor.data_ptr(), tensor.shape, tensor.stride()].add(name)
    return {name: group for group in groups.values() if len(group) > 1 for name in group}


def _refuse_untied(tied: Mapping[str, set[str]], state: Mapping[str, Any], factory: str, path: Path) -> None:
    """Refuse two weights for what is one in the module: the last of them would win."""
    for name, group in tied.items():
        for other in group & state.keys():
            if name in state and not torch.equal(state[name], state[other]):
                raise NetworkError(
                    f"weights for the network that {factory} builds, where '{name}' and '{other}' are one",
                    f"{path}, where they differ",
                    "let the factory build a network that does not tie them",
                )
