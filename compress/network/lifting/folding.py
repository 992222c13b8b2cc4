"""Folding of weights that a network computes from its parameters alone, before its calls become modules.

Weight norm, spectral norm, standardised convolutions, a mask of a pruning hook, merged low-rank updates: in inference
such a weight is a constant. Computed here, the layer that reads it becomes a module like any other, which prunes,
quantizes and trains. Only arguments that modules hold are folded, and only where that neither makes the network larger
nor unties a parameter from what else reads it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload

from compress.network.lifting.calls import aten, bind, drop_unused
from compress.network.lifting.to_modules import LAYERS

# A constant of this size, such as a blur kernel repeated for every channel, may be larger than what it is made from.
_SMALL_BYTES = 2**16
#: What modules hold, by the names that operators give these arguments.
_HELD = ("weight", "bias", "running_mean", "running_var", "params")


def fold_weights(module: fx.GraphModule) -> None:
    """Replace computed weights of layers by tensors of the module.

    Args:
        module: Graph in inference mode. It is changed.
    """
    folding = _Folding(module)
    folding.drop_checks()
    graph = module.graph
    held = [
        (argument, name)
        for node in graph.nodes
        if node.op == "call_function" and node.target in LAYERS
        for name, value in bind(node).items()
        if name in _HELD
        for argument in (value if isinstance(value, list | tuple) else (value,))
        if isinstance(argument, fx.Node) and folding.is_constant(argument)
    ]
    folding.merge_equal([argument for argument, _ in held])
    for argument, name in held:
        folding.fold(argument, name)


class _Folding:
    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._graph = module.graph
        self._constant: dict[fx.Node, bool] = {}
        self._values: dict[fx.Node, Any] = {}
        self._made: set[str] = set()
        # What is written to in place, and whatever it may be a view of, has another value after that.
        self._written: set[fx.Node] = set()
        for node in self._graph.nodes:
            if isinstance(node.target, OpOverload) and node.target._schema.is_mutable:
                for read in node.all_input_nodes[:1]:
                    self._written |= {read, *self._behind(read)}

    def merge_equal(self, constants: Iterable[fx.Node]) -> None:
        """Merge equal computations of several calls of one layer, and drop conversions that convert nothing."""
        alike = {behind for node in constants for behind in (node, *self._behind(node))}
        first: dict[str, fx.Node] = {}
        for node in list(self._graph.nodes):
            if node in alike and node.target is aten.to.dtype and _is_same_type(node):
                node.replace_all_uses_with(node.all_input_nodes[0])
            elif node in alike:
                how = repr((node.target, node.args, node.kwargs))
                node.replace_all_uses_with(first.setdefault(how, node))
        drop_unused(self._graph)

    def fold(self, node: fx.Node, name: str) -> None:
        """Put a tensor of the module in the place of a computed one that a layer holds as its ``name``."""
        if (
            node.op != "call_function" or not node.users
        ):  # a plain parameter; merged with another, or folded before
            return
        behind = self._behind(node)
        sources = [origin for origin in behind if origin.op == "get_attr"]
        if not sources:
            return
        value = self._value(node)
        needed = self._needed_without(node)
        trained = [source for source in sources if isinstance(self._value(source), nn.Parameter)]
        if any(str(source.target) in needed for source in trained):
            return  # it stays tied to what another layer reads
        freed = {
            str(source.target): _bytes(self._value(source))
            for source in sources
            if str(source.target) not in needed
        }
        if not isinstance(value, torch.Tensor) or _bytes(value) > max(_SMALL_BYTES, sum(freed.values())):
            return
        target = self._free_name(trained or sources, needed, name)
        self._hold(target, value, trained=any(self._value(source).requires_grad for source in trained))
        with self._graph.inserting_before(node):
            constant = self._graph.get_attr(target)
        constant.meta = dict(node.meta)
        node.replace_all_uses_with(constant)
        drop_unused(self._graph)

    def drop_checks(self) -> None:
        """Drop assertions about a constant's dtype, which would keep the values that it was computed from."""
        for node in self._graph.find_nodes(op="call_function", target=aten._assert_tensor_metadata.default):
            if self.is_constant(node.all_input_nodes[0]):
                self._graph.erase_node(node)

    def _needed_without(self, node: fx.Node) -> set[str]:
        """Return the tensors of the module that are still read once a value is no longer computed."""
        seen = {node}
        pending = [user for user in self._graph.nodes if not user.users]
        while pending:
            needed = pending.pop()
            if needed not in seen:
                seen.add(needed)
                pending += needed.all_input_nodes
        return {str(needed.target) for needed in seen if needed.op == "get_attr"}

    def is_constant(self, node: fx.Node) -> bool:
        """Whether a value depends on the network's own tensors alone, and is the same every time."""
        if node not in self._constant:
            self._constant[node] = node not in self._written and (
                node.op == "get_attr"
                or (
                    node.op == "call_function"
                    and _is_deterministic(node.target)
                    and all(self.is_constant(read) for read in node.all_input_nodes)
                )
            )
        return self._constant[node]

    def _behind(self, node: Any) -> dict[fx.Node, None]:
        """Return everything that a value is computed from, in a fixed order."""
        behind: dict[fx.Node, None] = {}
        pending = list(node.all_input_nodes)
        while pending:
            source = pending.pop()
            if source not in behind:
                behind[source] = None
                pending += source.all_input_nodes
        return behind

    def _value(self, node: fx.Node) -> Any:
        if node not in self._values:
            if node.op == "get_attr":
                value: Any = self._module
                for part in str(node.target).split("."):
                    value = getattr(value, part)
            else:
                args, kwargs = fx.map_arg((node.args, node.kwargs), self._value)
                with torch.no_grad():
                    value = node.target(*args, **kwargs)  # type: ignore[operator]
            self._values[node] = value
        return self._values[node]

    def _free_name(self, sources: list[fx.Node], needed: set[str], name: str) -> str:
        """Return the name that the layer's own tensor would have, or a similar unused one."""
        target = free = ".".join([*_common_parts(str(source.target) for source in sources), name])
        number = 0
        while free in needed | self._made:
            number += 1
            free = f"{target}_{number}"
        self._made.add(free)
        return free

    def _hold(self, target: str, value: torch.Tensor, *, trained: bool) -> None:
        path, _, attribute = target.rpartition(".")
        owner = self._module.get_submodule(path)
        for registered in (owner._parameters, owner._buffers, owner.__dict__):
            registered.pop(attribute, None)
        tensor = value.detach().clone(memory_format=torch.contiguous_format)
        if trained and tensor.is_floating_point():
            owner.register_parameter(attribute, nn.Parameter(tensor))
        else:
            owner.register_buffer(attribute, tensor)


def _is_deterministic(target: Callable[..., Any] | str) -> bool:
    """Whether a call returns the same for the same arguments and changes nothing."""
    if not isinstance(target, OpOverload):
        return getattr(target, "__module__", "") in ("_operator", "math")
    return not target._schema.is_mutable and torch.Tag.nondeterministic_seeded not in target.tags


def _is_same_type(conversion: fx.Node) -> bool:
    return bool(conversion.meta["val"].dtype == conversion.all_input_nodes[0].meta["val"].dtype)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _common_parts(paths: Iterable[str]) -> list[str]:
    """Return the module that holds all these tensors; the layer itself where they are its parametrizations."""
    owners = (path.split(".")[:-1] for path in paths)
    levels = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*owners, strict=False))
    return list(itertools.takewhile(lambda part: part != "parametrizations", (level[0] for level in levels)))
