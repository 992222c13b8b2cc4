"""Findings as SARIF 2.1.0 (OASIS), which code hosts show beside a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from compress.lint.findings import Finding

VERSION = "2.1.0"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"

#: Every rule of ours that a finding may name, and what it checks.
DESCRIPTIONS: Mapping[str, str] = {
    "activation-granularity": "Activations have one scale per tensor.",
    "dla": "The deep learning accelerator takes every layer.",
    "not-supported": "The back end runs the graph.",
    "onnx": "The graph keeps ONNX's own rules.",
    "open-axis": "Axes other than the batch have fixed sizes.",
    "operator": "The runtime has every operator.",
    "operator-limit": "Operators are used in a way that the runtime takes.",
    "opset": "The runtime reads the opset.",
    "partition": "The back end compiles the whole graph.",
    "quantized-operator": "Quantization is written as QuantizeLinear and DequantizeLinear.",
    "quantized-type": "Quantized tensors are of types that the target dequantizes.",
    "runtime": "The runtime itself opens the graph.",
    "scale": "Scales are constant, positive and finite.",
    "signed-activations": "Quantized activations are of the type with the fastest kernels.",
    "sparsity-no-gain": "Zeros among the weights make the graph faster.",
    "type": "The runtime has every element type.",
    "unpaired-quantize": "Each QuantizeLinear is read by DequantizeLinear alone.",
    "cast-after-dequantize": "No Cast stands between DequantizeLinear and the layer that reads it.",
    "weight-axis": "Weights have one scale per output channel.",
    "wide-constant": "Integer constants fit the type that the runtime computes in.",
    "wide-type": "No tensor is wider than what the runtime computes in.",
    "zero-point": "Quantization is symmetric.",
}


def sarif(findings: Sequence[Finding], path: str, sha256: str, target: str, version: str) -> dict[str, Any]:
    """Return a SARIF log of one run.

    Args:
        findings: Findings of the run.
        path: Path of the checked file, as a reader of the log finds it.
        sha256: sha256 of the checked file.
        target: Name of the target it was checked for.
        version: Version of this package.
    """
    rules = sorted({finding.rule for finding in findings})
    artifact = {"uri": PurePath(path).as_posix(), "index": 0}
    return {
        "$schema": SCHEMA,
        "version": VERSION,
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "compress lint",
                        "version": version,
                        "rules": [
                            {"id": rule, "shortDescription": {"text": DESCRIPTIONS.get(rule, rule)}}
                            for rule in rules
                        ],
                    }
                },
                "artifacts": [{"location": {"uri": artifact["uri"]}, "hashes": {"sha-256": sha256}}],
                "properties": {"target": target},
                "results": [_result(finding, rules.index(finding.rule), artifact) for finding in findings],
            }
        ],
    }


def _result(finding: Finding, index: int, artifact: Mapping[str, Any]) -> dict[str, Any]:
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": dict(artifact)}}
    if finding.node:
        location["logicalLocations"] = [{"name": finding.node, "kind": "member"}]
    details = {"fix": finding.fix, "source": finding.source, "rewrite": finding.rewrite}
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.severity,
        "message": {"text": f"{finding.message}; {finding.fix}"},
        "locations": [location],
        "properties": {key: value for key, value in details.items() if value},
    }
