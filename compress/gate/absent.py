"""Builds for a board that is not here: their time is not measured on this machine as if it were that board."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.errors import CompressError
from compress.gate.policy import GatePolicy
from compress.gate.verdict import Check, Verdict, judge_bounds
from compress.machine.machine import fingerprint, fingerprint_id

if TYPE_CHECKING:
    from compress.gate.subject import Subject
    from compress.machine.machine import Cpu
    from compress.records.profile import Profile


@dataclass(frozen=True)
class AbsentTarget:
    """A target that is not this machine.

    Attributes:
        name: Its name.
        engines: Whether TensorRT runs the builds there, on a machine that ``--host`` can name.
    """

    name: str
    engines: bool

    @property
    def todo(self) -> str:
        """Command that measures the builds on the target, as an imperative."""
        if self.engines:
            return "--host measures it there"
        return "run the gate there, or measure both there with `compress profile`"


def absent_target(candidate: Subject, baseline: Subject, here: Cpu) -> AbsentTarget | None:
    """Return the target whose figures are estimates; None where both builds run on the machine that they are for.

    Args:
        candidate: One side.
        baseline: The other.
        here: This machine's processor.
    """
    sides = ((candidate, baseline), (baseline, candidate))
    for side, other in sides:
        profile = side.profile
        if profile is None or not _estimated(profile):
            continue
        facts = _facts(side, profile.target)
        if not _is(here, facts, other):
            return AbsentTarget(profile.target, facts.get("backend") == "tensorrt")
    return None


def _estimated(profile: Profile) -> bool:
    return bool(profile.latency) and profile.latency[0].source == "estimated"


def _facts(side: Subject, name: str) -> Mapping[str, Any]:
    """Return a target's facts: those in its bundle, else those in its file; empty for a target of the user's own."""
    from compress.target.target import load_target

    if side.target:
        return side.target
    try:
        return load_target(name).to_dict()
    except CompressError:
        return {}


def _is(here: Cpu, facts: Mapping[str, Any], other: Subject) -> bool:
    """Whether this machine is the target: it has the cores and extensions, and the name or the other side's figures.

    A board of that name of which a container has half the cores, or a system for other processors, is another machine.
    """
    isa = facts.get("isa") or ()
    alike = bool(isa) and set(isa) <= set(here.isa) and facts.get("cores") == here.cores
    if not alike or facts.get("provider") != "CPUExecutionProvider":
        return False
    names = [str(facts.get("name", "")), *map(str, facts.get("aliases", ()))]
    if any(names_board(name, here.model) for name in names):
        return True
    profile = other.profile
    if profile is None or not profile.latency or _estimated(profile):
        return False
    return fingerprint_id(dict(fingerprint())) == fingerprint_id(dict(profile.fingerprint))


def names_board(name: str, model: str) -> bool:
    """Whether a target's name is in the name that a board gives itself, word by word.

    Args:
        name: Name of the target: "raspberry-pi-5".
        model: Name of the board: "Raspberry Pi 5 Model B Rev 1.0".
    """
    asked_words, model_words = (" ".join(re.findall(r"[a-z0-9]+", text.lower())) for text in (name, model))
    return bool(asked_words) and f" {asked_words} " in f" {model_words} "


def not_there(check: str, target: AbsentTarget) -> Check:
    """Return a check whose figures this machine cannot give.

    Args:
        check: Its name.
        target: The target that the builds are for.
    """
    return Check(check, Verdict.SKIPPED, f"not measured: {target.name} is not this machine; {target.todo}")


def judge_estimates(
    candidate: Profile | None, baseline: Profile | None, target: AbsentTarget, policy: GatePolicy
) -> Check:
    """Compare the estimated latencies of two builds, at every batch size that both were estimated at.

    An estimate decides only where its own interval does: the bounds of the ratio are the far ends of both intervals.

    Args:
        candidate: Profile of the candidate; None for a bare ONNX file.
        baseline: Profile of the baseline; None for a bare ONNX file.
        target: The target that the builds are for.
        policy: The margin.
    """
    if candidate is None or baseline is None:
        return not_there("latency", target)
    if candidate.target != baseline.target:
        reason = (
            f"the candidate's figures are for {candidate.target}, and the baseline's for {baseline.target}"
        )
        return Check("latency", Verdict.SKIPPED, f"not compared: {reason}; compare builds for one target")
    recorded = {latency.batch: latency for latency in baseline.latency}
    pairs = [(now, recorded[now.batch]) for now in candidate.latency if now.batch in recorded]
    if not pairs or any(latency.source != "estimated" for pair in pairs for latency in pair):
        return not_there("latency", target)
    limit = 1 + policy.max_slowdown_percent / 100
    order = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)
    verdict, ratios, batches = Verdict.PASS, [], {}
    for now, before in pairs:
        low, high = now.interval.low / before.interval.high, now.interval.high / before.interval.low
        ratio = now.p50_ms / before.p50_ms
        verdict = max(verdict, judge_bounds(low, high, limit), key=order.index)
        ratios.append(f"batch {now.batch}: {ratio:.3f}× ({low:.3f} to {high:.3f})")
        batches[str(now.batch)] = {"ratio": ratio, "low": low, "high": high}
    detail = (
        f"estimated for {target.name}, which is not this machine, and not measured: {', '.join(ratios)} "
        f"(margin {limit:g}); estimates rarely decide, for their intervals are wide: {target.todo}"
    )
    return Check("latency", verdict, detail, {"source": "estimated", "margin": limit, "batches": batches})
