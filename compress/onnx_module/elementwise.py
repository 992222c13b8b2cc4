"""Operators on one element, or one axis, at a time: arithmetic, comparisons, activations, reductions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from compress.onnx_module.refusal import untrainable

Attributes = Mapping[str, Any]
Operator = Callable[..., Any]

_DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


def dtype_of(element_type: int) -> torch.dtype:
    """Return the torch type for a type number of ``onnx.TensorProto``.

    Raises:
        NetworkError: torch has no such type.
    """
    if element_type not in _DTYPES:
        raise untrainable(f"tensors of ONNX's element type {element_type}")
    return _DTYPES[element_type]


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda _, x: function(x)


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda _, x, y: function(x, y)


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda _, *inputs: reduce(function, inputs)


def _divide(_: Attributes, x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _power(_: Attributes, x: Tensor, y: Tensor) -> Tensor:
    return torch.pow(x, y).to(x.dtype)


def _modulo(attributes: Attributes, x: Tensor, y: Tensor) -> Tensor:
    return torch.fmod(x, y) if attributes.get("fmod", 0) else torch.remainder(x, y)


def number(value: Tensor) -> Any:
    """Return a constant's only number, without ``item()``, which a tracer would take for a part of the network."""
    plain = value.tolist()
    while isinstance(plain, list):
        (plain,) = plain
    return plain


def _clip(_: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    least, most = (None if limit is None else number(limit) for limit in (low, high))
    if least is None and most is None:
        return x
    if least is None or most is None or not x.is_floating_point():
        return torch.clamp(x, least, most)
    return F.hardtanh(x, least, most)  # The same, and its gradient is one pass instead of three.


def _prelu(_: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x >= 0, x, slope * x)


def _hard_sigmoid(attributes: Attributes, x: Tensor) -> Tensor:
    slope: float = attributes.get("alpha", 0.2)
    offset: float = attributes.get("beta", 0.5)
    return (slope * x + offset).clamp(0, 1)


def _hard_swish(_: Attributes, x: Tensor) -> Tensor:
    return x * (x / 6 + 0.5).clamp(0, 1)


def _gelu(attributes: Attributes, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=attributes.get("approximate", b"none").decode())


def _cumulative_sum(attributes: Attributes, x: Tensor, axis: Tensor) -> Tensor:
    if attributes.get("exclusive", 0) or attributes.get("reverse", 0):
        raise untrainable("CumSum that is exclusive or reversed")
    return torch.cumsum(x, int(number(axis)))


def _along(function: Callable[[Tensor, int], Tensor]) -> Operator:
    return lambda attributes, x: function(x, attributes.get("axis", -1))


def _arg_max(attributes: Attributes, x: Tensor) -> Tensor:
    if attributes.get("select_last_index", 0):
        raise untrainable("ArgMax that selects the last of equals")
    return x.argmax(attributes.get("axis", 0), keepdim=bool(attributes.get("keepdims", 1)))


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def reduced(attributes: Attributes, x: Tensor, axes_tensor: Tensor | None = None) -> Tensor:
        # Up to opset 12, 17 for most, the axes were an attribute.
        axes = list(attributes.get("axes", ())) if axes_tensor is None else axes_tensor.tolist()
        if not axes and attributes.get("noop_with_empty_axes", 0):
            return x
        return function(x, axes or list(range(x.dim())), bool(attributes.get("keepdims", 1)))

    return reduced


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


#: ONNX's name → ``operator(attributes, *inputs)``; an input that is left out is None.
ELEMENTWISE: dict[str, Operator] = {
    "Abs": _unary(torch.abs),
    "Acos": _unary(torch.acos),
    "Add": _binary(torch.add),
    "And": _binary(torch.logical_and),
    "ArgMax": _arg_max,
    "Asin": _unary(torch.asin),
    "Atan": _unary(torch.atan),
    "Cast": lambda attributes, x: x.to(dtype_of(attributes["to"])),
    "CastLike": lambda _, x, like: x.to(like.dtype),
    "Ceil": _unary(torch.ceil),
    "Celu": lambda attributes, x: F.celu(x, attributes.get("alpha", 1.0)),
    "Clip": _clip,
    "Cos": _unary(torch.cos),
    "CumSum": _cumulative_sum,
    "Div": _divide,
    "Elu": lambda attributes, x: F.elu(x, attributes.get("alpha", 1.0)),
    "Equal": _binary(torch.eq),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Floor": _unary(torch.floor),
    "Gelu": _gelu,
    "Greater": _binary(torch.gt),
    "GreaterOrEqual": _binary(torch.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Identity": _unary(lambda x: x),
    "IsInf": _unary(torch.isinf),
    "IsNaN": _unary(torch.isnan),
    "LeakyRelu": lambda attributes, x: F.leaky_relu(x, attributes.get("alpha", 0.01)),
    "Less": _binary(torch.lt),
    "LessOrEqual": _binary(torch.le),
    "Log": _unary(torch.log),
    "LogSoftmax": _along(torch.log_softmax),
    "Max": _folded(torch.maximum),
    "Min": _folded(torch.minimum),
    "Mish": _unary(F.mish),
    "Mod": _modulo,
    "Mul": _binary(torch.mul),
    "Neg": _unary(torch.neg),
    "Not": _unary(torch.logical_not),
    "Or": _binary(torch.logical_or),
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceL1": _reduction(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    "ReduceLogSumExp": _reduction(torch.logsumexp),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reduction(torch.amin),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "Relu": _unary(F.relu),
    "Round": _unary(torch.round),
    "Selu": _unary(F.selu),
    "Sigmoid": _unary(torch.sigmoid),
    "Sign": _unary(torch.sign),
    "Sin": _unary(torch.sin),
    "Softmax": _along(torch.softmax),
    "Softplus": _unary(F.softplus),
    "Softsign": _unary(F.softsign),
    "Sqrt": _unary(torch.sqrt),
    "Sub": _binary(torch.sub),
    "Sum": _folded(torch.add),
    "Tan": _unary(torch.tan),
    "Tanh": _unary(torch.tanh),
    "Where": lambda _, condition, x, y: torch.where(condition, x, y),
    "Xor": _binary(torch.logical_xor),
}
