"""Limits of TensorRT's parser for single operators: attributes, and inputs that have to be constant.

Column "Restrictions" of docs/operators.md of onnx-tensorrt, and the importers of the same branches where they
silently leave an attribute unread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx

from compress.lint.findings import Finding, Subject, name_of
from compress.lint.releases import release_of, version_of
from compress.onnx_graph.graph import attribute

_SINCE_8, _BEFORE_8_6, _SINCE_10 = (8,), (8, 6), (10,)
_NEVER = (1000,)


@dataclass(frozen=True)
class Limit:
    """One restriction.

    Attributes:
        operators: Operators that it applies to.
        breaks: Function that returns what is wrong with a node, as a sentence's beginning; None where nothing is.
        since: First release that has the restriction.
        before: First release without it; a release far ahead where all later ones have it.
        fix: Next step, as an imperative.
        rewrite: Name of the rewrite that may do it; empty for none.
    """

    operators: tuple[str, ...]
    breaks: Callable[[onnx.NodeProto, Subject], str | None]
    since: tuple[int, ...] = _SINCE_8
    before: tuple[int, ...] = _NEVER
    fix: str = "write the network without it"
    rewrite: str = ""


def limits(subject: Subject) -> Iterator[Finding]:
    """Rule: each operator is used in a way that TensorRT's parser takes."""
    release, version = release_of(subject.target.tensorrt), version_of(subject.target.tensorrt)
    for node in subject.graph.nodes:
        for limit in _BY_OPERATOR.get(node.op_type, ()):
            if node.domain in ("", "ai.onnx") and limit.since <= version < limit.before:
                message = limit.breaks(node, subject)
                if message is not None:
                    yield Finding(
                        "operator-limit",
                        "error",
                        name_of(node),
                        f"{node.op_type}: {message}",
                        limit.fix,
                        release.source,
                        limit.rewrite,
                    )


def _constant(position: int, what: str) -> Callable[[onnx.NodeProto, Subject], str | None]:
    """Limit: the input at a position is an initialiser."""

    def breaks(node: onnx.NodeProto, subject: Subject) -> str | None:
        name = node.input[position] if position < len(node.input) else ""
        if not name or subject.value(name) is not None:
            return None
        return f"its input '{what}' has to be an initializer and is computed"

    return breaks


def _dilated(node: onnx.NodeProto, subject: Subject) -> str | None:
    dilations = attribute(node, "dilations", ())
    return f"its dilations {list(dilations)} have to be 1" if set(dilations) - {1} else None


def _writes_unread(node: onnx.NodeProto, subject: Subject) -> str | None:
    unread = [name for name in node.output[1:] if name and not _is_read(name, subject)]
    return f"its further output '{unread[0]}' is not supported, and nobody reads it" if unread else None


def _is_read_beyond_first(node: onnx.NodeProto, subject: Subject) -> str | None:
    read = [name for name in node.output[1:] if name and _is_read(name, subject)]
    return f"its further output '{read[0]}' is not supported" if read else None


def _is_read(name: str, subject: Subject) -> bool:
    return name in subject.graph.outputs or bool(subject.graph.consumers.get(name))


def _trains(node: onnx.NodeProto, subject: Subject) -> str | None:
    if attribute(node, "training_mode", 0):
        return "it is in training mode"
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        value = subject.value(node.input[2])
        if value is None:
            return "whether it trains is computed at run time"
        return "it is in training mode" if bool(value.any()) else None
    return None


def _resizes(node: onnx.NodeProto, subject: Subject) -> str | None:
    allowed = {
        "mode": {b"nearest", b"linear"},
        "coordinate_transformation_mode": {
            b"half_pixel",
            b"pytorch_half_pixel",
            b"tf_half_pixel_for_nn",
            b"asymmetric",
            b"align_corners",
        },
        "nearest_mode": {b"floor", b"ceil", b"round_prefer_floor", b"round_prefer_ceil"},
        "keep_aspect_ratio_policy": {b"stretch"},
    }
    for name, values in allowed.items():
        setting = attribute(node, name)
        if setting is not None and setting not in values:
            return f"its {name} is {setting.decode()}"
    return "it antialiases" if attribute(node, "antialias", 0) else None


def _largest_k(node: onnx.NodeProto, subject: Subject) -> str | None:
    if not attribute(node, "sorted", 1):
        return "sorted has to be 1"
    value = subject.value(node.input[1]) if len(node.input) > 1 else None
    if value is not None and value.size and int(value.flat[0]) >= 3840:
        return f"its K is {int(value.flat[0])} and has to be less than 3840"
    return None


def _unread(name: str, default: object) -> Callable[[onnx.NodeProto, Subject], str | None]:
    """Limit: an attribute that the importers do not read has its default."""

    def breaks(node: onnx.NodeProto, subject: Subject) -> str | None:
        setting = attribute(node, name, default)
        if setting == default:
            return None
        shown = setting.decode() if isinstance(setting, bytes) else setting
        return f"its {name} is {shown}, which the parser does not read: it computes something else"

    return breaks


def _names_reduction(node: onnx.NodeProto, subject: Subject) -> str | None:
    reduction = attribute(node, "reduction")
    return None if reduction is None else f"its reduction is {reduction.decode()}, and it may not have one"


def _couples_gates(node: onnx.NodeProto, subject: Subject) -> str | None:
    return "it couples input and forget gate" if attribute(node, "input_forget", 0) else None


def _directions_differ(node: onnx.NodeProto, subject: Subject) -> str | None:
    activations = attribute(node, "activations") or []
    half = len(activations) // 2
    if (
        attribute(node, "direction", b"forward") != b"bidirectional"
        or activations[:half] == activations[half:]
    ):
        return None
    return "its two directions have different activations"


def _uses_ellipsis(node: onnx.NodeProto, subject: Subject) -> str | None:
    equation = attribute(node, "equation", b"").decode().replace(" ", "")
    if "..." in equation:
        return "its equation has an ellipsis"
    repeated = any(len(set(term)) < len(term) for term in equation.partition("->")[0].split(","))
    return "its equation takes a diagonal" if repeated else None


def _other_norms(node: onnx.NodeProto, subject: Subject) -> str | None:
    power = attribute(node, "p", 2)
    return None if power in (1, 2) else f"its p is {power} and has to be 1 or 2"


def _grid_rank(node: onnx.NodeProto, subject: Subject) -> str | None:
    rank = subject.typed.rank(node.input[0])
    return None if rank in (None, 4) else f"its input has {rank} axes and has to have 4"


def _instance_rank(node: onnx.NodeProto, subject: Subject) -> str | None:
    rank = subject.typed.rank(node.input[0])
    return None if rank is None or 3 <= rank <= 5 else f"its input has {rank} axes and has to have 3 to 5"


def _strings(node: onnx.NodeProto, subject: Subject) -> str | None:
    name = next((entry.name for entry in node.attribute), "")
    return f"it holds {name}" if name in ("sparse_value", "value_string", "value_strings") else None


_REDUCTIONS = tuple(
    f"Reduce{name}"
    for name in ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]
)
_RECURRENT = ("GRU", "LSTM", "RNN")


def _constant_input(
    operators: tuple[str, ...],
    position: int,
    what: str,
    since: tuple[int, ...] = _SINCE_8,
    before: tuple[int, ...] = _NEVER,
) -> Limit:
    fix = "fold it to a constant, or give it as one"
    return Limit(operators, _constant(position, what), since, before, fix, "fold-constants")


_LIMITS = (
    Limit(("AveragePool", "MaxPool", "LpPool"), _dilated),
    Limit(("MaxPool",), _writes_unread, fix="leave that output out", rewrite="unused-outputs"),
    Limit(("MaxPool",), _is_read_beyond_first),
    Limit(
        ("LayerNormalization",),
        _writes_unread,
        since=_SINCE_10,
        fix="leave that output out",
        rewrite="unused-outputs",
    ),
    Limit(
        ("LayerNormalization",),
        _is_read_beyond_first,
        since=_SINCE_10,
        fix="write it as ReduceMean, Sub, Mul, Sqrt, Div and Add",
        rewrite="layer-normalization",
    ),
    Limit(("BatchNormalization", "Dropout"), _trains, fix="export the network in evaluation mode"),
    Limit(("Resize",), _resizes, fix="resize in another mode"),
    Limit(("TopK",), _largest_k, since=_SINCE_10),
    _constant_input(("TopK",), 1, "K", before=_BEFORE_8_6),
    Limit(("ScatterND", "ScatterElements"), _unread("reduction", b"none"), before=_SINCE_10),
    Limit(("ScatterND",), _names_reduction, since=_SINCE_10, fix="write it without the attribute"),
    Limit(_RECURRENT, _unread("layout", 0), fix="export it with the time axis first"),
    Limit(_RECURRENT, _directions_differ),
    Limit(("LSTM",), _couples_gates),
    Limit(("Einsum",), _uses_ellipsis, before=_SINCE_10, fix="write it as MatMul and Transpose"),
    Limit(("LpNormalization", "LpPool"), _other_norms),
    Limit(("GridSample",), _grid_rank, since=_SINCE_10),
    Limit(("InstanceNormalization",), _instance_rank, before=_BEFORE_8_6),
    _constant_input(("InstanceNormalization",), 1, "scale", before=_BEFORE_8_6),
    _constant_input(("InstanceNormalization",), 2, "B", before=_BEFORE_8_6),
    _constant_input(("CumSum", "Squeeze", "Unsqueeze"), 1, "axes"),
    _constant_input(("Slice",), 3, "axes"),
    _constant_input(_REDUCTIONS, 1, "axes", since=_SINCE_10),
    _constant_input(("OneHot",), 1, "depth", since=_SINCE_10),
    _constant_input(("Pad",), 3, "axes", since=_SINCE_10),
    Limit(("Constant",), _strings, since=_SINCE_10),
)

_BY_OPERATOR = {
    operator: tuple(limit for limit in _LIMITS if operator in limit.operators)
    for operator in {name for limit in _LIMITS for name in limit.operators}
}
