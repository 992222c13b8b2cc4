"""``compress.lint_network``: what a target's runtime would refuse. Named so since ``compress.lint`` is a package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from compress.api.build_options import LintOptions
from compress.api.keywords import LintKeywords
from compress.api.opened_model import InputShape, given_shapes, input_shapes, open_model
from compress.core.options import takes

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
        content: dict[str, Any] = {
            "model": self.model,
            "sha256": self.sha256,
            "target": self.target,
            "findings": [finding.to_dict() for finding in self.findings],
        }
        if self.fixed is not None:
            content |= {
                "written": str(self.written),
                "rewrites": {name: list(nodes) for name, nodes in self.fixed.applied.items()},
                "refused": dict(self.fixed.refused),
                "largest_difference": self.largest_difference,
            }
        return content


@takes(LintOptions)
def lint_network(model: str | os.PathLike[str], **options: Unpack[LintKeywords]) -> LintResult:
    """Check a network against what a target's runtime accepts, and repair it on demand, as ``compress lint`` does.

        result = compress.lint_network("model.onnx", target="jetson-orin-nano-super")
        assert not result.errors, result.findings

    :func:`compress.lint.lint` is the same for an ONNX graph in memory.

    Args:
        model: A network's file, as for :func:`compress.optimize`, or a bundle's directory.

    Raises:
        NetworkError: The file cannot be used, or has no use for an option that says how it is read.
        BundleError: The directory is no bundle, or a damaged one.
        TargetError: The target is unknown.
        OutputError: A file cannot be written.
    """
    import compress.lint
    from compress.core.json_text import json_text
    from compress.core.replacing import check_replaceable
    from compress.core.versions import versions
    from compress.reports.writing import write_text
    from compress.target.target import load_target

    request = LintOptions.of(options)
    for path in (request.fix, request.sarif):
        if path is not None:
            check_replaceable(Path(path))
    deployment = load_target(request.target)
    if request.backend is not None:
        deployment = deployment.for_backend(request.backend)
    inputs = input_shapes(request.shape)
    opened = open_model(Path(model), inputs, request)
    if inputs and opened.format in ("onnx", "bundle"):  # others were traced with these shapes
        deployment = _for_shapes(opened.model, deployment, inputs)
    fixed, written, difference = None, None, None
    if request.fix is None:
        findings = compress.lint.lint(opened.model, deployment, dla=request.dla)
    else:
        fixed, written = compress.lint.fix(opened.model, deployment, dla=request.dla), Path(request.fix)
        findings = list(fixed.findings)
        difference = _written(opened.model, fixed, written, inputs)
    if request.sarif is not None:
        version = versions().get("compress-toolkit", "0")
        log = compress.lint.sarif(findings, opened.path, opened.sha256, deployment.name, version)
        write_text(Path(request.sarif), json_text(log, indent=2) + "\n")
    return LintResult(
        opened.path,
        opened.sha256,
        deployment.name,
        tuple(findings),
        fixed,
        written,
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
    shapes_by_name = {name: [shape] for name, shape in shapes.items()}
    return replace(target, input_shapes=input_ranges(specs, (), target.batch_sizes, shapes_by_name))


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
