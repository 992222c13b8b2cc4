"""A module and one batch of inputs become an exported program whose batch axis is dynamic."""

from __future__ import annotations

import inspect
import io
import logging
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from compress.errors import CompressError, DataError, LiftError, NetworkError
from compress.tensors import BATCH

if TYPE_CHECKING:
    from compress.network import Example

_ROWS = 2  # an axis of size 1 would count as a constant that broadcasts

#: Positional tensors in, tensors out: the network as it was given, to compare with.
Reference = Callable[..., tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Traced:
    """A network on its way to the lifted graph.

    Attributes:
        program: Its operations.
        example: One batch, by input name, in the program's order.
        reference: The network as it was given, in inference mode.
        fixed: The reference computes for the example's batch size alone; with another it may fail or worse.
    """

    program: ExportedProgram
    example: dict[str, torch.Tensor]
    reference: Reference
    fixed: bool = False


def trace_module(module: nn.Module, example: Example) -> Traced:
    """Trace a module that the caller no longer needs as it was: it ends up in eval mode on the CPU.

    Args:
        module: The network.
        example: One batch of real inputs with a leading batch axis, by name or in order.

    Raises:
        DataError: The example does not name the module's inputs.
        NetworkError: The module does not run on the example.
        LiftError: Its control flow depends on the data, or it calls what cannot be traced.
    """
    module.cpu().eval()
    bound = cast_floats(bind_example(example, module.forward), module)
    reference = reference_of(module, list(bound))
    run(reference, bound)
    return Traced(trace(module, bound), bound, reference)


def check_finite(module: nn.Module, where: str) -> None:
    """Refuse weights that are not numbers.

    Raises:
        NetworkError: NaN in a parameter or buffer, or an infinite parameter; a buffer may be the mask of an
            attention. It names the tensor.
    """
    refuse_not_finite(((name, each, True) for name, each in module.named_parameters()), where)
    refuse_not_finite(((name, each, False) for name, each in module.named_buffers()), where)


def refuse_not_finite(tensors: Iterable[tuple[str, torch.Tensor, bool]], where: str) -> None:
    """As :func:`check_finite`, for tensors by name and whether each is a parameter."""
    for name, tensor, is_parameter in tensors:
        if tensor.is_meta or is_lazy(tensor):
            raise NetworkError(
                "a network with its weights in memory",
                f"'{name}' of {where} without values",
                "load its weights",
            )
        if not tensor.is_floating_point():
            continue
        fault = "NaN" if tensor.isnan().any() else None
        if fault is None and (is_parameter or name.endswith("running_var")) and tensor.isinf().any():
            fault = "an infinite value"
        if fault:
            raise NetworkError(
                "a network of finite weights", f"{fault} in '{name}' of {where}", "use an earlier checkpoint"
            )


def reference_of(module: Callable[..., Any], names: list[str]) -> Reference:
    """The module as a function of positional tensors that returns its tensors in order."""

    def reference(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result = module(**dict(zip(names, tensors, strict=True)))
        return tuple(leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor))

    return reference


def bind_example(example: Example, forward: Callable[..., Any]) -> dict[str, torch.Tensor]:
    """The example's arrays by the parameter of ``forward`` that takes them, in its order."""
    parameters = inspect.signature(forward).parameters.values()
    named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    required = [each.name for each in named if each.default is each.empty]
    return match_example(example, [each.name for each in named], required)


def match_example(example: Example, names: list[str], required: list[str]) -> dict[str, torch.Tensor]:
    """The example's arrays by input name.

    Args:
        example: Arrays by name, or in order; a single array under another name counts as in order.
        names: The inputs the network has, in order.
        required: Those that have no default.

    Raises:
        DataError: A name the network does not have, an input it needs and is not given, or not numbers.
    """
    if isinstance(example, Mapping):
        found = ", ".join(example) or "none"
        if len(example) == 1 and not example.keys() & set(names):
            example = list(example.values())
    else:
        found = f"{len(example)} arrays"
    if not isinstance(example, Mapping):
        example = dict(zip(names, example, strict=False)) if len(example) <= len(names) else {}
    given = dict(example)
    if not given or set(given) - set(names) or set(required) - set(given):
        raise DataError(
            f"arrays for the network's inputs {', '.join(names)}",
            found,
            "name the arrays after the inputs, or give as many as there are inputs",
        )
    return {name: _tensor(name, given[name]) for name in names if name in given}


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


def cast_floats(example: Mapping[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """The example with its floats in the dtype of the module's parameters; NumPy's are float64 by default."""
    dtypes = {each.dtype for each in module.parameters() if each.is_floating_point()}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in example.items()
    }


def run(
    reference: Reference, example: Mapping[str, torch.Tensor], *, gradients: bool = False
) -> tuple[torch.Tensor, ...]:
    """The network's outputs for one batch.

    Args:
        reference: The network.
        example: The batch.
        gradients: Run it as in training, where some of torch's layers take another path.

    Raises:
        NetworkError: It does not run on these inputs, or returns no tensor.
    """
    try:
        with torch.set_grad_enabled(gradients), quiet():
            # Copies, because a network may write into its inputs.
            outputs = tuple(
                tensor.detach() for tensor in reference(*(each.clone() for each in example.values()))
            )
    except CompressError:
        raise
    except Exception as error:
        given = ", ".join(f"{name} {describe(tensor)}" for name, tensor in example.items())
        raise NetworkError(
            "inputs the network takes",
            f"{given}, on which it fails: {essence(error)}",
            "check the shape and the dtype of the data (--data, --input)",
        ) from error
    if not outputs:
        raise NetworkError("a network that returns tensors", "none in what it returns", "return a tensor")
    return outputs


def trace(module: nn.Module, example: Mapping[str, torch.Tensor]) -> ExportedProgram:
    """Export a module, its batch axis dynamic where the network allows it.

    Args:
        module: In eval mode, on the CPU.
        example: One batch for every input by name; it ran on these.

    Raises:
        LiftError: Its control flow depends on the data, or it calls what cannot be traced.
    """
    try:
        return trace_dynamic(module, example)
    except LiftError:
        # A network that fixes its own batch size still exports with it; any other obstacle shows up again.
        return _export(module, example, {name: {} for name in example})


def trace_dynamic(module: nn.Module, example: Mapping[str, torch.Tensor]) -> ExportedProgram:
    """Export a module with a dynamic batch axis.

    Raises:
        LiftError: It cannot be traced so.
    """
    rows = with_rows(example, _ROWS)
    dim = Dim(BATCH, min=1)
    shared = sharing_the_batch(example)
    return _export(module, rows, {name: {0: dim} if name in shared else {} for name in rows})


def sharing_the_batch(example: Mapping[str, torch.Tensor]) -> set[str]:
    """The inputs whose axis 0 has the size of the first input's: the batch."""
    size = next(iter(example.values())).shape[:1]
    return {name for name, tensor in example.items() if tensor.dim() and tensor.shape[:1] == size}


def with_rows(example: Mapping[str, torch.Tensor], rows: int) -> dict[str, torch.Tensor]:
    """The example cut to a number of rows, or repeated where it has fewer."""
    shared = sharing_the_batch(example)
    return {
        name: tensor[torch.arange(rows) % len(tensor)] if name in shared else tensor
        for name, tensor in example.items()
    }


def _export(
    module: nn.Module, example: Mapping[str, torch.Tensor], shapes: Mapping[str, Any]
) -> ExportedProgram:
    try:
        with quiet():
            program: ExportedProgram = torch.export.export(
                module, (), dict(example), dynamic_shapes=dict(shapes), strict=False
            )
            return without_transforms(program)
    except Exception as error:
        raise LiftError(
            "a network whose operations do not depend on its data",
            f"{essence(error)}{_place(error)}",
            "rewrite that line, or give an ONNX file",
        ) from error


def without_transforms(program: ExportedProgram) -> ExportedProgram:
    """The program with ``torch.vmap`` and its kind carried out: what they call becomes calls for whole batches."""
    targets = (node.target for node in program.graph.nodes if node.op == "call_function")
    if any(getattr(target, "__module__", "").startswith("torch._functorch") for target in targets):
        plain: ExportedProgram = program.run_decompositions({})
        return plain
    return program


def essence(error: BaseException) -> str:
    """The part of a message that says what is wrong, without the stack it may carry."""
    lines = [line.strip() for line in str(error).splitlines()]
    # TorchScript puts the message after its own traceback.
    after = [line.removeprefix("RuntimeError: ") for line in lines if line.startswith("RuntimeError: ")]
    first = next((line for line in after + lines if line), "")
    first = first.split(" (unhinted")[0].removesuffix(".")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _place(error: BaseException) -> str:
    """`` at file:line: code``, the innermost line that is neither torch's nor ours."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((*ours, "<")):
            return f" at {frame.filename}:{frame.lineno}: {frame.line}"
    return ""


def describe(tensor: torch.Tensor) -> str:
    """``float32[8, 3, 32, 32]``."""
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's warnings and log lines, which are about torch and not about the network.

    Standard error too: torch.export prints the graph it had so far there when it fails.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
