"""Replacement of calls without an ONNX form, or that the exporter writes wrongly.

Each rule takes every argument of a call by name, and gives what computes the same, or None where it does not know how.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from compress.errors import LiftError
from compress.network.lifting.call_writing import WrittenCall
from compress.network.lifting.calls import aten

_Arguments = Mapping[str, Any]
_Rule = Callable[[_Arguments], WrittenCall | None]

#: Lengths up to which running products and maxima are written as one of every start with every end.
_MOST_SQUARED = 512


def _average_pool(target: Any, axes: int) -> _Rule:
    """Rewrite average pooling with its own divisor, which the exporter leaves out."""

    def rule(arguments: _Arguments) -> WrittenCall | None:
        return None if arguments["divisor_override"] is None else _divided(arguments, target, axes)

    return rule


def _divided(arguments: _Arguments, target: Any, axes: int) -> WrittenCall:
    kernel = list(arguments["kernel_size"])
    if arguments["ceil_mode"]:  # windows over the edge hold fewer values, and the mean is of those
        raise LiftError(
            "an average pool with divisor_override without ceil_mode",
            "one with both",
            "pad its input, and leave ceil_mode out",
        )
    area = math.prod(kernel) if len(kernel) == axes else kernel[0] ** axes  # one number stands for all axes
    settings = (arguments["stride"], arguments["padding"], False, True, None)
    pooled = WrittenCall(target, (arguments["self"], kernel, *settings))
    return WrittenCall(aten.mul.Tensor, (pooled, area / arguments["divisor_override"]))


def _rrelu(arguments: _Arguments) -> WrittenCall:
    """Rewrite RReLU, whose slope in inference is the middle of its range."""
    slope = (arguments["lower"] + arguments["upper"]) / 2
    return WrittenCall(aten.leaky_relu.default, (arguments["self"], slope))


def _distances(arguments: _Arguments) -> WrittenCall:
    """Rewrite distances between every row of one and every row of the other."""
    first = WrittenCall(aten.unsqueeze.default, (arguments["x1"], -2))
    second = WrittenCall(aten.unsqueeze.default, (arguments["x2"], -3))
    apart = WrittenCall(aten.sub.Tensor, (first, second))
    return WrittenCall(aten.linalg_vector_norm.default, (apart, arguments["p"], [-1]))


def _hypotenuse(arguments: _Arguments) -> WrittenCall:
    squares = [WrittenCall(aten.mul.Tensor, (arguments[name], arguments[name])) for name in ("self", "other")]
    return WrittenCall(aten.sqrt.default, (WrittenCall(aten.add.Tensor, tuple(squares)),))


def _extreme(target: Any) -> _Rule:
    """Rewrite the larger or smaller of two values, or the other where one is NaN."""

    def rule(arguments: _Arguments) -> WrittenCall:
        one, other = arguments["self"], arguments["other"]
        chosen = WrittenCall(target, (one, other))
        first = WrittenCall(aten.where.self, (WrittenCall(aten.isnan.default, (one,)), other, chosen))
        return WrittenCall(aten.where.self, (WrittenCall(aten.isnan.default, (other,)), one, first))

    return rule


def _with_sign(arguments: _Arguments) -> WrittenCall:
    size = WrittenCall(aten.abs.default, (arguments["self"],))
    negative = WrittenCall(aten.lt.Scalar, (arguments["other"], 0))
    return WrittenCall(aten.where.self, (negative, WrittenCall(aten.neg.default, (size,)), size))


def _nth_smallest(arguments: _Arguments) -> WrittenCall | None:
    """Rewrite the k-th smallest value along an axis."""
    tensor, axis = arguments["self"], arguments["dim"]
    size = tensor.meta["val"].shape[axis]
    if not isinstance(size, int):
        return None
    count = arguments["k"]
    smallest = WrittenCall(aten.topk.default, (tensor, count, axis, False, True))
    value = WrittenCall(aten.select.int, (WrittenCall(operator.getitem, (smallest, 0)), axis, count - 1))
    return WrittenCall(aten.unsqueeze.default, (value, axis)) if arguments["keepdim"] else value


def _running(target: Any, neutral: float) -> _Rule:
    """Rewrite a cumulative product or maximum along an axis of a known length."""

    def rule(arguments: _Arguments) -> WrittenCall | None:
        tensor: fx.Node = arguments["self"]
        value = tensor.meta["val"]
        axis = arguments["dim"] % value.dim()
        size = value.shape[axis]
        if not isinstance(size, int) or size > _MOST_SQUARED or not value.is_floating_point():
            return None
        # [..., size, ...] → [..., starts, size, ...]: in row n everything behind n is neutral.
        behind = WrittenCall(aten.triu.default, (WrittenCall(aten.ones.default, ([size, size],)), 1))
        shape = [size, size, *[1] * (value.dim() - axis - 1)]
        mask = WrittenCall(aten.gt.Scalar, (WrittenCall(aten.reshape.default, (behind, shape)), 0))
        rows = WrittenCall(aten.unsqueeze.default, (tensor, axis))
        masked = WrittenCall(aten.masked_fill.Scalar, (rows, mask, neutral))
        axes = axis + 1 if target is aten.prod.dim_int else [axis + 1]
        return WrittenCall(target, (masked, axes))

    return rule


def _search(arguments: _Arguments) -> WrittenCall | None:
    """Rewrite the position of each value in a sorted sequence, counting entries before it; None for several."""
    sequence = arguments["sorted_sequence"]
    if sequence.meta["val"].dim() != 1 or arguments["sorter"] is not None:
        return None
    after = arguments["right"] or arguments["side"] == "right"
    values = WrittenCall(aten.unsqueeze.default, (arguments["self"], -1))
    before = WrittenCall(aten.ge.Tensor if after else aten.gt.Tensor, (values, sequence))
    kind = torch.int32 if arguments["out_int32"] else torch.int64
    return WrittenCall(aten.sum.dim_IntList, (before, [-1]), {"dtype": kind})


#: Those that return two results, of which only the first has a form here.
WITH_PLACES: frozenset[Any] = frozenset({aten.kthvalue.default, aten.cummax.default, aten.cummin.default})

#: Operator → what writes it.
RULES: dict[Any, _Rule] = {
    aten.avg_pool2d.default: _average_pool(aten.avg_pool2d.default, 2),
    aten.avg_pool3d.default: _average_pool(aten.avg_pool3d.default, 3),
    aten.rrelu.default: _rrelu,
    aten.rrelu_with_noise_functional.default: _rrelu,
    aten.cdist.default: _distances,
    aten._cdist_forward.default: _distances,
    aten.hypot.default: _hypotenuse,
    aten.fmax.default: _extreme(aten.maximum.default),
    aten.fmin.default: _extreme(aten.minimum.default),
    aten.copysign.Tensor: _with_sign,
    aten.kthvalue.default: _nth_smallest,
    aten.cumprod.default: _running(aten.prod.dim_int, 1.0),
    aten.cummax.default: _running(aten.amax.default, float("-inf")),
    aten.cummin.default: _running(aten.amin.default, float("inf")),
    aten.searchsorted.Tensor: _search,
}
