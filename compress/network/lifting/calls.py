"""Preparation of an exported graph before its calls become modules.

Blocks under ``torch.no_grad`` and ``torch.autocast`` are inlined, operators that change a tensor in place give way
to those that return a new one, and every switch for training is set to inference. What cannot be lifted is refused,
with its place in the user's source: control flow over tensors, custom operators, and state that lives between calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx
from torch._ops import HigherOrderOperator, OpOverload

from compress.errors import LiftError
from compress.network.custom_operators import KNOWN_NAMESPACES, in_module, refused

aten = torch.ops.aten

_CONTROL_FLOW = frozenset({"cond", "while_loop", "scan", "map", "map_impl", "associative_scan"})

# operator → position of the argument that turns training behaviour on, and its value for inference
_MODES: dict[Any, tuple[int, Any]] = {
    aten.batch_norm: (5, False),
    aten.instance_norm: (5, False),
    aten.dropout: (2, False),
    aten.dropout_: (2, False),
    aten.feature_dropout: (2, False),
    aten.feature_dropout_: (2, False),
    aten.alpha_dropout: (2, False),
    aten.alpha_dropout_: (2, False),
    aten.feature_alpha_dropout: (2, False),
    aten.feature_alpha_dropout_: (2, False),
    aten.rrelu: (3, False),
    aten.rrelu_: (3, False),
    aten.lstm: (6, False),
    aten.gru: (6, False),
    aten.rnn_tanh: (6, False),
    aten.rnn_relu: (6, False),
    aten.scaled_dot_product_attention: (4, 0.0),
}


# higher-order operator → position of the block's graph among its arguments; what the block reads follows
_BLOCKS: dict[Any, int] = {
    torch.ops.higher_order.wrap_with_set_grad_enabled: 1,
    torch.ops.higher_order.wrap_with_autocast: 4,
}


def inline_blocks(module: fx.GraphModule) -> None:
    """Inline what ``torch.no_grad()`` and ``torch.autocast()`` wrapped into a graph of its own.

    Gradients are ours to decide, and an autocast block that casts nothing does nothing.

    Raises:
        LiftError: An autocast block computes in another precision.
    """
    graph = module.graph
    for node in list(graph.nodes):
        position = _BLOCKS.get(node.target) if node.op == "call_function" else None
        if position is None:
            continue
        block = getattr(module, str(node.args[position].target))
        if node.target is torch.ops.higher_order.wrap_with_autocast:
            _refuse_mixed_precision(block.graph, *node.args[1:3])
        inline_blocks(block)
        placeholders = block.graph.find_nodes(op="placeholder")
        values: dict[fx.Node, Any] = dict(zip(placeholders, node.args[position + 1 :], strict=True))
        with graph.inserting_before(node):
            results: Any = graph.graph_copy(block.graph, values)
        for use in list(node.users):
            index: Any = use.args[1]
            use.replace_all_uses_with(results[index])
            graph.erase_node(use)
        graph.erase_node(node)


def _refuse_mixed_precision(block: fx.Graph, dtype: torch.dtype | None, enabled: bool) -> None:
    """Refuse a block that was traced with values in the lower precision; the casts themselves are not in its graph."""
    for node in block.nodes if enabled else ():
        value = node.meta.get("val")
        if node.op == "call_function" and isinstance(value, torch.Tensor) and value.dtype == dtype:
            raise LiftError(
                "a network that computes in the precision of its weights",
                f"mixed precision, autocast to {str(dtype).removeprefix('torch.')}{place(node)}",
                "take that block out, or set enabled=False: what a build computes in is chosen for its target",
            )


def set_inference(graph: fx.Graph) -> None:
    """Switch every operator that has a training behaviour to inference."""
    for node in graph.nodes:
        packet = getattr(node.target, "overloadpacket", None)
        if node.op != "call_function" or packet not in _MODES:
            continue
        if packet in (aten.batch_norm, aten.instance_norm) and node.args[3] is None:
            continue  # without running statistics the batch's own are used in inference too
        position, value = _MODES[packet]
        name = node.target._schema.arguments[position].name
        if name in node.kwargs:
            node.update_kwarg(name, value)
        elif len(node.args) > position:
            node.update_arg(position, value)


def in_training(graph: fx.Graph) -> fx.Node | None:
    """Return the first call that behaves as in training: it drops activations, or uses batch statistics."""
    nodes: list[fx.Node] = list(graph.nodes)
    for node in nodes:
        packet = getattr(node.target, "overloadpacket", None)
        if node.op != "call_function" or packet not in _MODES:
            continue
        position, value = _MODES[packet]
        call = bind(node)
        own_statistics = packet in (aten.batch_norm, aten.instance_norm) and node.args[3] is None
        set_to = list(call.values())[position]
        drops = (
            any(call.get(name, 1) for name in ("p", "dropout")) if "p" in call or "dropout" in call else True
        )
        if not own_statistics and drops and set_to != value:
            return node
    return None


def refuse(graph: fx.Graph, settings: Mapping[str, str] | None = None) -> None:
    """Refuse calls that are no plain tensor operators.

    Args:
        graph: Graph of calls.
        settings: Next step for an operator by the settings of its part of the network, by the part's path.

    Raises:
        LiftError: There is control flow over tensors, or a custom operator; the error names the place in the source.
    """
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        if isinstance(node.target, HigherOrderOperator):
            name = node.target._name
            kind = "control flow" if name in _CONTROL_FLOW else "higher-order operator"
            raise LiftError(
                "a network of plain tensor operators",
                f"the {kind} '{name}'{place(node)}",
                "write it without, or give an ONNX file",
            )
        if isinstance(node.target, OpOverload) and node.target.namespace not in KNOWN_NAMESPACES:
            stack = [entry[:2] for entry in node.meta.get("nn_module_stack", {}).values()]
            todo = (
                next((settings[path] for path, _ in reversed(stack) if path in settings), "")
                if settings
                else ""
            )
            raise refused(node.target._schema.name, f"{in_module(stack)}{place(node)}", todo)


def bind(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of an aten call by name, defaults filled in."""
    assert isinstance(node.target, OpOverload)
    bound: dict[str, Any] = {}
    for position, argument in enumerate(node.target._schema.arguments):
        if position < len(node.args):
            bound[argument.name] = node.args[position]
        elif argument.name in node.kwargs:
            bound[argument.name] = node.kwargs[argument.name]
        else:
            bound[argument.name] = argument.default_value
    return bound


def drop_unused(graph: fx.Graph) -> None:
    """Drop weights that moved into modules, zeros of initial states, and unused sizes."""
    for node in reversed(list(graph.nodes)):
        if not node.users and (node.op == "get_attr" or (node.op == "call_function" and _is_pure(node))):
            graph.erase_node(node)


def _is_pure(node: fx.Node) -> bool:
    """Whether a call can go if nobody uses its result: it changes nothing and asserts nothing."""
    if not isinstance(node.target, OpOverload):
        return True
    name = node.target._schema.name
    return not node.target._schema.is_mutable and not re.match(
        r"aten::(_assert|sym_constrain|_functional_a)", name
    )


def place(node: fx.Node) -> str:
    """Return `` at file:line`` of the user's source, from the trace; empty where it is unknown."""
    places = re.findall(r'File "([^"<]+)", line (\d+)', node.meta.get("stack_trace") or "")
    # The innermost line is often in a layer of torch, which the user did not write.
    own_places = [
        found_place for found_place in places if not re.search(r"[/\\]torch[/\\]", found_place[0])
    ] or places
    return f" at {own_places[-1][0]}:{own_places[-1][1]}" if own_places else ""


def without_in_place(module: fx.GraphModule, example: Sequence[torch.Tensor]) -> None:
    """Turn in-place operators into those that return a new tensor, where this makes no difference.

    Which values share memory is read from one run on the example: an in-place operator is replaced if every
    value in the same memory that is used after it is the very tensor it changed.

    Raises:
        LiftError: A parameter or buffer is changed: the network keeps state between calls.
    """
    graph = module.graph
    values = _Recorder(module).record(example)
    memory: dict[int, list[fx.Node]] = {}
    for node, tensor in values.items():
        memory.setdefault(tensor.untyped_storage().data_ptr(), []).append(node)
    order = {node: position for position, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        changed = _changed(node)
        if changed is None or changed not in values:
            continue
        sharing = [
            other for other in memory[values[changed].untyped_storage().data_ptr()] if other is not node
        ]
        if any(other.op == "get_attr" for other in sharing):
            _drop_counter_or_refuse(node, changed)
            continue
        seen_later = {
            other
            for other in sharing
            if order[other] < order[node] and any(order[use] > order[node] for use in other.users)
        }
        functional = _functional(node, values)
        if functional is None or any(not _same_view(values[view], values[changed]) for view in seen_later):
            continue
        for view in seen_later:
            for use in [use for use in view.users if order[use] > order[node]]:
                use.replace_input_with(view, node)
        node.target = functional


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps every tensor, so that no memory is used twice."""

    def record(self, example: Sequence[torch.Tensor]) -> dict[fx.Node, torch.Tensor]:
        self.values: dict[fx.Node, torch.Tensor] = {}
        with torch.no_grad():
            self.run(*(tensor.clone() for tensor in example))
        return self.values

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.values[n] = result
        return result


def _changed(node: fx.Node) -> fx.Node | None:
    """Return the value that an in-place operator changes."""
    if (
        node.op != "call_function"
        or not isinstance(node.target, OpOverload)
        or not node.target._schema.is_mutable
    ):
        return None
    first = node.args[0] if node.args else None
    return first if isinstance(first, fx.Node) else None


def _functional(node: fx.Node, values: dict[fx.Node, torch.Tensor]) -> OpOverload[Any, Any] | None:
    """Return the functional operator, such as ``aten.relu`` for ``aten.relu_``, where both give one dtype."""
    assert isinstance(node.target, OpOverload)
    name, overload = node.target._schema.name.removeprefix("aten::"), node.target._overloadname
    packet = getattr(aten, name.removesuffix("_"), None) if name.endswith("_") else None
    if packet is None or name == "copy_" or overload not in packet.overloads():
        return None
    dtypes = {values[read].dtype for read in node.all_input_nodes if read in values and values[read].dim()}
    return getattr(packet, overload) if len(dtypes) == 1 else None


def _same_view(one: torch.Tensor, other: torch.Tensor) -> bool:
    return (one.shape, one.stride(), one.storage_offset(), one.dtype) == (
        other.shape,
        other.stride(),
        other.storage_offset(),
        other.dtype,
    )


def _drop_counter_or_refuse(node: fx.Node, changed: fx.Node) -> None:
    if str(changed.target).endswith("num_batches_tracked") and not node.users:
        node.graph.erase_node(node)  # a norm traced in training mode; the module counts itself
        return
    raise LiftError(
        "a network that keeps no state between calls",
        f"'{changed.target}', changed by {node.target}{place(node)}",
        "write it so that it returns its state",
    )
