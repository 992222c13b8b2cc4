"""A module and one batch of inputs become an exported program whose batch axis is dynamic."""

from __future__ import annotations

import inspect
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from compress.errors import DataError, LiftError, NetworkError
from compress.tensors import BATCH

Example = Mapping[str, np.ndarray] | Sequence[np.ndarray]


def bind_example(example: Example, forward: Any) -> dict[str, torch.Tensor]:
    """The example's arrays by the parameter of ``forward`` that takes them, in its order.

    Args:
        example: Arrays with a leading batch axis, by name or in order. A mapping with the single name ``x``
            counts as in order.
        forward: The callable the arrays are for.

    Raises:
        DataError: A name that ``forward`` does not have, or an input that the example does not give.
    """
    parameters = [
        parameter
        for parameter in inspect.signature(forward).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    names = [parameter.name for parameter in parameters]
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    if not isinstance(example, Mapping):
        if len(example) > len(names):
            raise _misfit(names, f"{len(example)} arrays")
        example = dict(zip(names, example, strict=False))
    elif list(example) == ["x"] and "x" not in names and names:
        example = {names[0]: example["x"]}
    unknown = [name for name in example if name not in names]
    missing = [name for name in required if name not in example]
    if unknown or missing:
        raise _misfit(names, f"{', '.join(example) or 'none'}")
    return {name: torch.from_numpy(np.array(example[name])) for name in names if name in example}


def _misfit(names: list[str], found: str) -> DataError:
    return DataError(f"inputs named {', '.join(names)}", found, "name the arrays after the network's inputs")


def trace(module: nn.Module, example: Mapping[str, torch.Tensor]) -> ExportedProgram:
    """Export a module in inference mode, its batch axis dynamic where the network allows it.

    Args:
        module: In eval mode. It is not modified.
        example: One batch for every input by name, ≥ 1 row.

    Raises:
        NetworkError: The network does not run on the example.
        LiftError: Its control flow depends on the data, or it calls what cannot be exported.
    """
    _run(module, example)
    rows = {name: _at_least_two_rows(tensor) for name, tensor in example.items()}
    batch = next(iter(rows.values())).shape[0]
    dim = Dim(BATCH, min=1)
    shapes = {name: {0: dim} if t.dim() and t.shape[0] == batch else {} for name, t in rows.items()}
    try:
        return _export(module, rows, shapes)
    except Exception as error:
        raise _not_liftable(error) from error


def _export(
    module: nn.Module, example: Mapping[str, torch.Tensor], shapes: Mapping[str, Any]
) -> ExportedProgram:
    with quiet():
        return torch.export.export(module, (), dict(example), dynamic_shapes=dict(shapes), strict=False)


def _run(module: nn.Module, example: Mapping[str, torch.Tensor]) -> None:
    try:
        with torch.no_grad(), quiet():
            module(**example)
    except Exception as error:
        given = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in example.items())
        raise NetworkError(
            "inputs the network takes",
            f"{type(error).__name__} on {given}: {_first_line(error)}",
            "check the shape and the dtype of the data",
        ) from error


def _at_least_two_rows(tensor: torch.Tensor) -> torch.Tensor:
    # An axis of size 1 is taken for a constant: it broadcasts where a batch would not.
    return torch.cat([tensor, tensor]) if tensor.dim() and tensor.shape[0] == 1 else tensor


def _not_liftable(error: BaseException) -> LiftError:
    return LiftError(
        "a network whose operations do not depend on its data",
        f"{_first_line(error)} at {_place(error)}",
        "rewrite that line without it, or give an ONNX file",
    )


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _place(error: BaseException) -> str:
    """The innermost line outside torch: the user's own."""
    torch_files = str(Path(torch.__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(torch_files) and frame.filename != __file__
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's warnings and log lines, which are about torch and not about the network."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
