"""The rules for a target's graph, and a check of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx
import onnx.checker
import onnx.inliner

from compress.lint import limits, operators, qdq, runtimes, shapes, speed, torch_tensorrt, types
from compress.lint.dla import dla as dla_rule
from compress.lint.findings import Finding, Subject
from compress.target.target import Target

Rule = Callable[[Subject], Iterator[Finding]]

#: What is checked for each back end, in this order.
RULES: dict[str, tuple[Rule, ...]] = {
    "tensorrt": (
        operators.opset,
        operators.operators,
        limits.limits,
        types.unknown_types,
        types.wide_types,
        types.wide_constants,
        shapes.open_axes,
        qdq.quantized_operators,
        qdq.quantized_types,
        qdq.zero_points,
        qdq.scales,
        qdq.activation_granularity,
        qdq.weight_axes,
        qdq.unpaired,
        speed.idle_zeros,
    ),
    "onnxruntime": (operators.opset, runtimes.onnxruntime_opens, speed.signed_activations, speed.idle_zeros),
    "openvino": (operators.opset, runtimes.openvino_reads),
    "torch-tensorrt": (torch_tensorrt.divided,),
}

#: What ONNX's checker says, and the rewrite that helps: GroupNormalization of opset 18 had a scale per group.
_MENDS = {"GroupNormalization is deprecated": "group-normalization"}

#: Protocol buffers, and so the checker, end at 2 GiB.
_CHECKABLE_BYTES = 2**31 - 1


def lint(model: onnx.ModelProto, target: Target, *, dla: bool = False) -> list[Finding]:
    """Find everything in a graph that its target refuses, or runs badly.

    Args:
        model: Model with its weights inside; it is not changed.
        target: Target that will run it.
        dla: Whether to check for the target's deep learning accelerator too.

    Returns:
        Findings rule by rule, in graph order; empty where there is none. A graph that breaks ONNX's own rules has
        that as its only finding, because the other rules read a legal graph. Inside of branches and loops only the
        operators are looked at.
    """
    if model.ByteSize() <= _CHECKABLE_BYTES:
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
            # ValueError: sizes that no vector has, a message with names that are not UTF-8
            reason = _one_line(error)
            rewrite = next((name for text, name in _MENDS.items() if text in reason), "")
            return [Finding("onnx", "error", "", reason, "export the network again", rewrite=rewrite)]
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    subject = Subject(model, target)
    rules = (*RULES.get(target.backend, ()), *((dla_rule,) if dla else ()))
    return [finding for rule in rules for finding in rule(subject)]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
