"""Tracing of a module on one batch of inputs to an exported program with a dynamic batch axis."""

from __future__ import annotations

import inspect
import io
import logging
import re
import traceback
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from compress.core.tensor_spec import BATCH
from compress.errors import CompressError, LiftError, NetworkError
from compress.network.bounded_embeddings import bound_embeddings
from compress.network.call_form import CallForm, by_position
from compress.network.custom_operators import first_called, settings_of
from compress.network.example import (
    Axes,
    along,
    arrange,
    bind_example,
    cast_floats,
    sharing_the_batch,
    typed_like,
    varying,
    with_rows,
)
from compress.network.returned_containers import return_plain_outputs
from compress.network.single_sample import takes_one_sample, with_sample_axis

if TYPE_CHECKING:
    from compress.network.network import Example

_ROWS = 2  # an axis of size 1 would count as a constant that broadcasts

#: Positional tensors in, tensors out: the network as it was given, to compare with.
Reference = Callable[..., tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Traced:
    """A network on its way to the lifted graph.

    Attributes:
        program: Exported program of its operations.
        example: One batch of every input, by name, in the program's order.
        reference: Original network, in inference mode.
        fixed: Whether the reference computes only for the example's batch size; others may fail or be wrong.
        axes: Axis that counts samples, for inputs where it is not axis 0.
        form: Form in which it is called and returns; None where unknown.
        others: Batches of another height, width or length than the example.
        settings: Next step for a custom operator by the settings of its part of the network, by the part's path.
        single: Whether the network takes one sample without an axis for it; the reference has one, of size 1.
        alone: Function that traces it with one sample, for networks that fix their number; None where it cannot be
            traced again.
    """

    program: ExportedProgram
    example: dict[str, torch.Tensor]
    reference: Reference
    fixed: bool = False
    axes: Axes = field(default_factory=dict)
    form: CallForm | None = None
    others: tuple[dict[str, torch.Tensor], ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    single: bool = False
    alone: Callable[[], Traced] | None = None


def trace_module(
    module: nn.Module, example: Example, given_axes: Axes | None = None, other: Example | None = None
) -> Traced:
    """Trace a module that the caller no longer needs as it was: it ends up in eval mode on the CPU.

    Args:
        module: Module of the network.
        example: Samples of real inputs along axis 0, by name or in order; the module may take them along another.
        given_axes: Axis of each input that counts samples, as the user names it, by the input's name; ``""`` stands for
            all others. None finds them.
        other: Samples of another height, width or length; None for none.

    Raises:
        DataError: The example does not name the module's inputs.
        NetworkError: The module does not run on the example.
        LiftError: Its control flow depends on the data, or it calls what cannot be traced.
    """
    module.cpu().eval()
    bound_embeddings(module)
    signature = module.forward
    tensors = bind_example(example, signature)
    return_plain_outputs(module)
    reference = reference_of(module, list(tensors))
    bound = cast_floats(tensors, module, partial(run, reference))
    arranged, axes = arrange(partial(run, reference), bound, given_axes)
    single = takes_one_sample(partial(run, reference), arranged, bound)
    if single:
        with_sample_axis(module)
        arranged, axes = {name: tensor[:1] for name, tensor in bound.items()}, {}
    others = () if other is None else (along(typed_like(bind_example(other, signature), bound), axes),)
    program = _program(module, arranged, axes, varying(arranged, others, axes))
    form = CallForm.of_program(program)
    if form is not None:
        form = form.called(_by_position(module.forward, bound)).with_plain_results()
    traced = Traced(
        program,
        arranged,
        reference,
        fixed=single,
        axes=axes,
        form=form,
        others=others,
        settings=settings_of(module),
        single=single,
    )
    return traced if single else replace(traced, alone=partial(_traced_alone, module, traced))


def _traced_alone(module: nn.Module, traced: Traced) -> Traced:
    """Trace the network with one sample.

    Raises:
        NetworkError: The network does not run on one sample.
        LiftError: The network cannot be traced so.
    """
    example = with_rows(traced.example, 1, traced.axes)
    alone, together = run(traced.reference, example), run(traced.reference, traced.example)
    if not all(_is_first_of(one, several) for one, several in zip(alone, together, strict=True)):
        raise LiftError(
            "a network that gives for one sample what it gives for it among others",
            "another result",
            "rewrite it for any number of samples",
        )
    program = _program(module, example, traced.axes, varying(example, traced.others, traced.axes))
    return replace(traced, program=program, example=example, alone=None)


def _is_first_of(alone: torch.Tensor, together: torch.Tensor) -> bool:
    """Whether a result is that of the first of several samples, along any axis."""
    return any(
        alone.shape == (first := together.narrow(axis, 0, 1)).shape
        and torch.allclose(alone.double(), first.double(), rtol=1e-3, atol=1e-4, equal_nan=True)
        for axis in range(together.dim())
        if together.shape[axis]
    )


def _program(
    module: nn.Module,
    example: Mapping[str, torch.Tensor],
    axes: Axes,
    varies: Mapping[str, Collection[int]],
) -> ExportedProgram:
    """Return a module's program by its calls, or where torch.export refuses these, by single operators."""
    from compress.network.traced_operators import traced_by_operator

    try:
        return trace(module, example, axes, varies)
    except LiftError as error:
        refusal = first_called(module, example) or error
        try:
            with quiet():
                return trace(traced_by_operator(module, example, axes), example, axes)
        except LiftError:
            raise refusal from error


def _by_position(forward: Callable[..., Any], tensor_names: Iterable[str]) -> list[str]:
    """Return which of the given arguments are positional."""
    parameters = inspect.signature(forward).parameters.values()
    return by_position(
        [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD],
        list(tensor_names),
    )


def check_finite(module: nn.Module, where: str) -> None:
    """Refuse weights that are not numbers.

    Raises:
        NetworkError: A parameter or buffer has NaN, or a parameter is infinite; the error names it. A buffer may hold
            infinity, as an attention's mask does.
    """
    refuse_not_finite(((name, parameter, True) for name, parameter in module.named_parameters()), where)
    refuse_not_finite(((name, buffer, False) for name, buffer in module.named_buffers()), where)


def refuse_not_finite(tensors: Iterable[tuple[str, torch.Tensor, bool]], where: str) -> None:
    """Refuse tensors as :func:`check_finite` does, given by name and whether each is a parameter."""
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
    """Return the module as a function of positional tensors that returns its tensors in order."""

    def reference(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result = module(**dict(zip(names, tensors, strict=True)))
        return tuple(leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor))

    return reference


def run(
    reference: Reference, example: Mapping[str, torch.Tensor], *, gradients: bool = False
) -> tuple[torch.Tensor, ...]:
    """Return the network's outputs for one batch.

    Args:
        reference: Network to run.
        example: Batch to run it on.
        gradients: Whether to run it as in training, where some of torch's layers take another path.

    Raises:
        NetworkError: The network does not run on these inputs, or returns no tensor.
    """
    try:
        with torch.set_grad_enabled(gradients), quiet():
            # Copies, because a network may write into its inputs.
            outputs = tuple(
                tensor.detach() for tensor in reference(*(argument.clone() for argument in example.values()))
            )
    except CompressError:
        raise
    except Exception as error:
        arguments = ", ".join(f"{name} {describe(tensor)}" for name, tensor in example.items())
        raise NetworkError(
            "inputs the network takes",
            f"{arguments}, on which it fails: {essence(error)}",
            "check the shape and the dtype of the data (--data, --shape), and --batch-axis where it is given",
        ) from error
    if not outputs:
        raise NetworkError("a network that returns tensors", "none in what it returns", "return a tensor")
    return outputs


def trace(
    module: nn.Module,
    example: Mapping[str, torch.Tensor],
    axes: Axes | None = None,
    varies: Mapping[str, Collection[int]] | None = None,
) -> ExportedProgram:
    """Export a module, its batch axis dynamic where the network allows it.

    Args:
        module: Module in eval mode, on the CPU.
        example: One batch of every input by name, which it ran on.
        axes: Axis that counts samples, for inputs where it is not axis 0.
        varies: Further axes that are open where the network allows it, by input name.

    Raises:
        LiftError: Its control flow depends on the data, or it calls what cannot be traced.
    """
    if varies:
        try:
            return trace_dynamic(module, example, axes, varies)
        except LiftError:
            pass  # written for one height, width or length
    try:
        return trace_dynamic(module, example, axes)
    except LiftError:
        # A network that fixes its own batch size still exports with it; any other obstacle shows up again.
        if varies:
            try:
                return export(module, example, {name: _open(varies.get(name, ())) for name in example})
            except LiftError:
                pass  # written for one size and one number of samples
        return export(module, example, {name: {} for name in example})


def trace_dynamic(
    module: nn.Module,
    example: Mapping[str, torch.Tensor],
    axes: Axes | None = None,
    varies: Mapping[str, Collection[int]] | None = None,
) -> ExportedProgram:
    """Export a module with a dynamic batch axis, and others that are left open where nothing fixes them.

    Raises:
        LiftError: The network cannot be traced so.
    """
    axes = axes or {}
    rows = with_rows(example, _ROWS, axes)
    shared = sharing_the_batch(example, axes)
    dim = Dim(BATCH, min=1)
    free = {name: _open(numbers) for name, numbers in (varies or {}).items()}
    return export(
        module,
        rows,
        {
            name: {**free.get(name, {}), **({axes.get(name, 0): dim} if name in shared else {})}
            for name in rows
        },
    )


def _open(numbers: Iterable[int]) -> dict[int, Any]:
    """Return the axes that are open where nothing fixes them."""
    return dict.fromkeys(numbers, Dim.AUTO)


def export(
    module: nn.Module, example: Mapping[str, torch.Tensor], shapes: Mapping[str, Any]
) -> ExportedProgram:
    """Export a module with these axes dynamic, by input name and number.

    Raises:
        LiftError: The network cannot be traced so.
    """
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
    """Return the program with ``torch.vmap`` and similar expanded to calls for whole batches."""
    targets = (node.target for node in program.graph.nodes if node.op == "call_function")
    if any(getattr(target, "__module__", "").startswith("torch._functorch") for target in targets):
        plain: ExportedProgram = program.run_decompositions({})
        return plain
    return program


def essence(error: BaseException) -> str:
    """Return the part of a message that says what is wrong, without its stack."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # colours of a terminal
    lines = [line.strip() for line in text.splitlines()]
    # TorchScript puts the message after its own traceback.
    after = [line.removeprefix("RuntimeError: ") for line in lines if line.startswith("RuntimeError: ")]
    first = next((line for line in after + lines if line), "")
    first = first.split(" (unhinted")[0].removesuffix(".")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _place(error: BaseException) -> str:
    """Return `` at file:line: code`` of the innermost line of the user's code."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((*ours, "<")):
            return f" at {frame.filename}:{frame.lineno}: {frame.line}"
    return ""


def describe(tensor: torch.Tensor) -> str:
    """Describe a tensor: ``float32[8, 3, 32, 32]``."""
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


class _DetachedCopies(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            memo[id(tensor)] = copied = tensor.detach().clone()
            return copied
        return func(*args, **(kwargs or {}))


def detached_copies() -> TorchFunctionMode:
    """Make ``copy.deepcopy`` copy computed tensors without their gradients' graph inside the block.

    torch refuses to copy those that have a gradient: a weight that a hook computes before every call (weight norm,
    pruning), or what a module keeps of its last one.
    """
    return _DetachedCopies()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's warnings and log lines inside the block, which are not about the network.

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
