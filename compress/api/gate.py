"""``compress.gate_build``: does a build regress against a baseline? Named so since ``compress.gate`` is a package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import UsageError
from compress.gate.policy import GatePolicy
from compress.gate.verdict import Check, Verdict, overall

if TYPE_CHECKING:
    from compress.data.class_order import ClassNames
    from compress.data.task import MetricChoice


@dataclass(frozen=True)
class GateResult:
    """Verdict of a gate, with every check behind it.

    Attributes:
        verdict: ``pass``, ``fail``, or ``inconclusive`` where the data cannot tell.
        checks: Checks of the policy, in its order.
        candidate: Path of the build that was judged.
        candidate_sha256: Hash of all that the build was read from; None where it is not known.
        baseline: Path of the baseline.
        baseline_sha256: Hash of all that the baseline was read from; None where it is not known.
        policy: Checks and margins that were applied.
        notes: Sentences for a person: doubts about figures, samples that were left out.
    """

    verdict: Verdict
    checks: tuple[Check, ...]
    candidate: str
    candidate_sha256: str | None
    baseline: str
    baseline_sha256: str | None
    policy: GatePolicy
    notes: tuple[str, ...] = ()

    @property
    def note(self) -> str | None:
        """All notes as one line; None where there is none."""
        return "; ".join(self.notes) or None

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold, as ``compress gate --json`` prints it."""
        return {
            "schema": 1,
            "verdict": self.verdict,
            "candidate": self.candidate,
            "candidate_sha256": self.candidate_sha256,
            "baseline": self.baseline,
            "baseline_sha256": self.baseline_sha256,
            "note": self.note,
            "checks": [check.to_dict() for check in self.checks],
            "policy": self.policy.to_dict(),
        }


def gate_build(
    candidate: str | os.PathLike[str] = "build",
    *,
    baseline: str | os.PathLike[str],
    data: Any = None,
    groups: str | os.PathLike[str] | None = None,
    policy: GatePolicy | str | os.PathLike[str] | None = None,
    max_drop: float | None = None,
    max_slowdown: float | None = None,
    target: str | None = None,
    host: str | None = None,
    keep_on_host: bool = False,
    metric: MetricChoice = None,
    image_options: Mapping[str, Any] | None = None,
    classes: ClassNames | None = None,
    state: Mapping[str, str] | None = None,
) -> GateResult:
    """Accept or reject a build against a baseline, as ``compress gate`` does.

        result = compress.gate_build("build", baseline="main-build", data="val.npz", max_drop=0.5)
        assert result.verdict == "pass", result.checks

    :func:`compress.gate.gate` is the same for objects that are open already.

    Args:
        candidate: The build that may be merged: a bundle or an ONNX file.
        baseline: The build that it must not fall behind: a bundle, an ONNX file, or a profile that
            :func:`compress.profile` wrote.
        data: Evaluation data to run both builds on; None compares the outcomes that the bundles record.
        groups: File (.npy) with the slice of each sample of ``data``; None takes ``groups`` in the .npz, or classes.
        policy: Checks and their margins, or a file (gate.toml) with them; None takes the default policy.
        max_drop: Largest accuracy drop allowed, in absolute points, from 0; None takes the policy's.
        max_slowdown: Largest rise of the median latency allowed, in %, from 0; None takes the policy's.
        target: Target that engines are built for, with ``host``; None takes the bundle's own.
        host: Machine where engines of both are built and timed in turns: an address that ssh takes, or ``local``; None
            runs both in this process.
        keep_on_host: Whether to leave engines and timing caches on the host.
        metric: Metric of the accuracy, see :func:`compress.load_task`; None chooses by the data.
        image_options: Preparation of images, see :func:`compress.load_task`.
        classes: Names of the classes in the network's order, or a file that holds them; None leaves it to the data.
        state: The output that is the next value of each input that is carried from call to call; None takes those that
            the bundles record.

    Raises:
        BundleError: One of the two is damaged, or they are builds of different networks.
        DataError: The data does not fit, or the baseline is right by chance alone on it.
        NetworkError: One of the two does not run.
        UnavailableError: A back end is not installed here, or the host does not answer.
        UsageError: Arguments do not go together.
    """
    from compress.data.class_order import with_classes
    from compress.data.evaluation import left_out_note
    from compress.gate.groups import load_task_and_groups
    from compress.gate.origin import other_network
    from compress.gate.policy import load_policy
    from compress.gate.run import gate
    from compress.gate.subject import load_subject

    given = {"max_drop_points": max_drop, "max_slowdown_percent": max_slowdown}
    margins = {name: value for name, value in given.items() if value is not None}
    known = (
        policy
        if isinstance(policy, GatePolicy)
        else GatePolicy()
        if policy is None
        else load_policy(Path(policy))
    )
    chosen = replace(known, **margins)  # type: ignore[arg-type]  # both are floats
    if data is None and any(each is not None for each in (groups, metric, image_options, classes, state)):
        raise UsageError(
            "--data with --groups, --metric, --state, --classes and --image-…", "none", "give --data"
        )
    ours, theirs = load_subject(os.fspath(candidate)), load_subject(os.fspath(baseline))
    task, slices = None, None
    if data is not None:
        task, slices = load_task_and_groups(
            data,
            groups=None if groups is None else Path(groups),
            subjects=(theirs, ours),
            metric=metric,
            image_options=with_classes(image_options, classes),
            streams=bool(state),
        )
    notes: list[str] = []
    checks = gate(
        ours,
        theirs,
        task=task,
        groups=slices,
        policy=chosen,
        state=state,
        host=host,
        target=target,
        keep_on_host=keep_on_host,
        on_note=notes.append,
    )
    if task is not None and (left_out := left_out_note(task)):
        notes.append(left_out)
    if origin := other_network(ours, theirs):
        notes.insert(0, origin)
    return GateResult(
        overall(checks),
        tuple(checks),
        os.fspath(candidate),
        ours.sha256,
        os.fspath(baseline),
        theirs.sha256,
        chosen,
        tuple(notes),
    )
