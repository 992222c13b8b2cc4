"""A TorchScript graph, run operator by operator in Python, so that torch.export sees what it does.

TorchScript's own interpreter knows sizes only as numbers. Run here, they may be the exporter's symbols; weights keep
their names, and every operator the line of the source that it came from.
"""

from __future__ import annotations

import inspect
import re
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from compress.errors import LiftError
from compress.network.formats.torchscript_numbers import (
    DTYPES,
    NUMBER_OF,
    ON_ANYTHING,
    ON_CONTAINERS,
    ON_NUMBERS,
    as_tensor,
    is_number,
)

# Rounds of all loops together: sizes alone decide about them, and each round is traced on its own.
_MOST_ROUNDS = 20_000
_MOST_ROUNDS_OF_WHILE = 1_000
#: The most rounds that TorchScript writes for ``while``.
ENDLESS = 2**63 - 1

_SCHEMA = re.compile(r"(\w+)::(\w+)(?:\.(\w+))?\(")
_TORCH = str(Path(torch.__file__).parent)
_LAYOUTS = {0: torch.strided}
_MEMORY_FORMATS = {
    0: torch.contiguous_format,
    1: torch.preserve_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
}
_OF_TENSORS = frozenset(
    {"is_cuda", "is_sparse", "is_quantized", "is_meta", "is_xla", "ndim", "requires_grad", "T"}
)


class NotKnownHereError(Exception):
    """An operator or a value that only TorchScript's own interpreter knows."""


class Mirror(nn.Module):
    """The weights of a TorchScript module, under their own names, in an ordinary one.

    A tied weight is here once under each of its names; lifting finds by its memory that it is one.

    Args:
        module: TorchScript module.
        homes: Receives for each weight, by its memory, the module that holds it and its name there.
    """

    def __init__(self, module: torch.jit.ScriptModule, homes: dict[Any, tuple[nn.Module, str]]) -> None:
        super().__init__()
        self.script = module._c
        for name, tensor in module.named_parameters(recurse=False):
            self._parameters[name] = nn.Parameter(tensor, tensor.requires_grad)
            homes.setdefault(_memory(tensor), (self, name))
        for name, buffer in module.named_buffers(recurse=False):
            self._buffers[name] = buffer
        for name, child in module.named_children():
            self._modules[name] = Mirror(child, homes)  # type: ignore[arg-type]


def _memory(tensor: torch.Tensor) -> Any:
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


class _Graph(NamedTuple):
    """The graph of a method or a hook, with its constants.

    Attributes:
        graph: Graph with all calls inlined.
        constants: Constants, by the name of the value.
        numbers: Constants that are tensors of one number, as numbers.
    """

    graph: Any
    constants: dict[str, Any]
    numbers: dict[str, Any]

    @classmethod
    def of(cls, method: Any) -> _Graph:
        """Return the graph of a method; constants are read first, since the exporter's tensors have no values."""
        graph = method.inlined_graph
        constants = dict(_constants(graph))
        numbers = {
            name: value.item()
            for name, value in constants.items()
            if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.dim()
        }
        return cls(graph, constants, numbers)


class Run:
    """Runs the ``forward`` of a TorchScript module.

    Args:
        module: Module in eval mode.
        arguments: All arguments of its ``forward``, by name; those that are inputs are given again in each call.

    Attributes:
        at: Source line that runs, or ran last, as ``file:line``; empty where the archive does not record it.
        refused: Error that says why it may not be run at all; None where it may.
    """

    def __init__(self, module: torch.jit.ScriptModule, arguments: dict[str, Any]) -> None:
        self.at = ""
        self.refused: LiftError | None = None
        self._module = module
        self._arguments = arguments
        self._rounds = 0
        self._homes: dict[Any, tuple[nn.Module, str]] = {}
        code = module._c
        self._graph = _Graph.of(code._get_method("forward"))
        self._before = [_Graph.of(hook) for hook in code._get_forward_pre_hooks()]
        self._after = [_Graph.of(hook) for hook in code._get_forward_hooks()]
        self._now = self._graph

    def as_module(self, inputs: list[str]) -> nn.Module:
        """Return a module for torch.export that takes the inputs of these names."""
        mirror = Mirror(self._module, self._homes)

        def forward(**tensors: torch.Tensor) -> Any:
            self._rounds = 0
            inputs: Any = tuple((self._arguments | tensors).values())
            for hook in self._before:
                changed = self._run(hook, mirror, inputs)
                if changed is not None:
                    inputs = changed if isinstance(changed, tuple) else (changed,)
            result = self._run(self._graph, mirror, *inputs)
            for hook in self._after:
                changed = self._run(hook, mirror, inputs, result)
                result = result if changed is None else changed
            return result

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        signature = inspect.Signature([inspect.Parameter(name, kind) for name in inputs])
        forward.__signature__ = signature  # type: ignore[attr-defined]
        mirror.__dict__["forward"] = forward
        return mirror

    def _run(self, graph: _Graph, *arguments: Any) -> Any:
        """Run the forward, or a hook around it, and return its result."""
        self._now = graph
        return self._block(graph.graph, {}, list(arguments))[0]

    def _block(self, block: Any, values: dict[str, Any], arguments: list[Any]) -> list[Any]:
        """Run a graph, or the body of a branch or a loop, on its inputs; ``values`` are by name."""
        values.update(zip((value.debugName() for value in block.inputs()), arguments, strict=True))
        for node in block.nodes():
            outputs = list(node.outputs())
            results = self._results(node, values, [values[value.debugName()] for value in node.inputs()])
            if len(outputs) == 1:
                results = [results]
            values.update(
                (value.debugName(), one) for value, one in zip(outputs, results or (), strict=False)
            )
        return [values[output.debugName()] for output in block.outputs()]

    def _results(self, node: Any, values: dict[str, Any], arguments: list[Any]) -> Any:
        """Return the one result of a node, or a list of several."""
        self.at = source_of(node) or self.at
        kind: str = node.kind()
        if kind == "prim::If":
            blocks = list(node.blocks())
            results = self._block(blocks[0 if bool(arguments[0]) else 1], values, [])
            return results[0] if len(results) == 1 else results
        if kind == "prim::Loop":
            return self._loop(node, values, arguments)
        if kind == "prim::Constant":
            return self._now.constants[node.output().debugName()]
        if kind == "prim::GetAttr":
            return self._attribute(arguments[0], node.s("name"))
        if kind in _STRUCTURE:
            return _STRUCTURE[kind](node, arguments)
        name = kind.rpartition("::")[2]
        if name in ON_NUMBERS and any(map(is_number, arguments)):
            arguments = self._with_numbers(node, arguments)
        return _call(node, name, arguments, self.at)

    def _with_numbers(self, node: Any, arguments: list[Any]) -> list[Any]:
        """Return the arguments with constant tensors of one number as numbers, where there are no other tensors."""
        names = [value.debugName() for value in node.inputs()]
        values = [
            self._now.numbers.get(name, value) if isinstance(value, torch.Tensor) else value
            for name, value in zip(names, arguments, strict=True)
        ]
        return arguments if any(isinstance(value, torch.Tensor) for value in values) else values

    def _loop(self, node: Any, values: dict[str, Any], arguments: list[Any]) -> Any:
        most, going, *carried = arguments
        (body,) = node.blocks()
        endless = most == ENDLESS
        done = 0
        while done < most and bool(going):
            self._rounds += 1
            if self._rounds > _MOST_ROUNDS or (endless and done > _MOST_ROUNDS_OF_WHILE):
                self.refused = LiftError(
                    f"loops of at most {_MOST_ROUNDS:,} rounds together, and {_MOST_ROUNDS_OF_WHILE:,} of a `while`",
                    f"one that goes on{at(self.at)}",
                    "write it with PyTorch's operators",
                )
                raise self.refused
            going, *carried = self._block(body, values, [done, *carried])
            done += 1
        return carried[0] if len(carried) == 1 else carried

    def _attribute(self, owner: Any, name: str) -> Any:
        if not isinstance(owner, Mirror):
            raise NotKnownHereError(f"the attribute '{name}' of an object")
        for held in (owner._parameters, owner._buffers, owner._modules):
            if name in held:
                return held[name]
        return pytree.tree_map_only(torch.Tensor, self._weight, owner.script.getattr(name))

    def _weight(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor in an attribute; recurrent layers hold their parameters in a list."""
        owner, name = self._homes.get(_memory(tensor), (None, ""))
        return tensor if owner is None else getattr(owner, name)


def _constants(block: Any) -> Iterator[tuple[str, Any]]:
    for node in block.nodes():
        if node.kind() == "prim::Constant":
            yield node.output().debugName(), node.output().toIValue()
        for inner in node.blocks():
            yield from _constants(inner)


# --- one operator -------------------------------------------------------------------------------------------


def _call(node: Any, name: str, operands: list[Any], place: str) -> Any:
    tensors = any(isinstance(operand, torch.Tensor) for operand in operands)
    if not tensors and name in ON_NUMBERS and not (operands and isinstance(operands[0], str | dict)):
        return ON_NUMBERS[name](*operands)
    if name in ON_CONTAINERS and operands and isinstance(operands[0], list | tuple | dict | str):
        return ON_CONTAINERS[name](*operands)
    if name in ON_ANYTHING and not (operands and is_number(operands[0])):
        return ON_ANYTHING[name](*operands)
    if name in _OF_NUMBERS and operands and is_number(operands[0]):
        return _OF_NUMBERS[name](*operands)
    if name in _ON_TENSORS:
        return _ON_TENSORS[name](*operands)
    operator = _operator(node)
    arguments = operator._schema.arguments
    positional, named = [], {}
    for argument, value in zip(arguments, operands, strict=True):
        fitted = _fitted(str(argument.real_type), value)
        if argument.kwarg_only:
            if value is not None:
                named[argument.name] = fitted
        else:
            positional.append(fitted)
    while positional and arguments[len(positional) - 1].has_default_value():
        default = arguments[len(positional) - 1].default_value
        if positional[-1] is not default:
            break
        positional.pop()
    result = _from_line(place)(operator, positional, named)
    return list(result) if isinstance(result, tuple) else result


def _operator(node: Any) -> OpOverload[Any, Any]:
    match = _SCHEMA.match(str(node.schema())) if not node.kind().startswith("prim::") else None
    space, name, overload = match.groups() if match else ("", "", None)
    packet = getattr(getattr(torch.ops, space), name, None) if space == "aten" else None
    operator = getattr(packet, overload or "default", None)
    if not isinstance(operator, OpOverload):
        raise NotKnownHereError(f"the operator {node.kind()}")
    return operator


def _fitted(kind: str, value: Any) -> Any:
    """Return an argument as PyTorch's operators take it; TorchScript has numbers for dtypes, and 1-number tensors."""
    if value is None:
        return None
    kind = kind.removeprefix("Optional[").removesuffix("]") if kind.startswith("Optional[") else kind
    if kind == "Tensor":
        return as_tensor(value) if is_number(value) else value
    if kind in ("List[Tensor]", "List[Optional[Tensor]]"):
        return [as_tensor(item) if is_number(item) else item for item in value]
    named: Mapping[str, Mapping[int, Any]] = {
        "ScalarType": DTYPES,
        "Layout": _LAYOUTS,
        "MemoryFormat": _MEMORY_FORMATS,
    }
    if kind in named and isinstance(value, int):
        if value not in named[kind]:
            raise NotKnownHereError(f"{kind} {value}")
        return named[kind][value]
    return value


def _tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> torch.Tensor:
    return torch.tensor(data, dtype=DTYPES.get(dtype), device=device, requires_grad=requires_grad)


_OF_NUMBERS: dict[str, Callable[..., Any]] = {
    "dim": lambda _: 0,
    "dtype": lambda number: 4 if isinstance(number, int | torch.SymInt) else 6,
    "numel": lambda _: 1,
    "size": lambda _: [],
    "tensor": lambda number, *_: number,
    "as_tensor": lambda number, *_: number,
}
_ON_TENSORS: dict[str, Callable[..., Any]] = {
    "Bool": lambda tensor: bool(tensor),
    "Float": lambda tensor: tensor.item(),
    "FloatImplicit": lambda tensor: tensor.item(),
    "Int": lambda tensor: tensor.item(),
    "IntImplicit": lambda tensor: tensor.item(),
    "ScalarImplicit": lambda tensor: tensor.item(),
    "as_tensor": lambda data, *more: data if isinstance(data, torch.Tensor) else _tensor(data, *more),
    "data": lambda tensor: tensor,
    "device": lambda tensor: tensor.device if isinstance(tensor, torch.Tensor) else torch.device(tensor),
    "dtype": lambda tensor: NUMBER_OF[tensor.dtype],
    "layout": lambda _: 0,
    "len": len,
    "tensor": _tensor,
    **{name: (lambda tensor, name=name: getattr(tensor, name)) for name in _OF_TENSORS},
}


# --- what builds values -------------------------------------------------------------------------------------


def _raise(node: Any, arguments: list[Any]) -> Any:
    raise RuntimeError(str(arguments[0]))


def _tuple(node: Any, arguments: list[Any]) -> Any:
    """Return a tuple, or a named one, whose names become those of the outputs."""
    match = re.fullmatch(r"NamedTuple\((.*)\)", str(node.output().type()), re.DOTALL)
    names = _fields(match.group(1)) if match else []
    return namedtuple("Named", names)(*arguments) if len(names) == len(arguments) > 0 else tuple(arguments)


def _fields(text: str) -> list[str]:
    """Return the field names in a text such as ``a : Tensor, b : (Tensor, Tensor)``."""
    depth, fields, start = 0, [], 0
    for place, letter in enumerate(f"{text},"):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            fields.append(text[start:place].partition(":")[0].strip())
            start = place + 1
    return fields


def _dict(node: Any, arguments: list[Any]) -> Any:
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


_STRUCTURE: dict[str, Callable[[Any, list[Any]], Any]] = {
    "prim::DictConstruct": _dict,
    "prim::ListConstruct": lambda _, arguments: list(arguments),
    "prim::ListUnpack": lambda _, arguments: (
        list(arguments[0]) if len(arguments[0]) != 1 else arguments[0][0]
    ),
    "prim::Print": lambda _, __: None,
    "prim::RaiseException": _raise,
    "prim::TupleConstruct": _tuple,
    "prim::TupleIndex": lambda _, arguments: arguments[0][arguments[1]],
    "prim::TupleUnpack": lambda _, arguments: (
        list(arguments[0]) if len(arguments[0]) != 1 else arguments[0][0]
    ),
    "prim::Uninitialized": lambda _, __: None,
    "prim::unchecked_cast": lambda _, arguments: arguments[0],
    "prim::unchecked_unwrap_optional": lambda _, arguments: arguments[0],
}


# --- where it came from -------------------------------------------------------------------------------------


def at(place: str) -> str:
    """Return `` at file:line``, or an empty text."""
    return f" at {place}" if place else ""


def source_of(node: Any) -> str:
    """Return the ``file:line`` of a node: the innermost that is not torch's, else the innermost."""
    places = re.findall(r'File "([^"<]+)", line (\d+)', str(node.sourceRange()))
    places = [found_place for found_place in places if not found_place[0].startswith("code/")]
    places += re.findall(r"^(\S.*)\((\d+)\): ", str(node.sourceRange()), re.MULTILINE)
    own_places = [found_place for found_place in places if not found_place[0].startswith(_TORCH)]
    return ":".join((own_places or places)[0]) if places else ""


def _run(operator: Callable[..., Any], arguments: list[Any], named: dict[str, Any]) -> Any:
    return operator(*arguments, **named)


@cache
def _from_line(place: str) -> Callable[..., Any]:
    """Calls an operator from a frame of that file and line, which the exporter then notes as its place."""
    file, _, line = place.rpartition(":")
    if not file:
        return _run
    code = _run.__code__  # The exporter notes the frames that are called forward.
    return FunctionType(
        code.replace(co_filename=file, co_firstlineno=int(line) - 1, co_name="forward"), _run.__globals__
    )
