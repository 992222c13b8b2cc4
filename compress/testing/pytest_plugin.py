"""A pytest plugin: gate a build in the tests a team already has.

def test_release_build(compress_gate):
    compress_gate("build/", "profiles/main.json", data="val.npz", policy="gate.toml")

The test fails with the figures of every check; nothing is imported before the fixture is called.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compress.gate import Check, GatePolicy, Subject


class CompressGate(Protocol):
    """The gate as the fixture ``compress_gate`` returns it."""

    def __call__(
        self,
        candidate: str | os.PathLike[str] | Subject,
        baseline: str | os.PathLike[str] | Subject,
        data: Any = None,
        policy: str | os.PathLike[str] | GatePolicy | None = None,
        *,
        metric: str | None = None,
        groups: str | os.PathLike[str] | None = None,
        image_options: Mapping[str, Any] | None = None,
        on_inconclusive: Literal["fail", "pass"] = "fail",
    ) -> list[Check]:
        """Compare a build with a baseline; the test fails where the gate does.

        Args:
            candidate: A bundle or an ONNX file.
            baseline: A bundle, an ONNX file, or a recorded profile.
            data: Evaluation data, as ``compress gate --data`` takes it; None compares recorded outcomes.
            policy: A ``gate.toml``, or the policy itself.
            metric: Name of the accuracy metric; None takes the one that suits the data.
            groups: A ``.npy`` file with the slice of each sample of ``data``.
            image_options: Options for resizing and normalising images.
            on_inconclusive: Outcome of the test where the data cannot decide.

        Returns:
            The checks.
        """


@pytest.fixture
def compress_gate() -> CompressGate:
    """Compare a build with a baseline: see :meth:`CompressGate.__call__`."""
    return _gate


def _gate(
    candidate: str | os.PathLike[str] | Subject,
    baseline: str | os.PathLike[str] | Subject,
    data: Any = None,
    policy: str | os.PathLike[str] | GatePolicy | None = None,
    *,
    metric: str | None = None,
    groups: str | os.PathLike[str] | None = None,
    image_options: Mapping[str, Any] | None = None,
    on_inconclusive: Literal["fail", "pass"] = "fail",
) -> list[Check]:
    __tracebackhide__ = True
    from compress.gate import Verdict, gate, load_subject, overall
    from compress.gate.groups import load_task_and_groups
    from compress.gate.policy import policy_of

    if on_inconclusive not in ("fail", "pass"):
        raise ValueError(f"on_inconclusive is 'fail' or 'pass', not {on_inconclusive!r}")
    sides = [Path(side) if isinstance(side, os.PathLike) else side for side in (candidate, baseline)]
    ours, theirs = load_subject(sides[0]), load_subject(sides[1])
    task, slices = None, None
    if data is not None:
        slices_file = None if groups is None else Path(groups)
        task, slices = load_task_and_groups(
            data,
            groups=slices_file,
            subjects=(theirs, ours),
            metric=metric,
            image_options=image_options,
        )
    elif groups is not None or metric is not None or image_options is not None:
        raise ValueError("metric, groups and image_options say how data is read, and none is given")
    checks = gate(ours, theirs, task=task, groups=slices, policy=policy_of(policy))
    verdict = overall(checks)
    if verdict is Verdict.FAIL or (verdict is Verdict.INCONCLUSIVE and on_inconclusive == "fail"):
        lines = [f"{check.name}: {check.verdict}: {check.detail}" for check in checks]
        pytest.fail("\n".join([f"compress gate: {verdict}", *lines]), pytrace=False)
    return checks
