"""The rules for a target's graph, and a check of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx
import onnx.checker
import onnx.inliner

from compress.backends import load_backend
from compress.core.registry import Entry, Registry, function
from compress.core.user_code import users_code
from compress.errors import UsageError
from compress.lint.findings import Finding, Subject
from compress.onnx_graph.legality import check_legal
from compress.onnx_graph.weights import exceeds_message, size_of_model
from compress.target.target import Target

Rule = Callable[[Subject], Iterator[Finding]]

#: Every rule by its name. One of another distribution, from the entry point group ``compress.lint``, is checked for the
#: back ends that its attribute ``backends`` names; for all where it has none.
LINT_RULES: Registry[Rule] = Registry(
    "lint rule",
    "compress.lint",
    {
        "opset": "compress.lint.operators:opset",
        "operator": "compress.lint.operators:operators",
        "operator-limit": "compress.lint.limits:limits",
        "type": "compress.lint.types:unknown_types",
        "wide-type": "compress.lint.types:wide_types",
        "wide-constant": "compress.lint.types:wide_constants",
        "open-axis": "compress.lint.shapes:open_axes",
        "quantized-operator": "compress.lint.qdq:quantized_operators",
        "quantized-type": "compress.lint.qdq:quantized_types",
        "zero-point": "compress.lint.qdq:zero_points",
        "scale": "compress.lint.qdq:scales",
        "activation-granularity": "compress.lint.qdq:activation_granularity",
        "weight-axis": "compress.lint.qdq:weight_axes",
        "unpaired-quantize": "compress.lint.qdq:unpaired",
        "cast-after-dequantize": "compress.lint.qdq:casts_between",
        "sparsity-no-gain": "compress.lint.speed:idle_zeros",
        "signed-activations": "compress.lint.speed:signed_activations",
        "onnxruntime-opens": "compress.lint.runtimes:onnxruntime_opens",
        "openvino-reads": "compress.lint.runtimes:openvino_reads",
        "partition": "compress.lint.torch_tensorrt:divided",
        "dla": "compress.lint.dla:dla",
    },
    wanted="a function from compress.lint.findings.Subject to findings",
    check=function,
)

#: Names of the rules for each of our back ends, in the order of their findings.
RULES: dict[str, tuple[str, ...]] = {
    "tensorrt": (
        "opset",
        "operator",
        "operator-limit",
        "type",
        "wide-type",
        "wide-constant",
        "open-axis",
        "quantized-operator",
        "quantized-type",
        "zero-point",
        "scale",
        "activation-granularity",
        "weight-axis",
        "unpaired-quantize",
        "cast-after-dequantize",
        "sparsity-no-gain",
    ),
    "onnxruntime": ("opset", "onnxruntime-opens", "signed-activations", "sparsity-no-gain"),
    "openvino": ("opset", "openvino-reads"),
    "torch-tensorrt": ("partition",),
}

#: Names of the rules for a back end of another distribution.
_ANY_BACKEND = ("opset",)

#: What ONNX's checker says, and the rewrite that helps: GroupNormalization of opset 18 had a scale per group.
_MENDS = {"GroupNormalization is deprecated": "group-normalization"}


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

    Raises:
        UsageError: A rule of another distribution fails.
    """
    try:
        if not exceeds_message(size_of_model(model)):
            onnx.checker.check_model(model, full_check=True)
        else:  # which is more than the checker takes
            check_legal(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        # ValueError: sizes that no vector has, a message with names that are not UTF-8
        reason = _one_line(error)
        rewrite = next((name for text, name in _MENDS.items() if text in reason), "")
        return [Finding("onnx", "error", "", reason, "export the network again", rewrite=rewrite)]
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    subject = Subject(model, target)
    names = (*RULES.get(target.backend, _ANY_BACKEND), *(("dla",) if dla else ()))
    findings = list(_not_supported(subject))
    for name in names:
        findings += LINT_RULES.load(name)(subject)
    for entry in LINT_RULES.added():
        findings += _of_another(entry, subject)
    return findings


def _not_supported(subject: Subject) -> Iterator[Finding]:
    """Yield the reasons of the back end itself against the graph."""
    backend = load_backend(subject.target.backend)
    title = backend.title or backend.name
    for reason in backend.not_supported_reasons(subject.graph.model, subject.target):
        yield Finding("not-supported", "error", "", reason, "choose another back end of the target", title)


def _of_another(entry: Entry, subject: Subject) -> list[Finding]:
    """The findings of a rule of another distribution, where it is for the target's back end."""
    rule = LINT_RULES.load(entry.name)
    if subject.target.backend not in getattr(rule, "backends", (subject.target.backend,)):
        return []
    wanted = f"findings of the lint rule '{entry.name}' of {entry.origin}"
    try:
        with users_code():
            findings = list(rule(subject))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(wanted, reason, f"update or uninstall {entry.distribution}") from error
    wrong = next((item for item in findings if not isinstance(item, Finding)), None)
    if wrong is not None:
        raise UsageError(wanted, f"a {type(wrong).__name__}", f"update or uninstall {entry.distribution}")
    return findings


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
