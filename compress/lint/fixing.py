"""Rewrites that make a target's runtime take a graph, chosen by what the rules find."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import onnx
import onnx.inliner
from onnx import TensorProto

from compress.errors import NetworkError
from compress.lint.checks import lint
from compress.lint.findings import Finding
from compress.lint.releases import opsets_of
from compress.lint.types import lacks_int64
from compress.onnx_graph.constants import fold_constants
from compress.onnx_graph.fold import infer_shapes, name_nodes, remove_unused
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.rewrites import activations, normalization, opset, outputs, types
from compress.onnx_graph.rewrites.later import raise_opset
from compress.target.target import Target

Rewrite = Callable[[onnx.ModelProto, Target], list[str]]


@dataclass(frozen=True)
class Fixed:
    """Result of :func:`fix`.

    Attributes:
        model: New model where anything was applied, else the original one.
        applied: Names of the nodes, inputs and outputs that each rewrite changed, by the rewrite's name.
        findings: Findings that are left.
        refused: Reason why each refused rewrite could not be done, by its name.
    """

    model: onnx.ModelProto
    applied: Mapping[str, tuple[str, ...]]
    findings: tuple[Finding, ...]
    refused: Mapping[str, str]


def fix(model: onnx.ModelProto, target: Target, *, keep_interface: bool = False, dla: bool = False) -> Fixed:
    """Apply the rewrites that the findings name, until none is left that helps.

    Args:
        model: Model to repair; it is not modified.
        target: Target that will run it.
        keep_interface: Whether to keep the types of inputs and outputs.
        dla: Whether to check for the accelerator too; see :func:`compress.lint.lint`.
    """
    applied: dict[str, tuple[str, ...]] = {}
    refused: dict[str, str] = {}
    idle: set[str] = set()
    findings = lint(model, target, dla=dla)
    while rewrites_wanted := _wanted(findings, {*applied, *refused, *idle}, keep_interface):
        name = rewrites_wanted[0]
        rewritten = _copy(model)
        try:
            infer_shapes(rewritten)
            changed = REWRITES[name](rewritten, target)
            remove_unused(rewritten)
            name_nodes(rewritten)
            infer_shapes(rewritten)
        except NetworkError as error:
            refused[name] = f"{error.found}; {error.todo}"
            continue
        if not changed:
            idle.add(name)
            continue
        applied[name] = tuple(changed)
        model = rewritten
        findings = lint(model, target, dla=dla)
    return Fixed(model, applied, tuple(findings), refused)


def _wanted(findings: Collection[Finding], done: Collection[str], keep_interface: bool) -> list[str]:
    """Return the rewrites that findings name and that were not tried, in the order of :data:`REWRITES`."""
    rewrites_named = {finding.rewrite for finding in findings} - set(done)
    if keep_interface:
        rewrites_named.discard("narrow-types")
    return [name for name in REWRITES if name in rewrites_named]


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    if model.functions:
        return onnx.inliner.inline_local_functions(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _fold_constants(model: onnx.ModelProto, target: Target) -> list[str]:
    before = {node.output[0] for node in model.graph.node}
    fold_constants(model)
    return sorted(before - {node.output[0] for node in model.graph.node})


def _opset(model: onnx.ModelProto, target: Target) -> list[str]:
    lowest, highest = opsets_of(target)
    opset_found = Graph(model).opset
    if highest is not None and opset_found > highest:
        return opset.lower_opset(model, highest) or [f"opset {highest}"]
    if lowest is None or opset_found >= lowest:
        return []
    model.CopyFrom(raise_opset(model, lowest))
    return [f"opset {lowest}"]


def _narrow_types(model: onnx.ModelProto, target: Target) -> list[str]:
    wide = {int(TensorProto.DOUBLE)}
    if lacks_int64(target):
        wide.add(int(TensorProto.INT64))
    return types.narrow_inputs_and_outputs(model, wide)


def _plain(rewrite: Callable[[onnx.ModelProto], list[str]]) -> Rewrite:
    """Wrap a rewrite that is the same for every target."""
    return lambda model, target: rewrite(model)


#: What can be done about findings, in the order in which it is done.
REWRITES: Mapping[str, Rewrite] = {
    "fold-constants": _fold_constants,
    "float-biases": _plain(types.float_biases),
    "unused-outputs": _plain(outputs.remove_unused_outputs),
    "layer-normalization": _plain(normalization.decompose_layer_normalization),
    "group-normalization": _plain(normalization.decompose_group_normalization),
    "gelu": _plain(activations.decompose_gelu),
    "mish": _plain(activations.decompose_mish),
    "cast-like": _plain(types.cast_instead_of_cast_like),
    "opset": _opset,
    "int32-constants": _plain(types.int32_constants),
    "narrow-types": _narrow_types,
}
