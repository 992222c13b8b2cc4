"""A student family: a callable that takes a width and builds an untrained network of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from compress.core.object_references import resolve, working_directory_importable
from compress.core.user_code import users_code
from compress.errors import CompressError, NetworkError
from compress.network.tracing import essence

if TYPE_CHECKING:
    from compress.network.network import Network

#: Builds an untrained network; the width is a multiplier (0.25) or a number of channels (16), as the family has it.
Family = Callable[[float], nn.Module]


def load_family(reference: str) -> Family:
    """Return the family that ``package.module:callable`` names; importing the module runs it.

    Raises:
        NetworkError: There is no such object, or it cannot be called.
    """
    resolved = resolve(reference, kind="a student family", error=NetworkError)
    if not callable(resolved):
        raise NetworkError(
            "a callable that builds a student of a width",
            f"{reference}, a {type(resolved).__name__}",
            "name a function",
        )
    return resolved


def build(family: Family, width: float, seed: int) -> nn.Module:
    """Build an untrained student; equal seeds give equal weights, and other random numbers are not affected.

    Raises:
        NetworkError: The family cannot build it.
    """
    try:
        with torch.random.fork_rng(devices=[]), working_directory_importable(), users_code():
            torch.manual_seed(seed)
            module = family(width)
    except CompressError:
        raise
    except Exception as error:
        raise NetworkError(
            f"a student family that takes one width, {width:g} here",
            essence(error),
            "make it take one, or name other widths (--widths, --candidates)",
        ) from error
    if not isinstance(module, nn.Module):
        raise NetworkError(
            "a student family that returns a torch.nn.Module", f"a {type(module).__name__}", "return a module"
        )
    return module


def parameters_of(module: nn.Module) -> int:
    """Return N of the scaling law: the number of all parameters, shared ones once, without buffers."""
    return sum(parameter.numel() for parameter in module.parameters())


def check_fits(student: nn.Module, network: Network, example: Sequence[Tensor]) -> None:
    """Check that a student takes the network's inputs and gives outputs of its shapes.

    Raises:
        NetworkError: The student does not fit.
    """
    try:
        with torch.no_grad():
            result = student.eval()(*example)
    except Exception as error:
        raise NetworkError(
            "a student that takes the network's inputs "
            + ", ".join(f"{spec.name}: {spec.dtype}{list(spec.shape)}" for spec in network.inputs),
            essence(error),
            "give it the same inputs in the same order",
        ) from error
    outputs = result if isinstance(result, list | tuple) else (result,)
    axes = [spec.batch_axis for spec in network.outputs]
    tensors = [output for output in outputs if isinstance(output, Tensor)]
    shapes = [
        [size for axis, size in enumerate(output.shape) if axis != counts]
        for output, counts in zip(tensors, axes, strict=False)
    ]
    expected_shapes = [list(spec.sample_shape) for spec in network.outputs]
    if len(tensors) != len(axes) or shapes != expected_shapes:
        raise NetworkError(
            f"a student whose outputs have the network's shapes, {expected_shapes} without the batch",
            str(shapes),
            "change its last layer",
        )
