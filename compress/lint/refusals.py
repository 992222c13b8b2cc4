"""Refusals of a build by a target's runtime, where that runtime is not at hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from compress.backends import load_backend
from compress.errors import NotDeployableError
from compress.lint.checks import lint

if TYPE_CHECKING:
    import onnx

    from compress.target.target import Target


def refusals(model: onnx.ModelProto, target: Target) -> tuple[str, ...]:
    """Return what an absent runtime will refuse in a graph, by the rules of ``compress lint``.

    Args:
        model: Model with its weights inside.
        target: Target of the build.

    Returns:
        For each broken rule one line: one node's message, the next step, and the number of further nodes.
    """
    errors = [finding for finding in lint(model, target) if finding.severity == "error"]
    first = {finding.rule: finding for finding in reversed(errors)}
    counts = Counter(finding.rule for finding in errors)
    return tuple(
        f"{finding.message}{f' ({counts[rule]} such nodes)' if counts[rule] > 1 else ''}; {finding.fix}"
        for rule, finding in first.items()
    )


def check_deployable(artifact: Path, target: Target) -> None:
    """Refuse a build that its target will refuse.

    Args:
        artifact: Artifact with the file; only ONNX is examined.
        target: Target of the build.

    Raises:
        NotDeployableError: A rule is broken.
    """
    import onnx

    if artifact.suffix != ".onnx":
        return
    messages = refusals(onnx.load(artifact), target)
    if messages:
        backend = load_backend(target.backend)
        runtime = backend.title or backend.name
        release = f" {target.tensorrt}" if backend.builds_engines and target.tensorrt else ""
        raise NotDeployableError(
            f"a graph that {runtime}{release} of {target.name} takes",
            "; also: ".join(messages),
            "compress lint tells all; a board decides by itself with --host",
        )
