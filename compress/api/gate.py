"""``compress.gate_build``: does a build regress against a baseline? Named so since ``compress.gate`` is a package."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from compress.api.build_options import GateOptions
from compress.api.keywords import GateKeywords
from compress.core.options import takes
from compress.errors import UsageError
from compress.gate.policy import GatePolicy, policy_of
from compress.gate.verdict import Check, Verdict, overall


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


@takes(GateOptions)
def gate_build(candidate: str | os.PathLike[str] = "build", **options: Unpack[GateKeywords]) -> GateResult:
    """Accept or reject a build against a baseline, as ``compress gate`` does.

        result = compress.gate_build("build", baseline="main-build", data="val.npz", max_drop=0.5)
        assert result.verdict == "pass", result.checks

    :func:`compress.gate.gate` is the same for objects that are open already.

    Args:
        candidate: The build that may be merged: a bundle or an ONNX file.

    Raises:
        BundleError: One of the two is damaged, or they are builds of different networks.
        DataError: The data does not fit, or the baseline is right by chance alone on it.
        NetworkError: One of the two does not run.
        UnavailableError: A back end is not installed here, or the host does not answer.
        UsageError: An option is out of its range, or options do not go together.
    """
    from compress.data.class_order import with_classes
    from compress.data.evaluation import left_out_note
    from compress.gate.groups import load_task_and_groups
    from compress.gate.origin import other_network
    from compress.gate.run import gate
    from compress.gate.subject import load_subject
    from compress.language.bundled import texts_for
    from compress.network.formats.onnx_size import check_room_to_run

    request = GateOptions.of(options)
    chosen = _policy(request)
    judging = (request.groups, request.metric, request.image_options, request.classes, request.state)
    if request.data is None and any(option_value is not None for option_value in judging):
        raise UsageError(
            "--data with --groups, --metric, --state, --classes and --image-…", "none", "give --data"
        )
    ours, theirs = load_subject(os.fspath(candidate)), load_subject(os.fspath(request.baseline))
    if request.host is None:
        sides = f"{os.fspath(candidate)} and {os.fspath(request.baseline)}"
        check_room_to_run(sum(side.size_bytes for side in (ours, theirs) if side.artifact is not None), sides)
    task, slices = None, None
    if request.data is not None:
        reader = theirs if theirs.tokenizer is not None else ours  # the candidate comes with what is judged
        task, slices = load_task_and_groups(
            texts_for(request.data, reader.tokenizer, reader.measured),
            groups=None if request.groups is None else Path(request.groups),
            subjects=(theirs, ours),
            metric=request.metric,
            image_options=with_classes(request.image_options, request.classes),
            streams=bool(request.state),
        )
    notes: list[str] = []
    checks = gate(
        ours,
        theirs,
        task=task,
        groups=slices,
        policy=chosen,
        state=request.state,
        host=request.host,
        target=request.target,
        keep_on_host=request.keep_on_host,
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
        os.fspath(request.baseline),
        theirs.sha256,
        chosen,
        tuple(notes),
    )


def _policy(options: GateOptions) -> GatePolicy:
    """Return the checks with the margins of the call, which win over those of the policy."""
    limits = {"max_drop_points": options.max_drop, "max_slowdown_percent": options.max_slowdown}
    margins: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    return replace(policy_of(options.policy), **margins)
