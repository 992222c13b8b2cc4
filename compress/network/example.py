"""The user's samples as inputs of a torch network: by name, in its types, along the axes that it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from compress.errors import CompressError, DataError
from compress.network.sample_axis import check_told, find_axes, told_axis

if TYPE_CHECKING:
    from compress.network.network import Example

#: The axis that counts samples by input name; axis 0 of inputs that are not named.
Axes = Mapping[str, int]


def bind_example(example: Example, forward: Callable[..., Any]) -> dict[str, torch.Tensor]:
    """Return the example's arrays by the parameter of ``forward`` that takes them, in its order."""
    parameters = inspect.signature(forward).parameters.values()
    named = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    required = [parameter.name for parameter in named if parameter.default is parameter.empty]
    return match_example(example, [parameter.name for parameter in named], required)


def match_example(example: Example, names: list[str], required: list[str]) -> dict[str, torch.Tensor]:
    """Return the example's arrays by input name.

    Args:
        example: Arrays, by name or in order; a single array under another name counts as in order.
        names: Names of the network's inputs, in order.
        required: Names of the inputs without a default.

    Raises:
        DataError: A name is unknown to the network, a required input is missing, or values are not numbers.
    """
    if isinstance(example, Mapping):
        names_found = ", ".join(example) or "none"
        if len(example) == 1 and not example.keys() & set(names):
            example = list(example.values())
    else:
        names_found = f"{len(example)} arrays"
    if not isinstance(example, Mapping):
        example = dict(zip(names, example, strict=False)) if len(example) <= len(names) else {}
    if not names:
        raise DataError(
            "a forward() that names its inputs",
            "one that takes any number of them (*args)",
            "wrap the network in a module whose forward() names each",
        )
    tensors_by_name = dict(example)
    if not tensors_by_name or set(tensors_by_name) - set(names) or set(required) - set(tensors_by_name):
        raise DataError(
            f"arrays for the network's inputs {', '.join(names)}",
            names_found,
            "name the arrays after the inputs, or give as many as there are inputs; what is carried from call to call "
            "is no data: --state INPUT=OUTPUT",
        )
    return {name: _tensor(name, tensors_by_name[name]) for name in names if name in tensors_by_name}


def _tensor(name: str, array: object) -> torch.Tensor:
    try:
        tensor = torch.from_numpy(np.array(array))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"numbers for the input '{name}'", f"{type(array).__name__}: {error}", "check the data"
        ) from error
    if not tensor.numel():
        raise DataError(
            f"at least one row for the input '{name}'", f"the shape {tuple(tensor.shape)}", "add data"
        )
    return tensor


def cast_floats(
    example: Mapping[str, torch.Tensor],
    module: nn.Module,
    run: Callable[[Mapping[str, torch.Tensor]], object],
) -> dict[str, torch.Tensor]:
    """Return the example with its floats in the dtype of the module's parameters; NumPy's are float64 by default.

    Args:
        example: Arrays, by input name.
        module: Module, whose parameters may have several dtypes.
        run: Network as a function, run where there are several dtypes: float32 is tried first, then the others.
    """
    dtypes = dict.fromkeys(
        parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()
    )
    if len(dtypes) == 1:
        return _in_dtype(example, *dtypes)
    likely = _in_dtype(example, torch.float32)
    for dtype in (torch.float32, *dtypes):
        tried = _in_dtype(example, dtype)
        try:
            run(tried)
        except CompressError:  # one of another dtype, or what tells why comes later
            continue
        return tried
    return likely


def _in_dtype(example: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in example.items()
    }


def typed_like(
    example: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the example with its floats in the dtypes of another example."""
    return {
        name: tensor.to(other[name].dtype) if tensor.is_floating_point() and name in other else tensor
        for name, tensor in example.items()
    }


def sharing_the_batch(example: Mapping[str, torch.Tensor], axes: Axes | None = None) -> set[str]:
    """Return the inputs that have as many samples as the first."""
    axes = axes or {}
    sizes = {name: samples_in(tensor, axes.get(name, 0)) for name, tensor in example.items()}
    size = next(iter(sizes.values()))
    return {name for name, length in sizes.items() if length is not None and length == size}


def samples_in(tensor: torch.Tensor, axis: int) -> int | None:
    """Return the number of samples along an axis; None where there is no such axis."""
    return int(tensor.shape[axis]) if tensor.dim() > axis else None


def with_rows(
    example: Mapping[str, torch.Tensor], rows: int, axes: Axes | None = None
) -> dict[str, torch.Tensor]:
    """Return the example cut to a number of samples, or repeated where it has fewer."""
    axes = axes or {}
    shared = sharing_the_batch(example, axes)
    return {
        name: tensor.index_select(axes.get(name, 0), torch.arange(rows) % tensor.shape[axes.get(name, 0)])
        if name in shared
        else tensor
        for name, tensor in example.items()
    }


def arrange(
    run: Callable[[Mapping[str, torch.Tensor]], Sequence[torch.Tensor]],
    samples: Mapping[str, torch.Tensor],
    given_axes: Axes | None = None,
    possible: Mapping[str, Sequence[int]] | None = None,
    fixed: bool = False,
) -> tuple[dict[str, torch.Tensor], Axes]:
    """Arrange samples along the axis that the network takes them along.

    Args:
        run: Network as a function.
        samples: Samples by input name, along axis 0; inputs with another number of rows than the first hold no samples.
        given_axes: Axis that the user names; see :func:`compress.network.tracing.trace_module`.
        possible: Axes that are possible for an input by its declared shape; None for every axis. The first is
            taken where running does not tell.
        fixed: Whether the network takes only one number of samples, so that running does not tell.

    Returns:
        The network's inputs, and the axis that counts samples, for inputs where it is not axis 0.

    Raises:
        NetworkError: Samples depend on each other along every axis.
        UsageError: A named input or axis does not exist.
    """
    check_told(given_axes, {name: tensor.dim() for name, tensor in samples.items()})
    shared = sharing_the_batch(samples)
    arrays = {name: _as_array(tensor) for name, tensor in samples.items() if name in shared}
    if not arrays:
        return dict(samples), {}

    def run_arrays(feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        tensors = {
            name: torch.from_numpy(np.asarray(feeds[name], order="C")).to(tensor.dtype)
            if name in feeds
            else tensor
            for name, tensor in samples.items()
        }
        return [_as_array(output) for output in run(tensors)]

    axes_found = None if fixed else find_axes(run_arrays, arrays, possible, given_axes=given_axes)
    every = _likely(arrays, given_axes or {}, possible or {}) if axes_found is None else axes_found.inputs
    axes = {name: axis for name, axis in every.items() if axis}
    return along(samples, axes), axes


def along(samples: Mapping[str, torch.Tensor], axes: Axes) -> dict[str, torch.Tensor]:
    """Return samples ``(n, …)`` along these axes."""
    return {
        name: tensor.movedim(0, axes[name]).contiguous() if name in axes else tensor
        for name, tensor in samples.items()
    }


def varying(
    example: Mapping[str, torch.Tensor], others: Iterable[Mapping[str, torch.Tensor]], axes: Axes
) -> dict[str, list[int]]:
    """Return the axes, besides that of the samples, in which others differ from an example, by input name."""
    varying_axes = {
        name: [
            axis
            for axis, size in enumerate(tensor.shape)
            if axis != axes.get(name, 0)
            and any(other[name].dim() == tensor.dim() and other[name].shape[axis] != size for other in others)
        ]
        for name, tensor in example.items()
    }
    return {name: numbers for name, numbers in varying_axes.items() if numbers}


def _likely(names: Iterable[str], given_axes: Axes, possible: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Return the axis of each input where running cannot find it: the user's, or the first possible one."""
    return {name: told_axis(given_axes, name, next(iter(possible.get(name, ())), 0)) for name in names}


def _as_array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
