"""TorchScript's operators without tensors: sizes, conditions, lists, dicts.

``torch.jit.trace`` writes arithmetic on sizes as tensors of one number (``prim::NumToTensor``, ``aten::floor_divide``,
``aten::Int``). Here such a number is Python's, or a symbol of the exporter's, so that what follows the batch does so.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

Number = bool | int | float | torch.SymInt | torch.SymFloat | torch.SymBool

_NUMBERS = (bool, int, float, torch.SymInt, torch.SymFloat, torch.SymBool)

#: TorchScript's numbers for dtypes, c10/core/ScalarType.h.
DTYPES: dict[int, torch.dtype] = {
    0: torch.uint8,
    1: torch.int8,
    2: torch.int16,
    3: torch.int32,
    4: torch.int64,
    5: torch.float16,
    6: torch.float32,
    7: torch.float64,
    8: torch.complex32,
    9: torch.complex64,
    10: torch.complex128,
    11: torch.bool,
    15: torch.bfloat16,
}
NUMBER_OF = {dtype: number for number, dtype in DTYPES.items()}


def is_number(value: object) -> bool:
    """Whether a value is one number, known while tracing or following the batch."""
    return isinstance(value, _NUMBERS)


def as_tensor(number: Any) -> torch.Tensor:
    """Return the tensor of one number that TorchScript uses for a number."""
    if isinstance(number, bool | torch.SymBool):
        dtype = torch.bool
    elif isinstance(number, int | torch.SymInt):
        dtype = torch.int64
    else:
        dtype = torch.float32
    tensor: torch.Tensor = torch.ops.aten.scalar_tensor.default(number, dtype=dtype)
    return tensor


def _add(a: Any, b: Any, factor: Any = 1) -> Any:
    return a + b if factor == 1 else a + factor * b


def _subtract(a: Any, b: Any, factor: Any = 1) -> Any:
    return a - b if factor == 1 else a - factor * b


def _divide(a: Any, b: Any, rounding: str | None = None) -> Any:
    if rounding == "floor":
        return a // b
    return _truncate(a / b) if rounding == "trunc" else a / b


def _truncate(value: Any) -> Any:
    return torch.sym_int(value)  # type: ignore[no-untyped-call]


def _as_float(value: Any) -> Any:
    return torch.sym_float(value)  # type: ignore[no-untyped-call]


def _rounded_to(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, int | torch.SymInt) else function(value)


def _cast(value: Any, *arguments: Any) -> Any:
    """Compute ``aten::to`` of a number; of its arguments only the dtype changes the value."""
    dtype = DTYPES.get(arguments[0]) if arguments and type(arguments[0]) is int else None
    if dtype is None:
        return value
    if dtype == torch.bool:
        return bool(value)
    return _as_float(value) if dtype.is_floating_point else _truncate(value)


def _least(*numbers: Any) -> Any:
    return _folded(torch.sym_min, numbers)


def _most(*numbers: Any) -> Any:
    return _folded(torch.sym_max, numbers)


def _folded(function: Callable[[Any, Any], Any], arguments: tuple[Any, ...]) -> Any:
    values = arguments[0] if isinstance(arguments[0], list) and len(arguments) == 1 else list(arguments)
    result = values[0]
    for value in values[1:]:
        result = function(result, value)
    return result


def _same(value: Any, *_: Any) -> Any:
    return value


#: Operator's name → function, where none of its arguments is a tensor.
ON_NUMBERS: dict[str, Callable[..., Any]] = {
    "Bool": bool,
    "Float": _as_float,
    "FloatImplicit": _as_float,
    "Int": _truncate,
    "IntImplicit": _truncate,
    "NumToTensor": _same,
    "ScalarImplicit": _same,
    "__and__": operator.and_,
    "__lshift__": operator.lshift,
    "__not__": operator.not_,
    "__or__": operator.or_,
    "__round_to_zero_floordiv": lambda a, b: _truncate(a / b),
    "__rshift__": operator.rshift,
    "__xor__": operator.xor,
    "abs": abs,
    "add": _add,
    "all": all,
    "any": any,
    "ceil": _rounded_to(math.ceil),
    "clone": _same,
    "contiguous": _same,
    "detach": _same,
    "div": _divide,
    "eq": operator.eq,
    "floor": _rounded_to(math.floor),
    "floor_divide": operator.floordiv,
    "floordiv": operator.floordiv,
    "fmod": math.fmod,
    "ge": operator.ge,
    "gt": operator.gt,
    "item": _same,
    "le": operator.le,
    "log": math.log,
    "log2": math.log2,
    "logical_and": lambda a, b: bool(a) and bool(b),
    "logical_not": operator.not_,
    "logical_or": lambda a, b: bool(a) or bool(b),
    "lt": operator.lt,
    "max": _most,
    "maximum": _most,
    "min": _least,
    "minimum": _least,
    "mul": operator.mul,
    "ne": operator.ne,
    "neg": operator.neg,
    "pow": operator.pow,
    "remainder": operator.mod,
    "round": round,
    "rsub": lambda a, b, factor=1: _subtract(b, a, factor),
    "sqrt": math.sqrt,
    "sub": _subtract,
    "sum": sum,
    "to": _cast,
    "true_divide": operator.truediv,
    "trunc": _truncate,
}


def _slice(values: Any, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return values[start:end:step]


def _set_item(values: Any, place: Any, value: Any) -> Any:
    values[place] = value
    return values


def _append(values: list[Any], value: Any) -> list[Any]:
    values.append(value)
    return values


def _range_length(low: int, high: int, step: int) -> int:
    return len(range(low, high, step))


#: Operator's name → function, where its first argument is a list, a dict or text.
ON_CONTAINERS: dict[str, Callable[..., Any]] = {
    "__contains__": operator.contains,
    "__getitem__": operator.getitem,
    "_set_item": _set_item,
    "append": _append,
    "copy": lambda values: values.copy(),
    "dict": dict,
    "endswith": lambda text, end: text.endswith(end),
    "extend": lambda values, more: values.extend(more),
    "format": lambda text, *_: text,  # Only for messages.
    "get": lambda values, key, default=None: values.get(key, default),
    "insert": lambda values, place, value: values.insert(place, value),
    "items": lambda values: list(values.items()),
    "keys": lambda values: list(values),
    "len": len,
    "list": list,
    "pop": lambda values, *place: values.pop(*place),
    "reverse": lambda values: values.reverse(),
    "select": operator.getitem,
    "slice": _slice,
    "sorted": sorted,
    "startswith": lambda text, start: text.startswith(start),
    "update": lambda values, more: values.update(more),
    "values": lambda values: list(values.values()),
}

#: Operator's name → function, whatever its arguments are.
ON_ANYTHING: dict[str, Callable[..., Any]] = {
    "__derive_index": lambda index, start, step: start + index * step,
    "__is__": operator.is_,
    "__isnot__": operator.is_not,
    "__range_length": _range_length,
    "_get_tracing_state": lambda: False,
    "_unwrap_optional": _same,
    "dim": lambda tensor: tensor.dim(),
    "is_autocast_cpu_enabled": lambda: False,
    "is_autocast_enabled": lambda: False,
    "is_grad_enabled": lambda: False,
    "is_scripting": lambda: True,
    "numel": lambda tensor: tensor.numel(),
    "set_grad_enabled": lambda _: None,
    "size": lambda tensor, *axis: tensor.shape[axis[0]] if axis else list(tensor.shape),
    "warn": lambda *_: None,
}
