"""Several sets of weights in one checkpoint: those that were trained, and averages of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.suggestions import did_you_mean
from compress.errors import NetworkError

if TYPE_CHECKING:
    import torch
    from torch import nn

# Words in the keys under which averages of weights are kept: model_ema, ema_state_dict, shadow_params, swa_model.
_AVERAGED = frozenset({"ema", "swa", "shadow", "averaged"})
_BETWEEN_WORDS = re.compile(r"[^a-z]+")


def is_averaged(place: str) -> bool:
    """Whether a place in a checkpoint has the name of an average of weights."""
    return not _AVERAGED.isdisjoint(_BETWEEN_WORDS.split(place.lower()))


def is_meant(place: str, weights: str | None, places: Iterable[str]) -> bool:
    """Whether a set of weights is one that the user asks for.

    Args:
        place: Dotted name of the place in the checkpoint where the set lies; empty for the whole checkpoint.
        weights: The place itself; or, where no set lies there, ``ema`` for an average and ``model`` for what is none.
            None for any.
        places: Places of all sets in the checkpoint.
    """
    if weights is None or _lies_at(place, weights):
        return True
    if weights not in ("ema", "model") or any(_lies_at(other, weights) for other in places):
        return False
    return is_averaged(place) == (weights == "ema")


def _lies_at(place: str, key: str) -> bool:
    return place == key or place.startswith(f"{key}.")


def flag_of(place: str, places: Iterable[str]) -> str:
    """Return the flag that takes one of several sets of weights: by its kind where it is the only one, else by name."""
    alike = [other for other in places if is_averaged(other) == is_averaged(place)]
    kind = "ema" if is_averaged(place) else "model"
    return f"--weights {kind if len(alike) == 1 or not place else place}"


def choice_note(places: Sequence[str]) -> str | None:
    """Return a sentence on the set of weights that was taken of several; None where there is one.

    Args:
        places: Places of all sets in the checkpoint, the one that was taken first.
    """
    if len(places) < 2:
        return None
    chosen, *others = places
    flags = " or ".join(flag_of(other, places) for other in others)
    return (
        f"the checkpoint holds {len(places)} sets of weights; taken: {_named(chosen)}; "
        f"{flags} takes {'the other' if len(others) == 1 else 'another'}"
    )


def no_such_set(weights: str, places: Sequence[str], path: Path) -> NetworkError:
    """Return the error where a checkpoint has no set of weights of the name that was asked for.

    Args:
        weights: Name that was asked for.
        places: Places of the sets that the checkpoint has.
        path: Path of the checkpoint.
    """
    places_found = f"{path} with {', '.join(map(_named, places)) or 'none'}"
    flags = " or ".join(flag_of(place, places) for place in places)
    todo = did_you_mean(weights, [place for place in places if place])
    if not todo:
        todo = f"give {flags}, or leave it out" if len(places) > 1 else "leave --weights out"
    return NetworkError(f"weights for --weights {weights}", places_found, todo)


def named_lists(module: nn.Module, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's tensors with names of parameters for averages that are lists, in the parameters' order.

    Args:
        module: Module whose parameters they are, all of them or those that are trained.
        tensors: Tensors of the checkpoint by their dotted names; those of a list have numbers.
    """
    lists: dict[str, dict[int, Any]] = defaultdict(dict)
    for name, tensor in tensors.items():
        place, _, number = name.rpartition(".")
        if number.isdecimal() and is_averaged(place):
            lists[place][int(number)] = tensor
    if not lists:
        return dict(tensors)
    every = dict(module.named_parameters())
    trained = {name: parameter for name, parameter in every.items() if parameter.requires_grad}
    named = dict(tensors)
    for place, numbered in lists.items():
        averaged = [numbered[number] for number in sorted(numbered)]
        for parameters in (every, trained):
            if len(averaged) == len(parameters) and all(map(fits, averaged, parameters.values())):
                for index in numbered:
                    del named[f"{place}.{index}"]
                named |= {
                    f"{place}.{name}": averaged_value
                    for name, averaged_value in zip(parameters, averaged, strict=True)
                }
                break
    return named


def fits(given: Any, wanted: torch.Tensor) -> bool:
    """Whether a tensor has the shape of the module's own; a lazy one takes its shape from what it is given."""
    import torch
    from torch.nn.parameter import is_lazy

    return is_lazy(wanted) or (isinstance(given, torch.Tensor) and given.shape == wanted.shape)


def _named(place: str) -> str:
    return f"'{place}'" if place else "the tensors at the top"
