"""Checks an ONNX graph against what a target's runtime accepts, before anyone waits for a failed build."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx
import onnx.checker
import onnx.inliner

from compress.lint import operators, qdq, speed
from compress.lint.findings import Finding, Subject
from compress.target import Target

__all__ = ["RULES", "Finding", "lint"]

Rule = Callable[[Subject], Iterator[Finding]]

#: What is checked for each back end, in this order.
RULES: dict[str, tuple[Rule, ...]] = {
    "tensorrt": (
        operators.opset,
        operators.operators,
        operators.wide_types,
        operators.open_axes,
        qdq.quantized_operators,
        qdq.quantized_types,
        qdq.zero_points,
        qdq.scales,
        qdq.activation_granularity,
        qdq.weight_axes,
        qdq.unpaired,
    ),
    "onnxruntime": (operators.opset, speed.signed_activations),
}

#: Protocol buffers, and so the checker, end at 2 GiB.
_CHECKABLE_BYTES = 2**31 - 1


def lint(model: onnx.ModelProto, target: Target) -> list[Finding]:
    """Everything about a graph that its target will not take, or will run badly.

    Args:
        model: With its weights inside; it is not changed.
        target: Where it is to run.

    Returns:
        Findings rule by rule, in graph order; empty where there is none. A graph that breaks ONNX's own rules has
        that as its only finding, because the other rules read a legal graph. Bodies of If and Loop are not read.
    """
    if model.ByteSize() <= _CHECKABLE_BYTES:
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            return [Finding("onnx", "error", "", _one_line(error), "export the network again")]
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    subject = Subject(model, target)
    return [finding for rule in RULES.get(target.backend, ()) for finding in rule(subject)]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
