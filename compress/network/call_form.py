"""The form in which a network is called and returns, so that the written file is called as the original is.

A lifted graph takes positional tensors and returns one tensor or a tuple of them. The network it was lifted from may
take some by keyword, in tuples, or beside plain values, and return a dict of which some entries are no tensors; and its
open axes may have ends. A written ``.pt2`` has all of that again.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import takewhile
from typing import Any

import torch
from torch import fx
from torch.export import Dim, ExportedProgram
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo
from torch.utils import _pytree as pytree

from compress.core.tensor_spec import BATCH, TensorSpec

#: Stands for a tensor among the values that a network takes or returns.
TENSOR = object()

#: Size of an open axis: a name, or a whole multiple of a name, plus or minus a number.
_SIZE = re.compile(r"(?:(?P<factor>\d+)\*)?(?P<name>[A-Za-z_]\w*)(?: (?P<sign>[+-]) (?P<more>\d+))?")

#: The sizes that an open axis takes; None where it has no end.
Range = tuple[int, int | None]


@dataclass(frozen=True)
class CallForm:
    """Form in which a network is called and returns.

    Attributes:
        arguments: Names of its arguments: positional ones first, then keywords.
        in_spec: Structure of its input values in ``(args, kwargs)``.
        takes: Input values: a name, and :data:`TENSOR` or the value itself.
        out_spec: Structure of its output values.
        gives: Output values: :data:`TENSOR`, or the value itself.
        ranges: Ranges of the sizes of open axes, by their names; those without an entry take what the graph allows.
    """

    arguments: tuple[str, ...]
    in_spec: pytree.TreeSpec
    takes: tuple[tuple[str, Any], ...]
    out_spec: pytree.TreeSpec
    gives: tuple[Any, ...]
    ranges: Mapping[str, Range] = field(default_factory=dict)

    @classmethod
    def of_program(cls, program: ExportedProgram) -> CallForm | None:
        """Return the call form of an exported program; None where it contains a size, or is not recorded."""
        signature, spec = program.graph_signature, program.call_spec
        names_of_module = own_names(program)
        user_inputs = [
            _taken(input_spec.arg)
            for input_spec in signature.input_specs
            if input_spec.kind.name == "USER_INPUT"
        ]
        takes = [(names_of_module.get(name, name), value) for name, value in user_inputs]
        gives = [
            _taken(output_spec.arg)[1]
            for output_spec in signature.output_specs
            if output_spec.kind.name == "USER_OUTPUT"
        ]
        if spec.in_spec is None or spec.out_spec is None or _UNKNOWN in gives:
            return None
        if any(value is _UNKNOWN for _, value in takes):
            return None
        names = _argument_names(spec.in_spec, [name for name, _ in takes])
        return cls(names, spec.in_spec, tuple(takes), spec.out_spec, tuple(gives), _ranges(program))

    @classmethod
    def of_call(cls, positional: Sequence[str], keyword: Sequence[str], result: Any) -> CallForm:
        """Return the call form of a module that takes only tensors.

        Args:
            positional: Names of the positional tensors, in order.
            keyword: Names of the tensors given by keyword.
            result: Result of one call: tensors, and containers of them.
        """
        names = (*positional, *keyword)
        _, in_spec = pytree.tree_flatten((tuple(positional), dict.fromkeys(keyword)))
        leaves, out_spec = pytree.tree_flatten(result)
        gives = tuple(TENSOR if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves)
        return cls(names, in_spec, tuple((name, TENSOR) for name in names), out_spec, gives)

    def with_plain_results(self) -> CallForm:
        """Return the form with dicts in place of classes, so that its file can be read where they are missing."""
        plain_tree = _plain(pytree.tree_unflatten(range(len(self.gives)), self.out_spec))
        order, out_spec = pytree.tree_flatten(plain_tree)
        return replace(self, out_spec=out_spec) if order == list(range(len(self.gives))) else self

    def called(self, positional: Sequence[str]) -> CallForm:
        """Return the form with some of the arguments, all tensors, given by position."""
        keyword = [name for name in self.arguments if name not in positional]
        _, in_spec = pytree.tree_flatten((tuple(positional), dict.fromkeys(keyword)))
        names = (*positional, *keyword)
        if set(names) != {name for name, _ in self.takes}:
            return self
        return replace(self, arguments=names, in_spec=in_spec, takes=tuple((name, TENSOR) for name in names))

    def fits(self, inputs: int, outputs: int) -> bool:
        """Whether it takes and returns so many tensors."""
        returned_tensors = sum(value is TENSOR for value in self.gives)
        return sum(value is TENSOR for _, value in self.takes) == inputs and returned_tensors == outputs

    def program(
        self, graph: fx.GraphModule, inputs: Sequence[TensorSpec], sample: Sequence[torch.Tensor]
    ) -> ExportedProgram:
        """Return a lifted graph as a program of this form, with axes open as far as torch allows.

        Args:
            graph: Graph in inference mode; it is not changed.
            inputs: Inputs of the graph, in order; named axes are open.
            sample: Tensor for each input, of at least two rows where axes are open.

        Raises:
            Exception: Any error of torch.export.
        """
        module = self._module(graph)
        tensors, axes = iter(sample), iter(self._axes(inputs))
        values = [next(tensors) if value is TENSOR else value for _, value in self.takes]
        open_axes = [next(axes) if value is TENSOR else None for _, value in self.takes]
        args, kwargs = pytree.tree_unflatten(values, self.in_spec)
        by_position, by_keyword = pytree.tree_unflatten(open_axes, self.in_spec)
        shapes = {**dict(zip(self.arguments, by_position, strict=False)), **by_keyword}
        return torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)

    def _module(self, graph: fx.GraphModule) -> fx.GraphModule:
        """Return the graph with arguments and results of this form."""
        old = list(graph.graph.find_nodes(op="placeholder"))
        placeholders = iter(old)
        copy = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for name, value in self.takes:
            placeholder = copy.placeholder(name)
            if value is TENSOR:
                copies[next(placeholders)] = placeholder
        copied: Any = copy.graph_copy(graph.graph, copies)
        results = iter(copied if isinstance(copied, list | tuple) else (copied,))
        copy.output([next(results) if value is TENSOR else value for value in self.gives])
        copy.set_codegen(_PyTreeCodeGen(_PyTreeInfo(list(self.arguments), self.in_spec, self.out_spec)))
        return fx.GraphModule(graph, copy)

    def _axes(self, inputs: Sequence[TensorSpec]) -> list[dict[int, Any]]:
        """Return the open axes of each input, by their number."""
        roots: dict[str, Any] = {}

        def size(text: str) -> Any:
            match = _SIZE.fullmatch(text)
            name = BATCH if match is None else match["name"]
            if match is None or (name not in self.ranges and name != BATCH):
                return Dim.AUTO
            low, high = self.ranges.get(name, (1, None))
            root = roots.setdefault(name, Dim(name, min=low, max=high))
            more = int(f"{match['sign']}{match['more']}") if match["more"] else 0
            factor = int(match["factor"] or 1)
            scaled = root if factor == 1 else factor * root
            return scaled + more if more else scaled

        return [
            {axis: size(size_text) for axis, size_text in enumerate(spec.shape) if isinstance(size_text, str)}
            for spec in inputs
        ]


def own_names(program: ExportedProgram) -> dict[str, str]:
    """Return the author's names of a network's inputs, by torch.export's names, in lower case."""
    signature = next((entry.signature for entry in program.module_call_graph if entry.fqn == ""), None)
    names = list(getattr(signature, "forward_arg_names", None) or ())
    spec = program.call_spec.in_spec
    if not names and spec is not None:
        names = list(spec.child(1).context or ())
    lowered = [name.lower() for name in names]
    return {low: name for low, name in zip(lowered, names, strict=True) if lowered.count(low) == 1}


def by_position(parameters: Sequence[str], given: Collection[str]) -> list[str]:
    """Return which of the given arguments are positional; all following a named one are named.

    Args:
        parameters: Names of the arguments that can be positional, in order.
        given: Names of the arguments that are given, some perhaps only by keyword.
    """
    first = list(takewhile(lambda name: name in given, parameters))
    return first if len(first) == len(set(parameters) & set(given)) else []


_UNKNOWN = object()


def _plain(value: Any) -> Any:
    """Return nested results without classes of the user or of a package."""
    if is_dataclass(value) and not isinstance(value, type) and not isinstance(value, Mapping):
        value = {member.name: getattr(value, member.name) for member in fields(value)}
    if isinstance(value, Mapping):
        items = [(key, _plain(item)) for key, item in value.items()]
        return OrderedDict(items) if type(value) is OrderedDict else dict(items)
    if isinstance(value, tuple | list):  # a named one as a plain one, which is unpacked and indexed alike
        return (tuple if isinstance(value, tuple) else list)(map(_plain, value))
    return value


def _taken(argument: Any) -> tuple[str, Any]:
    kind = type(argument).__name__
    if kind == "TensorArgument":
        return argument.name, TENSOR
    return argument.name, argument.value if kind == "ConstantArgument" else _UNKNOWN


def _argument_names(in_spec: pytree.TreeSpec, leaves: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the arguments; one with several values gets their common beginning."""
    by_position, by_keyword = in_spec.child(0), in_spec.child(1)
    names: list[str] = []
    at = 0
    for spec in by_position.children():
        first = leaves[at] if spec.num_leaves else f"arg_{len(names)}"
        names.append(first if spec.is_leaf() else re.sub(r"(_\d+)+$", "", first))
        at += spec.num_leaves
    names += by_keyword.context or []
    return tuple(names if len(set(names)) == len(names) else [f"arg_{at}" for at in range(len(names))])


def _ranges(program: ExportedProgram) -> dict[str, Range]:
    """Return the ranges of open axes, by the names that a lifted graph has for them."""
    ranges: dict[str, Range] = {}
    for symbol, ends in program.range_constraints.items():
        low = int(ends.lower)
        # torch counts from 2, since a size of 1 is another graph to it; ours are the same for one row.
        high = int(ends.upper) if ends.upper.is_Integer and int(ends.upper) < 2**31 else None
        ranges[str(symbol)] = (1 if low <= 2 else low, high)
    values = [node.meta.get("val") for node in program.graph.find_nodes(op="placeholder")]
    for value in values[-len(program.graph_signature.user_inputs) :]:
        if isinstance(value, torch.Tensor) and value.dim() and str(value.shape[0]) in ranges:
            ranges.setdefault(BATCH, ranges[str(value.shape[0])])
    return ranges
