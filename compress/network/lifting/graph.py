"""Lifting of an exported program to a graph of ``nn.Module`` calls that trains, prunes and exports again.

``torch.export`` leaves a graph of aten calls whose weights are plain attributes: it refuses ``train()``, its
batch norms are frozen in the mode they were traced in, and no layer can be replaced by one of another width.
Here every convolution, linear layer, norm, embedding, dropout and recurrent layer becomes the ``nn.Module``
it was, under its own path and with its own parameters. What is left are calls without weights, and the few
that use weights in another way. The graph takes positional tensors and returns one tensor, or a tuple of them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import fx
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from compress.core.tensor_spec import BATCH, TensorSpec
from compress.errors import CompressError, LiftError
from compress.network.call_form import own_names
from compress.network.equivalence import (
    agree,
    noise_like,
    rows_of,
)
from compress.network.example import sharing_the_batch, with_rows
from compress.network.lifting.calls import (
    aten,
    drop_unused,
    place,
    refuse,
    set_inference,
    without_in_place,
)
from compress.network.lifting.device import LiftedGraph
from compress.network.lifting.folding import fold_weights
from compress.network.lifting.fused_attention import write_out_attention
from compress.network.lifting.open_lengths import with_open_time
from compress.network.lifting.recomposition import compose
from compress.network.lifting.to_modules import Found, lift_call
from compress.network.lifting.verification import verified
from compress.network.lifting.written_operators import inlined, write_out
from compress.network.tracing import Traced, export, run, trace_dynamic


class Lifted(NamedTuple):
    """A trainable graph in eval mode, with the specs of its inputs and outputs."""

    graph: fx.GraphModule
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def lift(traced: Traced) -> Lifted:
    """Lift a traced network and verify that it computes the same.

    A network that was saved with a fixed batch size gets a dynamic one where every row comes out as before.

    Raises:
        LiftError: The network takes or returns other values than tensors, has control flow over tensors or
            custom operators, keeps state between calls, or is random in inference.
        InternalError: The lifted graph does not compute what the network computes.
    """
    example = tuple(traced.example.values())
    axes = [traced.axes.get(name, 0) for name in traced.example]
    lifted = _lift(traced.program, example, axes, traced.settings)
    if not any(spec.dynamic_batch for spec in lifted.inputs):
        freed = _with_dynamic_batch(lifted, traced)
        if freed is None and traced.alone is not None:
            with suppress(
                CompressError
            ):  # one sample at a time serves any number of them; two at a time do not
                return lift(traced.alone())
        lifted = freed or lifted
    return with_open_time(verified(lifted, traced), traced)


def _with_dynamic_batch(fixed: Lifted, traced: Traced) -> Lifted | None:
    """Return the graph with a dynamic batch; None where its rows differ from those of fixed batches."""
    names = [spec.name for spec in fixed.inputs]
    example = dict(zip(names, traced.example.values(), strict=True))
    axes = [traced.axes.get(name, 0) for name in traced.example]
    by_name = dict(zip(names, axes, strict=True))
    if sharing_the_batch(example, by_name) != set(names):
        return None
    size = rows_of(next(iter(example.values())), axes[0])
    try:
        program = _with_open_axes(fixed, example, by_name)
        freed = _lift(program, list(with_rows(example, 2, by_name).values()), axes)
    except LiftError:
        return None
    if not all(spec.dynamic_batch for spec in (*freed.inputs, *freed.outputs)):
        return None
    batches = [
        [
            noise_like(tensor, size, seed + part, axis)
            for seed, (tensor, axis) in enumerate(zip(example.values(), axes, strict=True))
        ]
        for part in (0, 99)
    ]
    expected = [run(traced.reference, dict(zip(traced.example, batch, strict=True))) for batch in batches]
    joined = _joined(batches, axes)
    if not agree(freed.graph, joined, _joined(expected, [spec.batch_axis for spec in freed.outputs])):
        return None
    if not traced.fixed:
        try:
            verified(freed, traced)
        except CompressError:
            return None
    return freed._replace(
        outputs=tuple(
            TensorSpec(named.name, spec.dtype, spec.shape)
            for named, spec in zip(fixed.outputs, freed.outputs, strict=True)
        )
    )


def _joined(batches: Sequence[Sequence[torch.Tensor]], axes: Sequence[int]) -> list[torch.Tensor]:
    """Join several batches into one, tensor by tensor."""
    return [torch.cat(parts, axis) for parts, axis in zip(zip(*batches, strict=True), axes, strict=True)]


def _with_open_axes(
    fixed: Lifted, example: Mapping[str, torch.Tensor], counts: Mapping[str, int]
) -> ExportedProgram:
    """Return the graph traced with a dynamic batch; other open axes stay open.

    Args:
        fixed: Graph with fixed sizes.
        example: One batch of every input, by name.
        counts: Axis that counts samples, by input name.

    Raises:
        LiftError: The network cannot be traced so.
    """
    open_axes = {
        spec.name: {
            axis: Dim.AUTO
            for axis, size in enumerate(spec.shape)
            if axis != counts[spec.name] and isinstance(size, str)
        }
        for spec in fixed.inputs
    }
    if not any(open_axes.values()):
        return trace_dynamic(fixed.graph, example, counts)
    batch = Dim(BATCH, min=1)
    shapes = {name: {counts[name]: batch, **axes} for name, axes in open_axes.items()}
    return export(fixed.graph, with_rows(example, 2, counts), shapes)


def _lift(
    program: ExportedProgram,
    example: Sequence[torch.Tensor],
    axes: Sequence[int],
    settings: Mapping[str, str] | None = None,
) -> Lifted:
    source = plain_graph(program, settings)
    inputs, outputs = _interface(program, source.graph, axes)
    without_in_place(source, example)
    write_out_attention(source.graph)
    compose(source.graph)
    fold_weights(source)
    return Lifted(_with_modules(source), inputs, outputs)


def plain_graph(program: ExportedProgram, settings: Mapping[str, str] | None = None) -> fx.GraphModule:
    """Return the program as a plain graph of aten calls in inference mode: positional tensors in, tensors out.

    Args:
        program: Traced program.
        settings: Next steps by the network's settings; see :attr:`compress.network.tracing.Traced.settings`.

    Raises:
        LiftError: The program cannot be lifted, or takes or returns other values than tensors.
    """
    exported = inlined(program)
    graph = exported.graph
    write_out(exported)
    refuse(graph, settings)
    set_inference(graph)
    output = graph.output_node()
    tensors = [value for value in results_of(output) if _is_tensor(value)]
    if not tensors:
        raise LiftError("a network that returns tensors", f"{output.args[0]}", "return at least one tensor")
    _refuse_complex([*graph.find_nodes(op="placeholder"), *tensors])
    tensors = [_copied(value) if value.op == "get_attr" else value for value in tensors]
    output.args = (tensors[0] if len(tensors) == 1 else tuple(tensors),)
    module_names = own_names(program)
    for placeholder in graph.find_nodes(op="placeholder"):
        placeholder.target = module_names.get(str(placeholder.target), placeholder.target)
        if _is_tensor(placeholder):
            continue
        if placeholder.users:
            raise LiftError(
                "a network whose inputs are all tensors",
                f"the input '{placeholder.target}', which is not one",
                "give it a default, or wrap the network in a module that sets it",
            )
        graph.erase_node(placeholder)
    # A new GraphModule: the exported one refuses train() and eval().
    return fx.GraphModule(exported, graph)


def _copied(constant: fx.Node) -> fx.Node:
    """Return a copy, without gradient, of a parameter that the network returns."""
    graph = constant.graph
    with graph.inserting_before(graph.output_node()):
        copied = graph.call_function(aten.clone.default, (constant,))
    copied.meta = dict(constant.meta)
    return copied


def _refuse_complex(values: Sequence[fx.Node]) -> None:
    for node in values:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and value.is_complex():
            what = "input" if node.op == "placeholder" else "output"
            raise LiftError(
                "a network that takes and returns real numbers",
                f"the {what} '{node.name}' in {str(value.dtype).removeprefix('torch.')}{place(node)}",
                f"let its {what} be torch.view_as_real of it: real and imaginary part on a last axis",
            )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, fx.Node) and isinstance(value.meta.get("val"), torch.Tensor)


def results_of(output: fx.Node) -> tuple[Any, ...]:
    """Return a graph's results as a tuple."""
    returned = output.args[0]
    return tuple(returned) if isinstance(returned, list | tuple) else (returned,)


# --- inputs and outputs -------------------------------------------------------------------------------------


def _interface(
    program: ExportedProgram, graph: fx.Graph, axes: Sequence[int]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    placeholders = graph.find_nodes(op="placeholder")
    values = [node.meta["val"] for node in placeholders]
    batch = {
        str(value.shape[axis])
        for value, axis in zip(values, axes, strict=True)
        if value.dim() > axis and not isinstance(value.shape[axis], int)
    }
    inputs = tuple(
        _spec(str(node.target), value, batch) for node, value in zip(placeholders, values, strict=True)
    )
    results = results_of(graph.output_node())
    names = output_names(program, {spec.name for spec in inputs})
    outputs = tuple(_spec(name, node.meta["val"], batch) for name, node in zip(names, results, strict=True))
    return inputs, outputs


def output_names(program: ExportedProgram, taken: set[str]) -> list[str]:
    """Return output names: ``logits`` for an entry of a dict, ``output`` for the only tensor, else ``output_0`` …."""
    returned = results_of(program.graph.output_node())[-len(program.graph_signature.user_outputs) :]
    out_spec = program.call_spec.out_spec
    if out_spec is None:
        return [f"output_{index}" for index, value in enumerate(returned) if _is_tensor(value)]
    tree = pytree.tree_unflatten(list(returned), out_spec)
    paths = [path for path, value in pytree.tree_leaves_with_path(tree) if _is_tensor(value)]
    names: list[str] = []
    for path in paths:
        keys = [getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", ""))) for entry in path]
        name = re.sub(r"\W", "_", "_".join(map(str, keys)))
        if not name or name[0].isdigit():
            name = "output" if len(paths) == 1 else f"output_{name or len(names)}"
        while name in taken:
            name += "_"
        taken.add(name)
        names.append(name)
    return names


def _spec(name: str, value: torch.Tensor, batch: set[str]) -> TensorSpec:
    return TensorSpec(
        name, str(value.dtype).removeprefix("torch."), tuple(_axis(size, batch) for size in value.shape)
    )


def _axis(size: int | torch.SymInt, batch: set[str]) -> int | str:
    """Return a fixed size, ``batch``, or for another dynamic axis the exporter's expression, such as ``4*batch``."""
    if isinstance(size, int):
        return size
    return re.sub(r"\bs\d+\b", lambda match: BATCH if match[0] in batch else match[0], str(size))


# --- calls to modules ---------------------------------------------------------------------------------------


def _with_modules(source: fx.GraphModule) -> fx.GraphModule:
    graph = source.graph
    constants = _constants(source)
    attributes: dict[str, Any] = {}
    paths: dict[Any, str] = {}
    for node in list(graph.nodes):
        lifted_call = lift_call(node, constants) if node.op == "call_function" else None
        if lifted_call is None:
            continue
        key = _identity(lifted_call)
        if key not in paths:
            paths[key] = _path(node, lifted_call, names_taken=attributes)
            attributes[paths[key]] = lifted_call.module
        _replace(graph, node, lifted_call, paths[key])
    drop_unused(graph)
    for node in graph.find_nodes(op="get_attr"):
        tensor = constants[str(node.target)]
        owner, _, name = str(node.target).rpartition(".")
        layer = attributes.get(owner)
        if isinstance(layer, torch.nn.Module) and layer._parameters.get(name, tensor) is None:
            # The layer computes without it: held under this name it would be computed with twice.
            node.target = _free(f"{owner}_{name}", attributes)
        attributes[str(node.target)] = tensor
    lifted = LiftedGraph(attributes, graph, class_name="LiftedGraph").eval()
    lifted.graph.lint()
    return lifted


def _free(name: str, names_taken: Mapping[str, Any]) -> str:
    """Return the name, or a similar unused one."""
    while name in names_taken:
        name += "_"
    return name


def _constants(source: fx.GraphModule) -> dict[str, torch.Tensor]:
    """Return every tensor the graph reads, by target; two names of one tied parameter give one object."""
    named = {
        **dict(source.named_buffers(remove_duplicate=False)),
        **dict(source.named_parameters(remove_duplicate=False)),
    }
    for node in source.graph.find_nodes(op="get_attr"):
        value: Any = source
        for name in str(node.target).split("."):
            value = getattr(value, name)
        named[str(node.target)] = value
    first: dict[Any, torch.Tensor] = {}
    for name, tensor in named.items():
        if isinstance(tensor, torch.Tensor) and tensor.numel():
            layout = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
            named[name] = first.setdefault(layout, tensor)
    return named


def _identity(lifted: Found) -> Any:
    """Return an identity that is equal for two calls of one module: the same settings on the same tensors."""
    tensors = tuple(id(tensor) for tensor in (*lifted.module.parameters(), *lifted.module.buffers()))
    return (type(lifted.module), repr(lifted.module), tensors) if lifted.weight is not None else object()


def _path(node: fx.Node, lifted: Found, names_taken: dict[str, Any]) -> str:
    """Return the module's path in the source: as traced, else from its weight's name, else the node's name."""
    candidates = []
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if stack:
        path, kind = stack[-1][0], str(stack[-1][1])
        if kind.rpartition(".")[2].strip("'>") == type(lifted.module).__name__:
            candidates.append(re.sub(r"@\d+$", "", path))
    if lifted.weight is not None:
        name = str(lifted.weight.target)
        owner = re.sub(r"[._](weight|weight_ih_l0|running_mean)$", "", name)
        candidates.append(owner if owner != name else ".".join([*name.split(".")[:-1], node.name]))
    candidates.append(node.name)
    for candidate in candidates:
        if re.fullmatch(r"\w+(\.\w+)*", candidate) and candidate not in names_taken:
            return candidate
    return f"{node.name}_{len(names_taken)}"


def _replace(graph: fx.Graph, node: fx.Node, lifted: Found, path: str) -> None:
    with graph.inserting_before(node):
        call = graph.create_node("call_module", path, lifted.inputs)
        call.meta = dict(node.meta)
        if lifted.unpack:
            for use in list(node.users):
                index: Any = use.args[1]
                if index == 0:
                    continue
                # aten.lstm returns (output, h, c), nn.LSTM (output, (h, c)).
                with graph.inserting_before(use):
                    states = graph.call_function(operator.getitem, (call, 1))
                    state = graph.call_function(operator.getitem, (states, index - 1))
                state.meta = dict(use.meta)
                use.replace_all_uses_with(state)
                graph.erase_node(use)
    node.replace_all_uses_with(call)
    graph.erase_node(node)
