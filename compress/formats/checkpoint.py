"""Weights without their network: state dicts, and modules that were pickled whole."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress.errors import CompressError, NetworkError, UntrustedFileError
from compress.references import resolve, working_directory_importable
from compress.sniff import Sniffed
from compress.trace import essence, quiet

# Under which keys training scripts keep the weights among optimizer state, epochs and scores.
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "ema",
    "weights",
    "params",
)
_PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel, torch.compile, Lightning
_NAMED = 3  # of many wrong keys, how many a message names


def read_checkpoint(file: Sniffed, *, factory: str | None, trust_pickle: bool = False) -> nn.Module:
    """The module that a state dict fills, or that was pickled whole.

    Args:
        file: What was recognised.
        factory: ``package.module:callable`` that builds the module a state dict belongs to.
        trust_pickle: Let a pickle run code.

    Raises:
        UntrustedFileError: Loading would run code that the file names.
        NetworkError: The file is damaged, or factory and weights do not belong together.
    """
    loaded = _load(file, trust_pickle=trust_pickle)
    if isinstance(loaded, nn.Module):
        return loaded
    state = _state_dict(loaded, file.path)
    if factory is None:
        raise NetworkError(
            "the network these weights belong to",
            f"{file.path}, a state dict of {len(state)} tensors alone",
            "name the function that builds it: --factory package.module:callable",
        )
    module = build_module(factory, kind="a network factory")
    _fill(module, state, factory, file.path)
    return module


def _load(file: Sniffed, *, trust_pickle: bool) -> Any:
    if file.unsafe_globals and not trust_pickle:
        raise UntrustedFileError(
            "tensors alone",
            f"{file.path}, a pickle that calls {_first(file.unsafe_globals)}",
            "save the state_dict() alone; --trust-pickle loads it if you know who made it",
        )
    try:
        with quiet(), working_directory_importable():
            if file.format == "safetensors":
                from safetensors.torch import load_file

                return load_file(file.path)
            return torch.load(file.path, map_location="cpu", weights_only=not trust_pickle)
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


def _state_dict(loaded: Any, path: Path) -> dict[str, torch.Tensor]:
    """The weights, unwrapped from the checkpoint and from the prefixes that wrappers add."""
    state = loaded
    for _ in range(2):
        if isinstance(state, Mapping) and not _is_state(state):
            inner = [state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping | nn.Module)]
            state = inner[0] if inner else state
        if isinstance(state, nn.Module):
            state = state.state_dict()
    if not _is_state(state):
        kind = (
            f"keys {_first(map(str, state))}" if isinstance(state, Mapping) else f"a {type(state).__name__}"
        )
        raise NetworkError("a state dict: tensors by name", f"{path}, {kind}", "save model.state_dict()")
    return {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(
            isinstance(each, torch.Tensor) or str(name).endswith("_extra_state")
            for name, each in value.items()
        )
    )


def build_module(reference: str, *, kind: str) -> nn.Module:
    """The module that a callable of the user builds; this runs the user's code, as the user asked for.

    Args:
        reference: ``package.module:callable``.
        kind: What it is, with its article, for messages.

    Raises:
        NetworkError: There is no such callable, it fails without arguments, or it returns no module.
    """
    build = resolve(reference, kind=kind, error=NetworkError)
    if not callable(build):
        raise NetworkError(
            "a callable that builds the network", f"{reference}, a {type(build).__name__}", "name a function"
        )
    try:
        with working_directory_importable():
            module = build()
    except CompressError:
        raise
    except Exception as error:
        raise NetworkError(
            f"{kind} that builds the network without arguments",
            f"{reference}(): {essence(error)}",
            "name a function without required arguments",
        ) from error
    if not isinstance(module, nn.Module):
        raise NetworkError(
            f"{kind} that returns a torch.nn.Module",
            f"{reference}, which returns a {type(module).__name__}",
            "return it",
        )
    return module


def _fill(module: nn.Module, state: dict[str, torch.Tensor], factory: str, path: Path) -> None:
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    for prefix in _PREFIXES:
        if not own.keys() & state.keys() and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    problems = []
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
        if names:
            problems.append(f"{len(names)} {what} ({_first(names)})")
    if problems:
        raise NetworkError(
            f"weights for the network that {factory} builds",
            f"{path} with tensors {', '.join(problems)}",
            "name the factory that built this network",
        )
    module.load_state_dict(state)


def _first(names: Any) -> str:
    listed = list(names)
    return ", ".join(listed[:_NAMED]) + (", …" if len(listed) > _NAMED else "")
