"""All checks of a gate, one after the other, with both builds open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.core.tensor_spec import fixed_batch
from compress.errors import DataError, InternalError, NetworkError, UsageError
from compress.gate.absent import AbsentTarget, absent_target, judge_estimates, not_there
from compress.gate.accuracy import judge_churn, judge_outputs
from compress.gate.batches import judged_in_all, sizes_that_differ
from compress.gate.board import target_of
from compress.gate.cost import judge_coverage, judge_energy, judge_memory, judge_size
from compress.gate.latency import (
    judge_latency,
    judge_p99,
    judge_recorded_latencies,
)
from compress.gate.original import check_original
from compress.gate.outcomes import Paired, Rows, distinct_rows, recorded_outcomes, run_outcomes
from compress.gate.own_sample import sample_differs
from compress.gate.place import Here, Place, Round
from compress.gate.policy import GatePolicy
from compress.gate.recorded import incomparable, recorded_profile
from compress.gate.same_network import Interface, check_same_network
from compress.gate.slices import Groups, judge_slices
from compress.gate.subject import Subject, load_subject, states_of
from compress.gate.verdict import Check, Verdict
from compress.machine.machine import cpu

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.bundle.bundle import Bundle
    from compress.data.task import Task
    from compress.target.target import Target

#: Seconds of rounds for the p99: a network of a second a call would take twenty minutes.
_P99_S = 300.0


def gate(
    candidate: Path | str | Bundle | Subject,
    baseline: Path | str | Bundle | Subject,
    *,
    task: Task | None = None,
    groups: Groups | None = None,
    policy: GatePolicy | None = None,
    state: Mapping[str, str] | None = None,
    host: str | None = None,
    target: str | None = None,
    keep_on_host: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
) -> list[Check]:
    """Compare a build with a baseline, check by check.

    Args:
        candidate: The build that may be merged: a bundle or an ONNX file. An ONNX file runs in the baseline's back end
            with its session options, and the reverse.
        baseline: The build that it must not fall behind: a bundle, an ONNX file, or a recorded profile.
        task: Evaluation data, run through both; None compares the outcomes that were recorded.
        groups: Slice of each evaluation sample, ``(n,)``; None takes the classes.
        policy: The checks and their margins.
        state: The output that is the next value of each input that is carried from call to call; None takes those that
            the bundles record. ``task`` then holds streams.
        host: Machine where engines of both are built and timed in turns: an address that ssh takes, or ``local``; None
            runs both in this process.
        target: Target that engines are built for; None takes the bundle's own.
        keep_on_host: Whether to leave engines and timing caches on the host.
        on_note: Receives a sentence for a person: who else uses the host, and what makes its figures doubtful.

    Returns:
        The checks of the policy, in the order of :data:`compress.gate.policy.CHECKS`.

    Raises:
        BundleError: One of the two is damaged, they are builds of different networks, or recorded outcomes are of
            different data or metrics.
        DataError: There is no evaluation sample, ``groups`` has another length, or the baseline is right by chance
            alone on the data.
        NetworkError: One of the two does not run, or its runtime crashes; the message says which.
        UnavailableError: A back end is not installed here, or the host does not answer.
        UsageError: A target or ``keep_on_host`` without a host, or a host without a target of TensorRT.
    """
    policy = GatePolicy() if policy is None else policy
    if host is None and (target is not None or keep_on_host):
        raise UsageError("--host with --target and --keep-on-host", "none", "give --host, or leave these out")
    ours, theirs = load_subject(candidate), load_subject(baseline)
    with ExitStack() as stack:
        place: Place = Here(stack)
        states = states_of(ours, theirs, state)
        if host is not None:
            single = None if states else task  # streams are no samples of one call
            engines = _for_engines(target_of(ours, theirs, target), ours, theirs, single)
            place = _on_board(stack, host, engines, keep_on_host, on_note)
        ours, theirs = place.runs_like(ours, theirs)
        with _named("candidate", ours):
            our_session = stack.enter_context(place.open(ours))
        with _named("baseline", theirs):
            their_session = None if theirs.artifact is None else stack.enter_context(place.open(theirs))
        if their_session is not None:
            check_same_network(our_session, their_session)
        elif theirs.profile is not None and theirs.profile.inputs:
            check_same_network(our_session, Interface.of(theirs.profile))
        if task is not None:
            with _named("candidate", ours):
                place.try_out(ours, our_session, task, states)
            with _named("baseline", theirs):
                if their_session is not None:
                    place.try_out(theirs, their_session, task, states)
            task = _bound(task, ours, theirs, our_session, their_session, states)
            if their_session is not None:
                check_original(their_session, task, policy)
        checks = _Run(place, ours, theirs, our_session, their_session, task, groups, policy).checks()
        for doubt in place.doubts():
            on_note(doubt)
        return checks


@contextmanager
def _named(side: str, subject: Subject) -> Iterator[None]:
    """Name the build, candidate or baseline, in errors raised inside the block."""
    try:
        yield
    except NetworkError as error:
        raise type(error)(error.wanted, f"the {side}, {subject.name}: {error.found}", error.todo) from error


def _for_engines(target: Target, ours: Subject, theirs: Subject, task: Task | None) -> Target:
    """Return the target with the sizes for engines of both: those of a bundle, else of the data."""
    from compress.data.binding import bind_split
    from compress.measuring.engine_shapes import for_engines, graph_inputs

    for side in sorted((ours, theirs), key=lambda subject: subject.profile is None):  # bundles first
        if side.artifact is None:
            continue
        inputs = graph_inputs(side.artifact.path)
        splits = () if task is None else (bind_split(task.evaluation, inputs, "evaluation data"),)
        sized = for_engines(target, Path(side.name), inputs, splits)
        if sized.input_shapes:
            return sized
    return target


def _bound(
    task: Task,
    ours: Subject,
    theirs: Subject,
    our_session: Session,
    their_session: Session | None,
    states: Mapping[str, str],
) -> Task:
    """Bind the task to the outputs, whose kinds are the baseline's where it can be run."""
    from compress.profiling.outputs import bound_to

    side, session = (ours, our_session) if their_session is None else (theirs, their_session)
    path = None if side.artifact is None else side.artifact.path
    return bound_to(task, session, path, theirs.kinds or ours.kinds, states)


def _on_board(
    stack: ExitStack, host: str, target: Target, keep: bool, on_note: Callable[[str], None]
) -> Place:
    """Connect to the host and reserve it until the stack is closed."""
    from compress.gate.board import OnBoard
    from compress.hosts import connect
    from compress.hosts.tensorrt import TensorRtHost

    machine = stack.enter_context(connect(target, host=host, keep=keep, on_note=on_note))
    if not isinstance(machine, TensorRtHost):
        raise InternalError("a host with TensorRT", type(machine).__name__, "report this as a defect")
    stack.enter_context(machine.exclusive())
    return OnBoard(machine, machine.adapt(target))


class _Run:
    """One gate: both sides opened, and outcomes taken once for all checks."""

    def __init__(
        self,
        place: Place,
        ours: Subject,
        theirs: Subject,
        our_session: Session,
        their_session: Session | None,
        task: Task | None,
        groups: Groups | None,
        policy: GatePolicy,
    ) -> None:
        self.place, self.ours, self.theirs = place, ours, theirs
        self.our_session, self.their_session = our_session, their_session
        self.task, self.groups, self.policy = task, groups, policy
        self._absent = absent_target(ours, theirs, cpu()) if isinstance(place, Here) else None
        self._paired: list[Paired] | None = None
        self._rounds: list[Round] = []

    def checks(self) -> list[Check]:
        """Make all checks that the policy names."""
        makers: dict[str, Callable[[], Check]] = {
            "accuracy": self._accuracy,
            "slices": self._slices,
            "churn": self._churn,
            "calibration": self._calibration,
            "corruptions": self._corruptions,
            "latency": self._latency,
            "p99": self._p99,
            "size": lambda: judge_size(self.ours.size_bytes, self.theirs.size_bytes, self.policy),
            "memory": self._memory,
            "energy": self._energy,
            "coverage": self._coverage,
        }
        if self._absent is not None:
            makers |= self._of_an_absent_board(self._absent)
        return [make() for name, make in makers.items() if name in self.policy.checks]

    def _of_an_absent_board(self, target: AbsentTarget) -> dict[str, Callable[[], Check]]:
        """The checks whose figures are those of a machine that is not here."""
        checks: dict[str, Callable[[], Check]] = {
            name: partial(not_there, name, target) for name in ("p99", "memory", "energy")
        }
        ours, theirs = self.ours.profile, self.theirs.profile
        return checks | {"latency": lambda: judge_estimates(ours, theirs, target, self.policy)}

    def _outcomes(self) -> list[Paired]:
        """Return the outcomes of each metric, the task's own first."""
        if self._paired is None:
            if self.task is None:
                self._paired = [recorded_outcomes(self.ours, self.theirs)]
            else:
                self._paired = self._run(self.task)
        return self._paired

    def _run(self, task: Task, size: int | None = None) -> list[Paired]:
        """Run both sides on the data in batches of a size; None takes as many samples as memory allows for outputs."""
        outcomes = run_outcomes(self.our_session, self.their_session, self.theirs, task, size)
        return [paired.of(self._rows) for paired in outcomes]

    @cached_property
    def _repeated(self) -> Rows | None:
        """Return the first of each set of equal samples; None where none is repeated."""
        return None if self.task is None else distinct_rows(self.task)

    @property
    def _rows(self) -> Rows | None:
        """Return the samples that count; None for all."""
        return self._repeated if self.policy.repeated_samples == "once" else None

    @property
    def _counted(self) -> Task | None:
        """Return the task with only the samples that count."""
        if self.task is None or self._rows is None:
            return self.task
        return replace(self.task, evaluation=self.task.evaluation.take(self._rows))

    def _accuracy(self) -> Check:
        check = judge_outputs(self._outcomes(), self.policy)
        task = self.task
        if task is None:
            return self._of_records(check)
        sizes = [1]
        if "latency" in self.policy.checks:
            sizes += self.place.batch_sizes(self.ours, self.theirs, self.our_session)
        differing: Sequence[int] = ()
        if fixed_batch(self.our_session.inputs) is None:
            differing = sizes_that_differ(self.our_session, task, sizes)
        check = judged_in_all(
            check, lambda size: judge_outputs(self._run(task, size), self.policy), differing
        )
        if self._repeated is None:
            return check
        how = "count once" if self._rows is not None else "count each time"
        repeats = f"{len(self._repeated)} of {len(task.evaluation)} samples are distinct, and repeats {how}"
        figures = {**check.figures, "distinct_samples": len(self._repeated)}
        return replace(check, detail=f"{check.detail}; {repeats}", figures=figures)

    def _of_records(self, check: Check) -> Check:
        """Judge recorded outcomes, and whether both builds still give the outputs recorded with their samples."""
        detail, verdict = "as recorded, without --data not run again", check.verdict
        sides = (
            ("candidate", self.ours, self.our_session, Verdict.FAIL),
            ("baseline", self.theirs, self.their_session, Verdict.INCONCLUSIVE),
        )
        for name, subject, session, where_not in sides:
            if session is None or subject.sample is None:
                detail += f"; the {name} has no sample of its own to run"
                continue
            differs = sample_differs(subject, session)
            if differs is None:
                detail += f"; the {name} gives what was recorded for its own sample"
            else:
                detail += f"; the {name} gives something else for its own sample: {differs}"
                verdict = Verdict.FAIL if Verdict.FAIL in (verdict, where_not) else where_not
        return replace(check, verdict=verdict, detail=f"{detail}: {check.detail}")

    def _slices(self) -> Check:
        task = self.task
        if task is None:
            return Check("slices", Verdict.SKIPPED, "recorded outcomes have no classes; give --data")
        groups = task.evaluation.labels if self.groups is None else self.groups
        if groups is None:
            return Check("slices", Verdict.SKIPPED, "the data has neither class labels nor groups")
        if groups.shape != (len(task.evaluation),):
            shape = f"shape {groups.shape}"
            raise DataError(
                f"a group for each of {len(task.evaluation)} samples", shape, "correct the groups"
            )
        names = task.classes if self.groups is None else None
        counted = groups if self._rows is None else groups[self._rows]
        return judge_slices(*self._outcomes()[0], counted, self.policy, names)

    def _churn(self) -> Check:
        outcomes, reference, metric = self._outcomes()[0]
        if not metric.right_or_wrong:
            return Check("churn", Verdict.SKIPPED, f"{metric.name} is not right or wrong for each sample")
        return judge_churn(outcomes, reference, self.policy)

    def _calibration(self) -> Check:
        from compress.gate.calibration import confidences_of, judge_calibration

        task = self._counted
        if task is None or self.their_session is None:
            return Check("calibration", Verdict.SKIPPED, "needs --data and a baseline that can be run")
        if task.whole is not None:
            return Check("calibration", Verdict.SKIPPED, "streams and documents have no single class scores")
        scores = self.our_session.outputs[0]
        if task.evaluation.labels is None or len(scores.shape) != 2 or scores.shape[1] == 1:
            return Check("calibration", Verdict.SKIPPED, "needs class labels and scores [samples, classes]")
        return judge_calibration(
            confidences_of(self.our_session, task),
            confidences_of(self.their_session, task),
            self.policy,
        )

    def _corruptions(self) -> Check:
        from compress.gate.corruptions import image_like, judge_corruptions

        task = self._counted
        if task is None or self.their_session is None:
            return Check("corruptions", Verdict.SKIPPED, "needs --data and a baseline that can be run")
        if task.whole is not None or not image_like(task):
            return Check(
                "corruptions", Verdict.SKIPPED, "the inputs are no images: one float array of four axes"
            )
        return judge_corruptions(self.our_session, self.their_session, task, self.policy)

    def _latency(self) -> Check:
        if self.their_session is None:
            return self._recorded_latency()
        return judge_latency(lambda number: self._round(number).log_ratios, self.policy)

    def _round(self, number: int) -> Round:
        """Time a round of both builds; a round taken for another check is not taken again."""
        while len(self._rounds) <= number:
            self._rounds.append(self.place.round(self.ours, self.theirs, self.task, len(self._rounds)))
        return self._rounds[number]

    def _recorded_latency(self) -> Check:
        profile = recorded_profile(self.theirs)
        reason = incomparable(profile, self.place.fingerprint())
        if reason is not None:
            return Check("latency", Verdict.SKIPPED, reason)
        fixed = fixed_batch(self.our_session.inputs)
        recorded = [latency for latency in profile.latency if fixed in (None, latency.batch)]
        if not recorded:
            reason = f"recorded at batch {profile.latency[0].batch}, and the candidate takes {fixed}"
            return Check("latency", Verdict.SKIPPED, reason)
        timed = [
            (self.place.latency(self.ours, self.our_session, latency.batch, self.task), latency)
            for latency in recorded
        ]
        pairs = [(now, latency) for now, latency in timed if now is not None]
        if not pairs:
            reason = f"recorded at batch {recorded[0].batch}, which is none of the target's"
            return Check("latency", Verdict.SKIPPED, reason)
        return judge_recorded_latencies(pairs, self.policy)

    def _p99(self) -> Check:
        from compress.profiling.latency import LEAST_CALLS

        if self.their_session is None:
            return Check("p99", Verdict.SKIPPED, "needs pairs, and a profile cannot be run")
        ours, theirs = np.empty(0), np.empty(0)
        end = time.monotonic() + _P99_S
        for number in count():
            if min(len(ours), len(theirs)) >= LEAST_CALLS[99]:
                break
            if time.monotonic() > end:
                reason = f"{len(ours)} pairs in {_P99_S:g} s, and p99 needs {LEAST_CALLS[99]}"
                return Check("p99", Verdict.INCONCLUSIVE, reason)
            measurement = self._round(number)
            ours, theirs = np.append(ours, measurement.times_ms), np.append(theirs, measurement.baseline_ms)
        return judge_p99(ours, theirs, self.policy)

    def _memory(self) -> Check:
        if self.theirs.artifact is not None:
            theirs = self.place.peaks_mb(self.theirs, self.our_session, self.task)
        else:
            profile = recorded_profile(self.theirs)
            reason = incomparable(profile, self.place.fingerprint())
            if reason is not None:
                return Check("memory", Verdict.SKIPPED, reason)
            theirs = [] if profile.peak_memory_mb is None else [profile.peak_memory_mb]
        ours = self.place.peaks_mb(self.ours, self.our_session, self.task) if theirs else []
        if not ours:
            return Check("memory", Verdict.SKIPPED, "not measured")
        return judge_memory(ours, theirs, self.policy)

    def _energy(self) -> Check:
        if self.their_session is None:
            # A package's counter takes in whatever else ran on it then.
            return Check("energy", Verdict.SKIPPED, "needs a baseline that can be run")
        figures = self.place.energies_mj(self.ours, self.theirs, self.our_session, self.task)
        if figures is None:
            return Check("energy", Verdict.SKIPPED, "no counter of the processor or GPU can be read there")
        return judge_energy(*figures, self.policy)

    def _coverage(self) -> Check:
        ours = self.place.coverage(self.ours)
        return judge_coverage(ours, self.place.coverage(self.theirs), self.policy)
