"""TorchScript archives, inspected before torch loads them, and traced while their own interpreter runs them."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from compress.errors import LiftError, NetworkError
from compress.network.call_form import CallForm, by_position
from compress.network.example import (
    Axes,
    along,
    arrange,
    cast_floats,
    match_example,
    typed_like,
    varying,
    with_rows,
)
from compress.network.formats.torchscript_code import check_operators, check_portable, check_source, untrusted
from compress.network.formats.torchscript_graph import Run, at
from compress.network.formats.torchscript_members import members
from compress.network.formats.torchscript_tensors import check_tensors
from compress.network.formats.zip_archive import ZipArchive
from compress.network.lifting.calls import in_training, place
from compress.network.lifting.dynamic_batch import merge_batches, with_names
from compress.network.lifting.graph import output_names, plain_graph, results_of
from compress.network.single_sample import as_arrays, takes_one_sample
from compress.network.tracing import (
    Reference,
    Traced,
    essence,
    export,
    quiet,
    reference_of,
    run,
    trace,
    trace_module,
)

if TYPE_CHECKING:
    from compress.network.network import Example

_PLAIN_PATH = re.compile(r"[\w.:/ -]*")


def read_torchscript(path: Path, *, trust_pickle: bool = False) -> torch.jit.ScriptModule:
    """Read the module in a TorchScript archive, in eval mode on the CPU.

    torch reads a copy that holds only the inspected content.

    Raises:
        NetworkError: The archive is damaged, or torch cannot read it.
        UntrustedFileError: Its code writes or maps files.
        LiftError: Its code calls custom operators or classes.
    """
    copy = io.BytesIO()
    with ZipArchive(path) as archive, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as written:
        for name, content in members(archive):
            if name.endswith(".py"):
                check_source(path, content, trust_pickle=trust_pickle)
            written.writestr(f"archive/{name}", content)
        check_tensors(archive)
    copy.seek(0)
    try:
        with quiet():
            module: torch.jit.ScriptModule = torch.jit.load(copy, map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:
        raise NetworkError(
            f"a TorchScript file that torch {torch.__version__} reads",
            f"{path}: {essence(error)}",
            "save it again with this torch",
        ) from error
    for name in (*dict(module.named_parameters()), *dict(module.named_buffers())):
        if not trust_pickle and not _PLAIN_PATH.fullmatch(name):  # names become part of generated source
            raise untrusted(f"the name {name[:80]!r} in {path}")
    if not trust_pickle:
        check_operators(path, module)
    return module.eval()


def trace_torchscript(
    module: torch.jit.ScriptModule,
    example: Example,
    given_axes: Axes | None = None,
    other: Example | None = None,
) -> Traced:
    """Trace a TorchScript module.

    Args:
        module: Module in eval mode.
        example: Samples of real inputs along axis 0, by name or in order; the module may take them along another axis.
        given_axes: Axis of each input that counts samples, as the user names it; see
            :func:`compress.network.tracing.trace_module`.
        other: Samples of another height, width or length; None for none.

    Raises:
        DataError: The example does not name the module's inputs.
        NetworkError: The module does not run on the example.
        LiftError: Its control flow depends on the data, or it calls what cannot be traced.
    """
    placed = run_on_example(module, example, given_axes)
    called, schema, bound, axes = placed.called, placed.schema, placed.inputs, placed.axes
    if placed.single:
        return trace_module(
            _for_one_sample(module, schema, placed.samples), as_arrays(placed.samples), None, other
        )
    arguments = {argument.name: bound.get(argument.name, argument.default_value) for argument in schema}
    with torch.no_grad(), quiet():
        result = called(**{name: tensor.clone() for name, tensor in bound.items()})
    positional = by_position([argument.name for argument in schema if not argument.kwarg_only], list(bound))
    form = CallForm.of_call(positional, [name for name in bound if name not in positional], result)
    further: tuple[dict[str, torch.Tensor], ...] = ()
    if other is not None:
        further = (along(typed_like(match_example(other, *_tensors(schema)), bound), axes),)
    program = _program(module, arguments, bound, axes, varying(bound, further, axes))
    return Traced(program, bound, placed.reference, axes=axes, form=form, others=further)


class Placed(NamedTuple):
    """A module with the inputs that it ran on.

    Attributes:
        called: Module, called by the names of its inputs.
        schema: Schema of the arguments of its ``forward``.
        reference: Function of positional tensors that computes the module.
        samples: Samples by input name, along axis 0, in the module's precision.
        inputs: Samples along the axes that the module takes them along.
        axes: Axis that counts samples, for inputs where it is not axis 0.
        single: Whether it takes one sample, without an axis that counts samples.
    """

    called: Callable[..., Any]
    schema: Sequence[Any]
    reference: Reference
    samples: dict[str, torch.Tensor]
    inputs: dict[str, torch.Tensor]
    axes: Axes
    single: bool


def run_on_example(
    module: torch.jit.ScriptModule, example: Example, given_axes: Axes | None = None
) -> Placed:
    """Run a module on samples, as it takes them; see :func:`trace_torchscript` for arguments and errors."""
    check_portable(module)
    forward: Any = module.forward
    schema = forward.schema.arguments[1:]
    names, required = _tensors(schema)
    others = [
        f"'{argument.name}: {argument.type}'"
        for argument in schema
        if argument.name in required and argument.name not in names
    ]
    if others:
        lists = any("Tensor" in str(argument.type) for argument in schema if argument.name in required)
        todo = "script it with defaults for them, or export it as ONNX"
        if lists:
            todo = (
                "script a module around it whose forward takes the tensors one by one, and puts them together"
            )
        raise LiftError("a network whose inputs are all tensors", f"{', '.join(others)} of forward()", todo)
    tensors = match_example(example, names, required)
    called = _by_position(module, schema)
    reference = reference_of(called, list(tensors))
    samples = cast_floats(tensors, module, partial(run, reference))
    inputs, axes = arrange(partial(run, reference), samples, given_axes)
    single = takes_one_sample(partial(run, reference), inputs, samples)
    return Placed(called, schema, reference, samples, inputs, axes, single)


def _tensors(schema: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Return the arguments that are tensors, and those that have to be given."""
    names = [argument.name for argument in schema if str(argument.type) in ("Tensor", "Optional[Tensor]")]
    return names, [argument.name for argument in schema if not argument.has_default_value()]


def _for_one_sample(
    module: torch.jit.ScriptModule, schema: Sequence[Any], samples: Mapping[str, torch.Tensor]
) -> nn.Module:
    """Place a module that takes one sample, without an axis for it, on the first sample."""
    first = {name: tensor[0] for name, tensor in samples.items()}
    arguments = {argument.name: first.get(argument.name, argument.default_value) for argument in schema}
    try:
        program = export(Run(module, arguments).as_module(list(first)), first, {name: {} for name in first})
        return plain_graph(_in_inference(program))
    except LiftError:
        return with_names(_watched(_Interpreted(module, arguments), first), module)


def _by_position(module: torch.jit.ScriptModule, schema: Sequence[Any]) -> Callable[..., Any]:
    """Return the module called with all arguments by position, since its hooks get no others."""

    def called(**tensors: torch.Tensor) -> Any:
        values = {argument.name: tensors.get(argument.name, argument.default_value) for argument in schema}
        named = {argument.name: values.pop(argument.name) for argument in schema if argument.kwarg_only}
        return module(*values.values(), **named)

    return called


def _program(
    module: torch.jit.ScriptModule,
    arguments: dict[str, Any],
    bound: dict[str, torch.Tensor],
    axes: Axes,
    varies: Mapping[str, Collection[int]],
) -> ExportedProgram:
    """Return the module's program; TorchScript's own interpreter runs it where ours lacks an operator."""
    run = Run(module, arguments)
    try:
        program = trace(run.as_module(list(bound)), bound, axes, varies)
    except LiftError as error:
        if run.refused is not None:
            raise run.refused from error
        cause = essence(error.__cause__ or error)
        todo = "rewrite that line, or export the network with torch.export or as ONNX"
        if "NestedTensor" in cause:  # the path of torch.nn.TransformerEncoder for padding that is at the end
            cause = "a nested tensor, which torch.nn.TransformerEncoder makes of a padding mask,"
            todo = "make it with nn.TransformerEncoder(..., enable_nested_tensor=False), and trace it again"
        wanted = "TorchScript whose operations do not depend on its data"
        refusal = LiftError(wanted, f"{cause}{at(run.at)}", todo)
    else:
        return _in_inference(program)
    try:
        graph = _graph(_Interpreted(module, arguments), bound, axes)
        return trace(with_names(graph, module), bound, axes)
    except LiftError:
        raise refusal from None


def _in_inference(program: ExportedProgram) -> ExportedProgram:
    """Return the program; refuse one traced in training mode, which ``eval()`` does not undo."""
    node = in_training(program.graph)
    if node is None:
        return program
    raise LiftError(
        "TorchScript traced in inference mode",
        f"'{getattr(node.target, '__name__', node.target)}' in training mode{place(node)}",
        "call eval() on the network, and trace and save it again",
    )


def _graph(interpreted: nn.Module, example: dict[str, torch.Tensor], axes: Axes) -> fx.GraphModule:
    """Return the module's operations, with sizes computed from the batch where they follow it, else fixed."""
    try:
        two, three = (_watched(interpreted, with_rows(example, rows, axes)) for rows in (2, 3))
        axis = axes.get(next(iter(example)), 0)
        return merge_batches(two, three, sizes=(2, 3), axis=axis) or _watched(interpreted, example)
    except LiftError:
        return _watched(interpreted, example)  # it may not run with other batch sizes


def _watched(interpreted: nn.Module, example: dict[str, torch.Tensor]) -> fx.GraphModule:
    """Record TorchScript's own interpreter on one batch; every size is fixed, and ``prim::If`` is decided.

    A decision that depends on data is refused. torch also has a converter from TorchScript to exported programs;
    it knows only some forms of ``prim::If`` and ``prim::Loop``, the interpreter knows them all. It runs without its
    own fusions, which torch.export could not see into.
    """
    try:
        with quiet(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            program = torch.export.export(interpreted, (), example, strict=False)
    except Exception as error:
        raise LiftError(
            "TorchScript whose operations do not depend on its data",
            f"{essence(error)}{_place(str(error))}",
            "rewrite that line, or export the network with torch.export or as ONNX",
        ) from error
    graph_module = plain_graph(program)
    output = graph_module.graph.output_node()
    names = output_names(program, taken=set(example))
    output.args = (dict(zip(names, results_of(output), strict=True)),)
    return graph_module


class _Interpreted(nn.Module):
    """A TorchScript module that torch.export takes for an ordinary one."""

    def __init__(self, module: torch.jit.ScriptModule, arguments: dict[str, Any]) -> None:
        super().__init__()
        hooked = module._c._get_forward_hooks() or module._c._get_forward_pre_hooks()
        run = module.__call__ if hooked else module._c._get_method("forward")

        def forward(**inputs: torch.Tensor) -> Any:
            return run(*(arguments | inputs).values())

        self.forward = forward


def _place(message: str) -> str:
    """Return `` at file:line`` of the scripted source, if the archive still records it."""
    places = re.findall(r'File "([^"<]+)", line (\d+)', message)
    return f" at {places[-1][0]}:{places[-1][1]}" if places else ""
