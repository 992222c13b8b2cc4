"""Weights without their network: state dicts, and modules that were pickled whole."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress.core.object_references import resolve, split_call, working_directory_importable
from compress.core.user_code import users_code
from compress.errors import CompressError, NetworkError, UntrustedFileError
from compress.network.formats.checkpoint_kinds import factory_of, how_to_trust, kind_of, sets_of, sets_told
from compress.network.formats.detection import Sniffed, check_pickles, outermost_keys, sniff
from compress.network.formats.settings import passing_over, without_attributes
from compress.network.formats.timm_names import builder_of
from compress.network.formats.weight_sets import flag_of, is_meant, no_such_set
from compress.network.formats.weights import WRAPPERS, fill, first_names, tensors_of
from compress.network.tracing import essence, quiet


def read_checkpoint(
    file: Sniffed, *, factory: str | None, trust_pickle: bool = False, weights: str | None = None
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the module that a state dict fills, or that was pickled whole; and the sets of weights in the file.

    Args:
        file: Recognised file.
        factory: ``package.module:callable`` that builds the module a state dict belongs to.
        trust_pickle: Whether to let a pickle run code.
        weights: Set of weights to take, of several: ``ema``, ``model`` or its key. None takes the most usual one.

    Returns:
        The module; and the keys of the sets of weights that fit it, the one that was taken first.

    Raises:
        UntrustedFileError: Loading would run code that the file names.
        NetworkError: The file is damaged, or factory and weights do not belong together.
    """
    loaded = _load(file, trust_pickle=trust_pickle)
    module_and_places = None if factory else _module_in(loaded, file.path, weights)
    if module_and_places is not None:
        return module_and_places
    tensors = tensors_of(loaded, file.path)
    if not tensors:
        kind = f"keys {first_names(loaded)}" if isinstance(loaded, Mapping) else f"a {type(loaded).__name__}"
        raise NetworkError("a state dict: tensors by name", f"{file.path}, {kind}", "save model.state_dict()")
    if factory is None:
        described = kind_of(list(map(str, loaded))) if isinstance(loaded, Mapping) else None
        arch = loaded.get("arch") if isinstance(loaded, Mapping) else None
        raise NetworkError(
            "the network these weights belong to",
            f"{file.path}, {f'{described}: ' if described else ''}a state dict of {len(tensors)} tensors alone",
            f"name the function that builds it: {factory_of(described, arch)}{sets_told(sets_of(loaded))}",
        )
    module = build_module(factory, kind="a network factory")
    places = fill(module, tensors, factory=factory, path=file.path, weights=weights)
    return module, places


def read_tensors(file: Sniffed, *, trust_pickle: bool = False) -> dict[str, Any]:
    """Return every tensor in a file of weights, or in the files of an index, by its dotted name.

    Args:
        file: Recognised file.
        trust_pickle: Whether to let a pickle run code.

    Raises:
        UntrustedFileError: Loading would run code that the file names.
        NetworkError: The file is damaged.
    """
    return tensors_of(_load(file, trust_pickle=trust_pickle), file.path)


def _module_in(loaded: Any, path: Path, weights: str | None) -> tuple[nn.Module, tuple[str, ...]] | None:
    """Return the module that was pickled whole, alone or among other values; and the keys of all, its own first."""
    if isinstance(loaded, nn.Module):
        if weights not in (None, "model"):
            raise no_such_set(weights, [""], path)
        return loaded, ("",)
    modules = (
        {str(key): value for key, value in loaded.items() if isinstance(value, nn.Module)}
        if isinstance(loaded, Mapping)
        else {}
    )
    if not modules:
        return None
    meant = [key for key in modules if is_meant(key, weights, modules)]
    if not meant:
        raise no_such_set(str(weights), list(modules), path)
    usual_place = next((key for key in WRAPPERS if key in meant), None)
    if usual_place is None and len(meant) > 1:
        raise NetworkError(
            "one pickled network",
            f"{path} with {len(meant)} ({first_names(meant)})",
            f"name it: {' or '.join(flag_of(place, meant) for place in meant[:2])}",
        )
    chosen = meant[0] if usual_place is None else usual_place
    return modules[chosen], (chosen, *(key for key in modules if key != chosen))


def _load(file: Sniffed, *, trust_pickle: bool) -> Any:
    if file.unsafe_globals and not trust_pickle:
        keys = () if file.shards else outermost_keys(file.path)
        kind = kind_of(keys, file.unsafe_globals)
        raise UntrustedFileError(
            "tensors alone",
            f"{file.path}, {f'{kind}: ' if kind else ''}a pickle that calls {first_names(file.unsafe_globals)}",
            how_to_trust(keys, file.unsafe_globals),
        )
    if file.shards:
        shards = [_load(sniff(shard), trust_pickle=trust_pickle) for shard in file.shards]
        return {name: tensor for shard in shards for name, tensor in tensors_of(shard, file.path).items()}
    if file.format != "safetensors" and not trust_pickle:
        check_pickles(file.path)
    try:
        if file.format == "safetensors":
            from safetensors.torch import load_file

            return load_file(file.path)
        importing = working_directory_importable() if trust_pickle else nullcontext()
        with (
            quiet(),
            importing,
            passing_over(file.settings),
            file.path.open("rb") as stream,
        ):  # of a path, torch would look at the ending
            loaded = torch.load(stream, map_location="cpu", weights_only=not trust_pickle)
            return loaded if trust_pickle else without_attributes(loaded)
    except pickle.UnpicklingError as error:
        raise NetworkError(
            "a state dict that torch loads", f"{file.path}: {essence(error)}", "save the state_dict() again"
        ) from error
    except (ImportError, AttributeError) as error:
        raise NetworkError(
            "the classes that the pickle names",
            f"{file.path}: {essence(error)}",
            "run from the directory that holds their source, or install it",
        ) from error
    except Exception as error:
        raise NetworkError(
            f"a file that torch {torch.__version__} loads", f"{file.path}: {essence(error)}", "save it again"
        ) from error


def build_module(reference: str, *, kind: str) -> nn.Module:
    """Return the module that a callable of the user builds; this runs the user's code, as the user asked for.

    Args:
        reference: ``package.module:callable``, with literal arguments in parentheses where it takes any:
            ``torchvision.models:resnet18(num_classes=10)``; or ``timm:NAME``, with or without them.
        kind: Kind of the callable, with its article, for messages.

    Raises:
        NetworkError: There is no such callable, it fails with these arguments, or it returns no module.
    """
    try:
        name, arguments, named = split_call(reference)
    except ValueError as error:
        raise NetworkError(
            f"{kind} with numbers, texts, lists and the like as arguments",
            f"{reference}",
            "write literals, such as module:callable(num_classes=10)",
        ) from error
    build = builder_of(name) or resolve(name, kind=kind, error=NetworkError)
    if not callable(build):
        raise NetworkError(
            "a callable that builds the network", f"{reference}, a {type(build).__name__}", "name a function"
        )
    try:
        with working_directory_importable(), users_code():
            module = build(*arguments, **named)
    except CompressError:
        raise
    except Exception as error:
        raise NetworkError(
            f"{kind} that builds the network with these arguments",
            f"{reference if arguments or named else name + '()'}: {essence(error)}",
            "give what it needs, in literals: module:callable(num_classes=10)",
        ) from error
    if not isinstance(module, nn.Module):
        raise NetworkError(
            f"{kind} that returns a torch.nn.Module",
            f"{reference}, which returns a {type(module).__name__}",
            "return it",
        )
    return module
