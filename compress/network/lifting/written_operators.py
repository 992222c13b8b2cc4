"""Writing of other libraries' operators as PyTorch's own, by the functions of ``compress.operators``.

A function is traced, and its calls take the place of the operator: so lifting, pruning, training, the ONNX file and
every rule of lint know what it does. Lifting compares the graph with the network, and so the function with the
operator.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from compress.core.registry import Entry
from compress.core.user_code import users_code
from compress.errors import CompressError, LiftError
from compress.network.custom_operators import KNOWN_NAMESPACES
from compress.network.described_operators import DESCRIBED_OPERATORS
from compress.network.equivalence import close, difference
from compress.network.lifting.calls import bind, inline_blocks
from compress.network.tracing import quiet


def write_out(module: fx.GraphModule) -> None:
    """Replace every call of an operator that a package describes by the calls of its function.

    Raises:
        LiftError: The function fails, or returns another number of tensors than the operator, or tensors of another
            shape or type.
    """
    for node in list(module.graph.nodes):
        entry = _described(node)
        if entry is not None:
            _replace(module, node, _traced(node, entry, DESCRIBED_OPERATORS.load(entry.name)))


def inlined(program: ExportedProgram) -> fx.GraphModule:
    """Return a traced program as a graph that takes its inputs by position, with no graphs inside of it.

    Raises:
        LiftError: A block computes in another precision.
    """
    with quiet():
        module = program.module(check_guards=False)
    module.graph.set_codegen(fx.graph.CodeGen())
    inline_blocks(module)
    return module


def wrongly_described(program: ExportedProgram, inputs: Sequence[torch.Tensor]) -> LiftError | None:
    """Return the error for the first operator whose function computes something else; None where none does.

    Each operator and its function are run on what arrives at the operator in the network.

    Args:
        program: The traced network, with the operators.
        inputs: Tensors for its inputs, in order.
    """
    module = inlined(program)
    tensors = iter(inputs)
    fed = [
        next(tensors).clone() if isinstance(placeholder.meta.get("val"), torch.Tensor) else None
        for placeholder in module.graph.find_nodes(op="placeholder")
    ]
    check = _Comparison(module)
    with (
        torch.no_grad(),
        suppress(Exception),
    ):  # a program that was traced with a fixed batch may not take another
        check.run(*fed)
    return check.wrong


class _Comparison(fx.Interpreter):
    """Runs a graph, and each described operator's function beside the operator.

    Attributes:
        wrong: The error for the first function that gives something else than its operator; None before there is one.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.wrong: LiftError | None = None

    def run_node(self, n: fx.Node) -> Any:
        """Run one call; the name of the argument is torch's."""
        entry = _described(n) if self.wrong is None else None
        values = [] if entry is None else [_copied(self.env[read]) for read in n.all_input_nodes]
        result = super().run_node(n)
        if entry is not None:
            self.wrong = _fault(n, entry, values, _tensors(result))
        return result


def _fault(
    node: fx.Node, entry: Entry, values: Sequence[Any], wanted: Sequence[torch.Tensor]
) -> LiftError | None:
    """Return the error for a function that gives something else than its operator for the same values, or fails."""
    traced = _traced(node, entry, DESCRIBED_OPERATORS.load(entry.name))
    try:
        results = _tensors(traced(*values))
    except Exception as error:  # noqa: BLE001 - what was traced of a function may fail in any way on other values
        return _failed(entry, f"{type(error).__name__}: {error}")
    if close(results, wanted):
        return None
    return _failed(entry, f"results {difference(results, wanted)} apart from the operator's")


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _described(node: fx.Node) -> Entry | None:
    """Return the entry of a call's operator; None where no package describes it."""
    if not isinstance(node.target, OpOverload) or node.target.namespace in KNOWN_NAMESPACES:
        return None
    name = node.target._schema.name
    return DESCRIBED_OPERATORS.find(name) if name in DESCRIBED_OPERATORS else None


def _traced(node: fx.Node, entry: Entry, computes: Callable[..., Any]) -> fx.GraphModule:
    """Return the graph of a function on the operator's arguments; its inputs are the nodes that the call reads."""
    assert isinstance(node.target, OpOverload)
    reads = node.all_input_nodes
    bound = bind(node)
    named = {argument.name for argument in node.target._schema.arguments if argument.kwarg_only}

    def body(*values: Any) -> Any:
        traced_arguments = fx.map_arg(bound, dict(zip(reads, values, strict=True)).__getitem__)
        return computes(
            *(value for name, value in traced_arguments.items() if name not in named),
            **{name: value for name, value in traced_arguments.items() if name in named},
        )

    try:
        with users_code():
            traced = make_fx(body, pre_dispatch=True)(*(node_read.meta["val"] for node_read in reads))
    except CompressError:
        raise
    except Exception as error:
        raise _failed(entry, f"{type(error).__name__}: {error}") from error
    kind_given, kind_found = (_kind(value) for value in (node.meta["val"], _value(traced.graph)))
    if kind_given != kind_found:
        raise _failed(entry, f"{kind_found} where the operator gives {kind_given}")
    return traced


def _replace(module: fx.GraphModule, node: fx.Node, traced: fx.GraphModule) -> None:
    graph = module.graph
    for constant in traced.graph.find_nodes(op="get_attr"):
        free = next(
            name
            for at in range(len(graph.nodes) + 1)
            if not hasattr(module, name := f"{node.name}_constant_{at}")
        )
        setattr(module, free, getattr(traced, str(constant.target)))
        constant.target = free
    for call in traced.graph.nodes:
        call.meta |= {key: node.meta[key] for key in ("stack_trace", "nn_module_stack") if key in node.meta}
    values: dict[fx.Node, Any] = dict(
        zip(traced.graph.find_nodes(op="placeholder"), node.all_input_nodes, strict=True)
    )
    with graph.inserting_before(node):
        results: Any = graph.graph_copy(traced.graph, values)
    if isinstance(results, fx.Node):
        node.replace_all_uses_with(results)
    for use in list(node.users):
        assert use.target is operator.getitem
        use.replace_all_uses_with(results[use.args[1]])
        graph.erase_node(use)
    graph.erase_node(node)


def _value(graph: fx.Graph) -> Any:
    returned: Any = graph.output_node().args[0]
    return fx.map_arg(returned, lambda node: node.meta["val"])


def _kind(value: Any) -> str:
    """Return what a call gives, for comparison and for messages: type and shape of a tensor, or those of several."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}[{', '.join(map(str, value.shape))}]"
    if isinstance(value, list | tuple):
        return f"a tuple of {len(value)}: {'; '.join(map(_kind, value))}"
    return f"a value of type {type(value).__name__}"


def _failed(entry: Entry, problem: str) -> LiftError:
    return LiftError(
        f"'{entry.name}' in PyTorch's operators, as {entry.origin} describes it",
        problem,
        f"correct {entry.reference}, or uninstall {entry.distribution}",
    )
