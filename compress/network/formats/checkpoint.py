"""Weights without their network: state dicts, and modules that were pickled whole."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress.core.object_references import resolve, split_call, working_directory_importable
from compress.core.user_code import users_code
from compress.errors import CompressError, NetworkError, UntrustedFileError
from compress.network.formats.checkpoint_kinds import factory_of, how_to_trust, kind_of, sets_of, sets_told
from compress.network.formats.detection import Sniffed, check_pickles, outermost_keys, sniff
from compress.network.formats.weight_sets import flag_of, is_meant, no_such_set
from compress.network.formats.weights import WRAPPERS, fill, first_names, tensors_of
from compress.network.tracing import essence, quiet


class _Setting:
    """Stands for a setting of a training script: it takes whatever a pickle gives it, and does nothing."""

    def __new__(cls, *_: Any) -> _Setting:
        """Make one without looking at the arguments."""
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        """Take nothing over."""


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
    whole = None if factory else _module_in(loaded, file.path, weights)
    if whole is not None:
        return whole
    tensors = tensors_of(loaded)
    if not tensors:
        kind = f"keys {first_names(loaded)}" if isinstance(loaded, Mapping) else f"a {type(loaded).__name__}"
        raise NetworkError("a state dict: tensors by name", f"{file.path}, {kind}", "save model.state_dict()")
    if factory is None:
        told = kind_of(list(map(str, loaded))) if isinstance(loaded, Mapping) else None
        arch = loaded.get("arch") if isinstance(loaded, Mapping) else None
        raise NetworkError(
            "the network these weights belong to",
            f"{file.path}, {f'{told}: ' if told else ''}a state dict of {len(tensors)} tensors alone",
            f"name the function that builds it: {factory_of(told, arch)}{sets_told(sets_of(loaded))}",
        )
    module = build_module(factory, kind="a network factory")
    places = fill(module, tensors, factory=factory, path=file.path, weights=weights)
    return module, places


def _module_in(loaded: Any, path: Path, weights: str | None) -> tuple[nn.Module, tuple[str, ...]] | None:
    """Return the module that was pickled whole, alone or among other values; and the keys of all, its own first."""
    if isinstance(loaded, nn.Module):
        if weights not in (None, "model"):
            raise no_such_set(weights, [""], path)
        return loaded, ("",)
    found = (
        {str(key): each for key, each in loaded.items() if isinstance(each, nn.Module)}
        if isinstance(loaded, Mapping)
        else {}
    )
    if not found:
        return None
    meant = [key for key in found if is_meant(key, weights)]
    if not meant:
        raise no_such_set(str(weights), list(found), path)
    known = next((key for key in WRAPPERS if key in meant), None)
    if known is None and len(meant) > 1:
        raise NetworkError(
            "one pickled network",
            f"{path} with {len(meant)} ({first_names(meant)})",
            f"name it: {' or '.join(flag_of(each, meant) for each in meant[:2])}",
        )
    taken = meant[0] if known is None else known
    return found[taken], (taken, *(key for key in found if key != taken))


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
        return {name: each for shard in shards for name, each in tensors_of(shard).items()}
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
            _without(file.settings),
            file.path.open("rb") as stream,
        ):  # of a path, torch would look at the ending
            return torch.load(stream, map_location="cpu", weights_only=not trust_pickle)
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


def _without(settings: tuple[str, ...]) -> AbstractContextManager[None]:
    """Let torch's restricted unpickler pass over settings: nothing, or a plain dict, stands in their place."""
    if not settings:
        return nullcontext()
    stand_ins: list[Any] = [(dict if name.endswith("AttributeDict") else _Setting, name) for name in settings]
    return torch.serialization.safe_globals(stand_ins)


def build_module(reference: str, *, kind: str) -> nn.Module:
    """Return the module that a callable of the user builds; this runs the user's code, as the user asked for.

    Args:
        reference: ``package.module:callable``, with literal arguments in parentheses where it takes any:
            ``torchvision.models:resnet18(num_classes=10)``.
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
    build = resolve(name, kind=kind, error=NetworkError)
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
