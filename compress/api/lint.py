"""``compress.lint_network``: what a target's runtime would refuse. Named so since ``compress.lint`` is a package."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.api.opened_model import GivenInputs, InputShape, given_shapes, input_shapes, open_model

if TYPE_CHECKING:
    import onnx

    from compress.lint import Finding, Fixed
    from compress.target.target import Target


@dataclass(frozen=True)
class LintResult:
    """Findings about a network for one target.

    Attributes:
        model: Path, as it was given.
        sha256: sha256 of the file; for a bundle, of its artifact.
        target: Name of the target.
        findings: Findings; after a repair, those that are left.
        fixed: The repair, with what was rewritten and what could not be; None where none was asked for.
        written: File with the repaired graph; None where none was asked for.
        largest_difference: Largest difference between both graphs' outputs on a random batch, as a share of the largest
            output; None where none was repaired, or they could not be compared.
        note: Sentence on which of several sets of weights was taken; None where there is one.
    """

    model: str
    sha256: str
    target: str
    findings: tuple[Finding, ...]
    fixed: Fixed | None = None
    written: Path | None = None
    largest_difference: float | None = None
    note: str | None = None

    @property
    def errors(self) -> int:
        """Number of findings that the runtime would refuse."""
        return sum(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold, as ``compress lint --json`` prints it."""
        told: dict[str, Any] = {
            "model": self.model,
            "sha256": self.sha256,
            "target": self.target,
            "findings": [finding.to_dict() for finding in self.findings],
        }
        if self.fixed is not None:
            told |= {
                "written": str(self.written),
                "rewrites": {name: list(nodes) for name, nodes in self.fixed.applied.items()},
                "refused": dict(self.fixed.refused),
                "largest_difference": self.largest_difference,
            }
        return told


def lint_network(
    model: str | os.PathLike[str],
    *,
    target: str,
    backend: str | None = None,
    dla: bool = False,
    fix: str | os.PathLike[str] | None = None,
    sarif: str | os.PathLike[str] | None = None,
    shape: GivenInputs = None,
    factory: str | None = None,
    trust_pickle: bool = False,
    weights: str | None = None,
    batch_axis: Mapping[str, int] | None = None,
) -> LintResult:
    """Check a network against what a target's runtime accepts, and repair it on demand, as ``compress lint`` does.

        result = compress.lint_network("model.onnx", target="jetson-orin-nano-super")
        assert not result.errors, result.findings

    :func:`compress.lint.lint` is the same for an ONNX graph in memory.

    Args:
        model: A network's file, as for :func:`compress.optimize`, or a bundle's directory.
        target: Target by name or TOML file.
        backend: Back end to check for, such as ``openvino``; None takes the target's own.
        dla: Whether to check for the target's deep learning accelerator too.
        fix: File for the repaired graph, whose outputs are compared with the model's; None repairs nothing.
        sarif: File for the findings as SARIF 2.1.0; None writes none.
        shape: Sizes of every axis by the input's name, or of the only input, where the file does not state them.
        factory: ``module:callable`` that makes the network of a state dict; None where the file needs none.
        trust_pickle: Whether a pickle may be loaded, which can run any code.
        weights: Set of weights to take where a checkpoint holds several; see :func:`compress.load_network`.
        batch_axis: Axis that counts samples, by the input's name, or under ``""`` for all; None finds it.

    Raises:
        NetworkError: The file cannot be used.
        BundleError: The directory is no bundle, or a damaged one.
        TargetError: The target is unknown.
        OutputError: A file cannot be written.
    """
    import compress.lint
    from compress.core.json_text import json_text
    from compress.core.versions import versions
    from compress.reports.writing import write_text
    from compress.target.target import load_target

    deployment = load_target(target)
    if backend is not None:
        deployment = deployment.for_backend(backend)
    inputs = input_shapes(shape)
    opened = open_model(
        Path(model),
        inputs,
        factory=factory,
        trust_pickle=trust_pickle,
        weights=weights,
        batch_axis=batch_axis,
    )
    if inputs and opened.format in ("onnx", "bundle"):  # others were traced with these shapes
        deployment = _for_shapes(opened.model, deployment, inputs)
    fixed, difference = None, None
    if fix is None:
        findings = compress.lint.lint(opened.model, deployment, dla=dla)
    else:
        fixed = compress.lint.fix(opened.model, deployment, dla=dla)
        findings = list(fixed.findings)
        difference = _written(opened.model, fixed, Path(fix), inputs)
    if sarif is not None:
        version = versions().get("compress-toolkit", "0")
        found = compress.lint.sarif(findings, opened.path, opened.sha256, deployment.name, version)
        write_text(Path(sarif), json_text(found, indent=2) + "\n")
    return LintResult(
        opened.path,
        opened.sha256,
        deployment.name,
        tuple(findings),
        fixed,
        None if fix is None else Path(fix),
        difference,
        note=opened.note,
    )


def _for_shapes(model: onnx.ModelProto, target: Target, inputs: Sequence[InputShape]) -> Target:
    """Return the target with the sizes that an engine is to be built for."""
    from dataclasses import replace

    from compress.data.sizes import input_ranges
    from compress.network.formats.onnx_file import read_specs

    _, shapes = given_shapes(model, inputs, None)
    specs, _ = read_specs(model)
    asked = {name: [shape] for name, shape in shapes.items()}
    return replace(target, input_shapes=input_ranges(specs, (), target.batch_sizes, asked))


def _written(
    original: onnx.ModelProto, fixed: Fixed, path: Path, inputs: Sequence[InputShape]
) -> float | None:
    """Write the rewritten graph if its outputs equal the original's, and return the largest difference.

    Raises:
        InternalError: The outputs differ; nothing is written.
        OutputError: The file cannot be written.
    """
    from compress.core.files import written_safely
    from compress.errors import InternalError
    from compress.lint.equality import largest_difference, tolerance
    from compress.onnx_graph.files import save_model

    _, shapes = given_shapes(original, inputs, None)
    difference = largest_difference(original, fixed.model, shapes=shapes)
    most = tolerance(fixed.model)
    if difference is not None and difference > most:
        names = ", ".join(fixed.applied)
        raise InternalError(
            f"outputs that differ by {most:g} at most",
            f"{difference:.2g} after the rewrites {names}",
            "report this as a defect",
        )
    with written_safely(path):
        save_model(fixed.model, path)
    return difference
