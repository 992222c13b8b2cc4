"""The one way through: from a trained network to the fastest build that keeps its accuracy."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.api.inputs import axis_notes, open_inputs
from compress.api.shipping import BestSoFar
from compress.bundle.bundle import Bundle, beside, check_replaceable, load_bundle
from compress.core.progress import Reporter
from compress.data.sizes import Asked, input_ranges
from compress.data.task import MetricChoice, Task, load_task
from compress.errors import (
    RecipeError,
    UsageError,
)
from compress.hosts import connect
from compress.metrics.selection import judging_notes
from compress.network.network import Network
from compress.network.streams import state_notes
from compress.onnx_graph.layers import layers, totals
from compress.profiling.accuracy import evidence_notes
from compress.profiling.kept_outputs import KeptOutputs
from compress.recipe import Recipe
from compress.search.attempts import Attempts
from compress.search.backends import check_sessions, competing_backends
from compress.search.decision import Choice, Limits, settings_notes
from compress.search.proposals import ORIGINAL, most_candidates, propose
from compress.search.run_directory import Candidate, RunDirectory
from compress.search.time_budget import TimeBudget
from compress.target.shape_ranges import range_notes, shape_text
from compress.target.target import Target, load_target
from compress.techniques import load_technique

if TYPE_CHECKING:
    import torch


#: Of a call: with fewer multiply-accumulates it costs what it costs at any width.
_LEAST_PRUNED_MACS = 10_000_000


@dataclass(frozen=True)
class OptimizeResult:
    """What :func:`optimize` hands back.

    Attributes:
        bundle: What was shipped, read back from disk; None where no build is inside the limits.
        choice: Which candidate, and why.
        candidates: Everything that was tried, the original first.
        target: What it was built for.
        limits: What was asked.
        notes: What a person should know besides, such as a back end that could have competed.
        resumed: How many candidates an earlier, interrupted run had measured already.
        seconds: Wall time of this run.
    """

    bundle: Bundle | None
    choice: Choice
    candidates: tuple[Candidate, ...]
    target: Target
    limits: Limits
    notes: tuple[str, ...]
    resumed: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As ``compress optimize --json`` prints it; per-sample outcomes are left to the bundle."""
        candidates = []
        for entry in self.candidates:
            data = {**entry.to_dict(), "verdict": self.choice.verdicts[entry.recipe.name]}
            if data["profile"] is not None:
                data["profile"]["outcomes"] = ""
            candidates.append(data)
        return {
            "schema": 1,
            "bundle": None if self.bundle is None else str(self.bundle.path),
            "shipped": None if self.choice.candidate is None else self.choice.candidate.recipe.name,
            "reason": self.choice.reason,
            "front": list(self.choice.front),
            "target": self.target.name,
            "limits": dataclasses.asdict(self.limits),
            "candidates": candidates,
            "notes": list(self.notes),
            "resumed": self.resumed,
            "seconds": round(self.seconds, 3),
        }


def optimize(
    model: str | Path | torch.nn.Module,
    *,
    data: Any,
    target: str | Path | Target = "cpu",
    host: str | None = None,
    keep_on_host: bool = False,
    out: str | Path = "build",
    metric: MetricChoice = None,
    train_data: Any = None,
    calibration_data: Any = None,
    max_drop: float = 1.0,
    max_latency: float | None = None,
    max_size: float | None = None,
    objective: str = "latency",
    recipes: Sequence[Recipe | str | Path] = (),
    backends: Sequence[str] = (),
    threads: int | None = None,
    seconds: float = 2.0,
    time_budget: float | None = None,
    factory: str | None = None,
    trust_pickle: bool = False,
    batch_axis: Mapping[str, int] | None = None,
    shape: Asked | None = None,
    state: Mapping[str, str] | None = None,
    image_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    retry_failed: bool = False,
    reporter: Reporter | None = None,
) -> OptimizeResult:
    """Find the fastest build of a trained network for a target that keeps its accuracy.

    Args:
        model: A torch.export, TorchScript, state-dict, pickled or ONNX file, or a live module, which is not modified.
        data: Evaluation data: an ``.npz``, a folder of class folders of images, ``package.module:callable``,
            a pair of arrays, or a Task.
        target: A name that ``compress targets`` lists, or a target's TOML file.
        host: Where a target of the TensorRT back end is: an address that ssh takes, or ``local``; None estimates.
        keep_on_host: Leave engines and timing caches there, so that the next run finds them.
        out: Directory of the bundle. An interrupted run is kept in ``<out>.partial`` and resumed.
        metric: ``top-1``, ``top-k``, ``mean-error``, ``agreement``, ``package.module:callable`` or a callable;
            None chooses by the labels. A mapping names, for single outputs by their names, one of these or what the
            output holds (:data:`compress.metrics.output_kinds.KINDS`).
        train_data: Data to train on, where a technique trains.
        calibration_data: Data to calibrate on; None takes it from the training data, or splits ``data``.
        max_drop: Accuracy drop allowed, in points.
        max_latency: Median latency allowed at the first batch size, in milliseconds.
        max_size: Size of the artifact allowed, in MB.
        objective: ``latency``, ``throughput`` or ``size``.
        recipes: Recipes, or their TOML files, to try instead of those the target suggests.
        backends: Back ends that compete; none takes every one of the target's that is installed. fp32, which every
            ratio refers to, always runs in the target's own.
        threads: Threads of the runtime; None takes what is measured to be fastest.
        seconds: Of timing per build and batch size; more gives narrower intervals.
        time_budget: Seconds after which no further build is begun; those begun are finished. None is 240 on this
            machine where there is nothing to train on and no recipe was given, and no limit otherwise.
        factory: ``package.module:callable`` that makes the module a state dict belongs to.
        trust_pickle: Unpickle a module; this runs whatever code the file holds.
        batch_axis: The axis of an input that counts samples, by the input's name; ``""`` names that of all others. None
            finds the axes by running two samples alone and together.
        shape: Sizes that engines are built for where an axis of an input is open besides the number of samples: input →
            its shape, its smallest and largest, or these with the usual one between; ``""`` names the only input. None
            takes those of the data.
        state: The output that is the next value of each input that is carried from call to call, by the input's name:
            ``{"h": "hn"}``. Each sample of ``data`` is a stream then, ``(streams, frames, …)``, and builds are judged
            over whole streams. States begin at zero, or at their value in the data. None where no state is carried.
        image_options: How images are resized and normalised.
        seed: Of every random choice.
        retry_failed: Try builds again that could not be made or run before an interruption; False takes it as known.
        reporter: Receives the progress.

    Returns:
        The bundle with its measurements, and everything that was tried.

    Raises:
        UsageError: Something given cannot be used; the message says what to do.
        UnavailableError: The target's back end is not on this machine, or the host does not answer.
    """
    start = time.perf_counter()
    reporter = reporter or Reporter()
    limits = _limits(max_drop, max_latency, max_size, objective)
    if time_budget is not None and not time_budget > 0:
        raise UsageError("a --time-budget above 0 seconds", str(time_budget), "correct it, or leave it out")
    out = Path(out)
    check_replaceable(out)
    own = _checked(recipes)

    reporter.stage("reading the target and the data")
    deployment = load_target(target)
    rivals = competing_backends(deployment, backends)
    check_sessions(own, deployment)
    task = load_task(
        data,
        metric=metric,
        train_data=train_data,
        calibration_data=calibration_data,
        image_options=image_options,
        seed=seed,
        streams=bool(state),
    )
    network, task = open_inputs(
        task,
        model,
        factory=factory,
        trust_pickle=trust_pickle,
        batch_axis=batch_axis,
        shape=shape,
        state=state,
        reporter=reporter,
    )
    deployment = _with_input_shapes(deployment, network, task, shape)
    machine = connect(deployment, seconds, host, keep=keep_on_host, on_note=reporter.stage)
    deployment = machine.adapt(deployment)
    options = {
        "max-drop": max_drop,
        "max-latency": max_latency,
        "max-size": max_size,
        "objective": objective,
        "backend": list(backends),
        "threads": threads,
        "seconds": seconds,
        "time-budget": time_budget,
        "seed": seed,
        "factory": factory,
        "trust-pickle": trust_pickle,
        "shape": [f"{name}={'..'.join(map(shape_text, each))}" for name, each in (shape or {}).items()],
        "batch-axis": [f"{name}={axis}" if name else str(axis) for name, axis in (batch_axis or {}).items()],
        "state": [f"{name}={output}" for name, output in (state or {}).items()],
        "recipe": [str(recipe) for recipe in recipes if isinstance(recipe, str | Path)],
    }
    attempts = Attempts(network, task, deployment, machine, rivals, limits, seed, threads, seconds, reporter)

    with machine, RunDirectory(beside(out, ".partial"), attempts.key()) as run:
        run.forget_without(ORIGINAL)
        KeptOutputs(run.outputs).forget_damaged()
        if run.damaged:
            reporter.note(_damaged_note(run.damaged))
        trains = task.training is not None
        prunable, providers = _prunable(network), rivals.providers
        most = most_candidates(
            deployment, own, rivals.names, trains=trains, prunable=prunable, providers=providers
        )
        reporter.plan(most)
        few = evidence_notes(task.metrics, len(task.evaluation), max_drop)
        sizes = range_notes(deployment.input_shapes)
        known = (*judging_notes(task.metrics, task.kinds), *sizes, *few, *rivals.notes)
        budget = TimeBudget.of(time_budget, start, machine, open_ended=trains or bool(own))
        for note in (*known, budget.plan(most, deployment, machine, seconds)):
            reporter.note(note)
        stopped: tuple[str, ...] = ()
        noted = (*state_notes(task), *known)
        best = BestSoFar(out, run, network, task, deployment, machine, limits, options, noted, reporter)
        for recipe in propose(
            deployment,
            limits,
            run,
            own,
            rivals.names,
            trains=trains,
            prunable=prunable,
            providers=providers,
            provable=not few,
        ):
            candidate = attempts.recorded(recipe, run, retry_failed=retry_failed)
            if candidate is None and best.candidates and budget.over:
                stopped = (budget.stopped(recipe),)
                break
            if candidate is None:
                candidate = attempts.attempt(recipe, run)
                run.record(candidate)
                reporter.end(candidate, resumed=False)
            else:
                reporter.end(candidate, resumed=True)
            best.tried(candidate)
        reporter.stage("writing the bundle")
        choice, candidates, resumed = best.finish(stopped), tuple(best.candidates), run.resumed
        if choice.candidate is not None:
            run.remove()
        else:
            known = (*known, _kept_note(run))
    bundle = load_bundle(out) if choice.candidate is not None else None
    seconds_taken = time.perf_counter() - start
    told = (
        *axis_notes(network),
        *state_notes(task),
        *known,
        *settings_notes(choice.candidate),
        *stopped,
    )
    return OptimizeResult(bundle, choice, candidates, deployment, limits, told, resumed, seconds_taken)


def _kept_note(run: RunDirectory) -> str:
    return (
        f"what was measured is kept in {run.directory}: the same command with other limits takes it over; "
        "delete that directory to measure anew"
    )


def _damaged_note(count: int) -> str:
    records = "a record" if count == 1 else f"{count} records"
    return f"{records} of the interrupted run had changed on disk: what they told of is measured again"


def _with_input_shapes(target: Target, network: Network, task: Task, asked: Asked | None) -> Target:
    """The target with the sizes of open axes, where something is built there for certain sizes, or they are asked."""
    engines = target.backend == "tensorrt" or "torch-tensorrt" in target.further_backends
    if asked is None and not engines:
        return target
    splits = (task.calls.evaluation, task.calls.calibration)
    return replace(target, input_shapes=input_ranges(network.inputs, splits, target.batch_sizes, asked))


def _checked(recipes: Sequence[Recipe | str | Path]) -> list[Recipe]:
    """Recipes read, with every technique and setting checked before any work is done."""
    read = [recipe if isinstance(recipe, Recipe) else Recipe.from_file(Path(recipe)) for recipe in recipes]
    for recipe in read:
        for step in recipe.steps:
            load_technique(step)
    names = [ORIGINAL.name, *(recipe.name for recipe in read)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError("recipes with names of their own", f"'{twice}' twice", "rename one")
    return read


def _prunable(network: Network) -> bool:
    """Whether channels may be removed, and so much is computed that fewer of them can be faster."""
    if network.graph is None:
        return False
    shapes = {
        spec.name: [
            1 if spec.dynamic_batch and axis == spec.batch_axis else size
            for axis, size in enumerate(array.shape)
        ]
        for spec, array in zip(network.inputs, network.sample, strict=True)
    }
    return totals(layers(network.to_onnx(), shapes=shapes)).macs >= _LEAST_PRUNED_MACS


def _limits(max_drop: float, max_latency: float | None, max_size: float | None, objective: str) -> Limits:
    for name, value in (("--max-drop", max_drop), ("--max-latency", max_latency), ("--max-size", max_size)):
        if value is not None and not value >= 0:
            raise UsageError(f"a {name} of 0 or more", str(value), "correct it")
    if objective not in ("latency", "throughput", "size"):
        raise UsageError("an objective: latency, throughput or size", repr(objective), "choose one of these")
    return Limits(max_drop, max_latency, max_size, objective)  # type: ignore[arg-type]
