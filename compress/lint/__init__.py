"""Checks of an ONNX graph against what a target's runtime accepts, before a build fails, and repairs of it."""

from __future__ import annotations

from compress.lint.checks import LINT_RULES, RULES, lint
from compress.lint.findings import Finding
from compress.lint.fixing import REWRITES, Fixed, fix
from compress.lint.refusals import check_deployable, refusals
from compress.lint.sarif import sarif

__all__ = [
    "LINT_RULES",
    "REWRITES",
    "RULES",
    "Finding",
    "Fixed",
    "check_deployable",
    "fix",
    "lint",
    "refusals",
    "sarif",
]
