"""Attempts of a search: each recipe is applied, compiled and measured against the original of the same run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.backends import load_backend
from compress.backends.base import Artifact
from compress.backends.onnx_artifact import copied
from compress.backends.tensorrt import optimization_profile
from compress.core.content_cache import LAYER_TIMES, ContentCache
from compress.core.files import written_safely
from compress.core.freed_memory import give_back
from compress.core.progress import Reporter
from compress.core.versions import versions
from compress.data.task import Task
from compress.errors import (
    CompressError,
    ConnectionLostError,
    InternalError,
    MachineChangedError,
    OutputError,
)
from compress.hosts.base import Tuned
from compress.language.greedy import greedy_text
from compress.lint.legalize import legalize
from compress.measuring.measure import Original, deciding, measure
from compress.network.network import Network
from compress.network.preparation import check_faithful, prepared_faithfully
from compress.onnx_graph.files import size_of
from compress.profiling.kept_outputs import KeptOutputs
from compress.recipe import Recipe
from compress.records.profile import inside_margin
from compress.search import companions, first_look
from compress.search.backends import CompetingBackends, tuned_options
from compress.search.builders import Builder, BuilderHere
from compress.search.decision import lowest_ratio
from compress.search.first_look import FirstLook
from compress.search.limits import Limits, judged_at_largest, judged_latency
from compress.search.run_directory import Candidate, RunDirectory
from compress.search.run_key import RunKey
from compress.target.target import Target
from compress.techniques import apply_recipe
from compress.techniques.base import Context

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.hosts.base import Host
    from compress.records.greedy import GreedyText
    from compress.records.profile import Profile

#: Errors after which no further candidate can be tried: where results should go, or the board.
ENDS_A_RUN = (OutputError, ConnectionLostError, MachineChangedError)

#: What a candidate's reports call the recipe, by its identity, that made the same file before it.
_TWIN = "same_build"

#: What a candidate's reports call the margin, in points, that it was not shown to stay within when it was timed.
_OUTSIDE = "timed_outside_of_margin"


@dataclass
class Attempts:
    """Tries recipes on one network, one after another, and measures each build.

    Attributes:
        network: The original network.
        task: The data and the metric that builds are judged by.
        target: The device that builds are for.
        host: The machine that builds are measured on.
        rivals: The back ends that compete.
        limits: Limits that the user sets for the build.
        seed: Seed of every random choice.
        threads: Number of threads of the runtime; None finds the fastest number by measuring.
        seconds: Time to measure each build at each batch size, in seconds.
        reporter: Receives the progress.
        device: Device to train on, as :class:`compress.techniques.base.Context` has it.
        cache: Cache of steps and layer times, which runs share; None keeps them in the run's directory.
        builder: Maker of the builds; this process where nothing else is set. The original is always made here.
        fingerprint: Fingerprint of the machine that measures.
    """

    network: Network
    task: Task
    target: Target
    host: Host
    rivals: CompetingBackends
    limits: Limits
    seed: int
    threads: int | None
    seconds: float
    reporter: Reporter
    device: str = "auto"
    cache: ContentCache | None = None
    builder: Builder = field(init=False)
    fingerprint: dict[str, Any] = field(init=False)
    _judging_calls: int = field(init=False)

    def __post_init__(self) -> None:
        self._judging_calls = self.task.judging_calls
        self.builder = BuilderHere(self.built)
        self.fingerprint = self.host.fingerprint()

    def key(self) -> RunKey:
        """Key that measurements of one run must share."""
        from compress.training.devices import device_of

        return RunKey(
            network=self.network.identity,
            inputs=[str(spec) for spec in self.network.inputs],
            task=self.task.identity,
            target={**self.target.to_dict(), "price": None},  # another price measures nothing anew
            backends=self.rivals.names,
            providers=self.rivals.providers,
            threads=self.threads,
            decisive=self.decisive,
            seconds=self.seconds,
            seed=self.seed,
            device=device_of(self.device).type,
            machine=self.fingerprint,
            versions=versions(),
        )

    def recorded(self, recipe: Recipe, run: RunDirectory, *, retry_failed: bool = False) -> Candidate | None:
        """Return a recipe's candidate from an interrupted run; None where the recipe is to be tried.

        Args:
            recipe: The recipe to look for.
            run: Directory of the run.
            retry_failed: Whether a recipe whose build could not be made or run is to be tried again.
        """
        candidate = run.kept(recipe)
        if candidate is None or (retry_failed and candidate.failure is not None):
            return None
        if first_look.is_outdated(candidate, self.rival(run)) or is_half_timed(candidate, run, self.limits):
            return None
        twin, profile = candidate.reports.get(_TWIN), candidate.profile
        if candidate.file is not None and not companions.are_intact(run.path_of(candidate)):
            return None
        if twin is not None and all(entry.recipe.identity != twin for entry in run.candidates):
            return None  # the build that it is the same file as is not tried this time
        if profile is not None and _same_build(_artifact(candidate, profile, run), recipe, run) is not None:
            return None
        run.take_over(candidate)
        return candidate

    def rival(self, run: RunDirectory) -> float | None:
        """See :func:`compress.search.first_look.rival_of`."""
        return first_look.rival_of(run, self.limits, self._judging_calls)

    def first_look(self, artifact: Artifact, run: RunDirectory) -> FirstLook | None:
        """Time a build briefly before its accuracy is judged, where that saves time."""
        rival, original = self.rival(run), _original(run)
        if rival is None or original is None:
            return None
        self.reporter.step("a first look at the latency")
        fp32 = original.fastest.get(self.decisive, original.artifact)
        ratio = self.host.first_ratio(artifact, fp32, self.task, deciding(self.target, self.decisive))
        return None if ratio is None else FirstLook(ratio, rival)

    def attempt(self, recipe: Recipe, run: RunDirectory) -> Candidate:
        """Apply, compile and measure one recipe; only the original may fail the run."""
        start = time.perf_counter()
        shared = None if self.cache is None else self.cache.directory(LAYER_TIMES)
        context = self.context(recipe, run.directory / "training", shared or run.directory / "latency")
        self.reporter.begin(recipe)
        try:
            with written_safely(run.directory):
                directory = run.directory_of(recipe)
            build = self.built if recipe.origin == "network" else self.builder.build
            artifact = build(recipe, context, directory)
            twin = _same_build(artifact, recipe, run)
            if twin is not None:
                reports = {**context.reports, _TWIN: twin.identity}
                return Candidate(recipe, passed_over=f"the same file as {twin.name}", reports=reports)
            # Options are compared once it is known that the accuracy is kept, unless something asks for them before.
            tuned = None
            if recipe.origin == "network" or self.rival(run) is not None:
                tuned = self.tuned(artifact, recipe, directory, run)
                artifact = tuned.artifact
            look = self.first_look(artifact, run)
            if look is not None and look.lost:
                reports = {**context.reports, first_look.REPORT: asdict(look)}
                return Candidate(recipe, passed_over=look.reason, reports=reports)

            def settled(out: bool) -> Tuned:
                return tuned or self.tuned(artifact, recipe, directory, run, compared=not out)

            profile = self.measured(
                artifact,
                recipe,
                _original(run),
                KeptOutputs(run.outputs),
                settled=settled,
                decisive=self.decisive,
                rival=lowest_ratio(run.candidates, self.limits),
                max_drop=self.limits.max_drop,
            )
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a recipe is the outcome of this candidate
            return Candidate(recipe, failure=failure_of(error, recipe), reports=context.reports)
        file = str(artifact.path.relative_to(run.directory))
        reports = dict(context.reports)
        if profile.accuracy is not None and not inside_margin(profile.accuracy.drop, self.limits.max_drop):
            reports[_OUTSIDE] = self.limits.max_drop
        return Candidate(recipe, profile, file, reports=reports, seconds=time.perf_counter() - start)

    @property
    def decisive(self) -> int:
        """Batch size that decides between builds."""
        batches = self.target.batch_sizes
        return batches[-1] if judged_at_largest(self.limits.objective) else batches[0]

    def context(self, recipe: Recipe, directory: Path | None = None, cache: Path | None = None) -> Context:
        """Return what the techniques of a recipe may use; see :class:`compress.techniques.base.Context`."""
        return Context(
            self.task.calls,
            self.target.for_backend(recipe.backend or self.target.backend),
            self.seed,
            directory=directory,
            reporter=self.reporter,
            original=self.network,
            host=self.host,
            threads=self.threads,
            cache=cache,
            steps=self.cache,
            device=self.device,
        )

    def measured(
        self, artifact: Artifact, recipe: Recipe, original: Original | None, outputs: KeptOutputs, **more: Any
    ) -> Profile:
        """Measure a build.

        Args:
            artifact: The build.
            recipe: Recipe that made it.
            original: Build that drops and ratios refer to; None for that build itself.
            outputs: Store for the outputs of that build.
            **more: Further arguments of :func:`compress.measuring.measure.measure`.
        """
        return measure(
            artifact,
            recipe.name,
            host=self.host,
            task=self.task,
            target=self.target,
            original=original,
            fingerprint=self.fingerprint,
            network=(self.network.origin.name, self.network.origin.sha256),
            keep=outputs if recipe.origin == "network" else None,
            same=recipe.computes_the_same,
            answers=self._answers(original),
            reporter=self.reporter,
            **more,
        )

    def _answers(self, original: Original | None) -> Callable[[Session], GreedyText | None] | None:
        """Return a function that gives a build's answers, or the original's; None where the original gave none."""
        of_original = None if original is None else original.profile.greedy
        if original is not None and of_original is None:
            return None
        return partial(greedy_text, task=self.task, answers=of_original)

    def built(self, recipe: Recipe, context: Context, directory: Path) -> Artifact:
        """Apply and compile the recipe; nothing of the network that it makes stays in memory."""
        self.reporter.step("applying the recipe")
        if (
            recipe.origin == "network" and self.network.trainable
        ):  # an ONNX file was held against its graph on loading
            self.network = prepared_faithfully(self.network, self.task)
        applied = apply_recipe(recipe, self.network, context)
        compressed = legalize(applied, context)
        if recipe.origin == "network" and compressed is not applied:
            check_faithful(self.network, compressed.to_onnx(), self.task, f"a graph for {self.target.name}")
        self.reporter.step("compiling")
        backend = load_backend(recipe.backend or self.host.backend.name)
        options = {**backend.default_options(self.target, self.threads), **recipe.session}
        self.check_shapes(options)
        graph = compressed.to_onnx()
        backend.check_supported(graph, self.target)
        artifact = backend.compile(graph, directory, options)
        if compressed.companions != self.network.companions:
            companions.keep(artifact.path, compressed.companions)
        if self.host.source == "estimated":  # else the runtime itself says what it takes
            from compress.lint import check_deployable

            check_deployable(artifact.path, self.target)
        return artifact

    def check_shapes(self, options: Mapping[str, Any]) -> None:
        """Refuse a build for which no engine of the wanted shapes can be made.

        Args:
            options: Session options of the build.

        Raises:
            UsageError: The size of an axis is unknown, or the accelerator is asked for several sizes.
        """
        if self.target.backend == "tensorrt":
            dla = options.get("dla_core") is not None
            optimization_profile(self.network.inputs, self.target, dla=dla)

    def tuned(
        self, artifact: Artifact, recipe: Recipe, directory: Path, run: RunDirectory, *, compared: bool = True
    ) -> Tuned:
        """Return the build with the session options that are best for it.

        Args:
            artifact: The build, with its back end's default options.
            recipe: Recipe that made the build, and may insist on session options.
            directory: Directory of the build.
            run: Run with all measurements so far.
            compared: Whether session options are compared; if not, those of an earlier build of the back end are taken.
        """
        give_back()
        self.reporter.step("choosing session options")
        target = deciding(self.target, self.decisive)
        if recipe.origin == "network":
            return self._original(artifact, directory, target, run)
        return self.host.tune(
            artifact,
            self.task,
            target,
            self.threads,
            known=tuned_options(artifact, run),
            kept=recipe.session,
            fastest=run.reference(),
            compared=compared,
        )

    def _original(self, artifact: Artifact, directory: Path, target: Target, run: RunDirectory) -> Tuned:
        """Make the fp32 build, or take the user's own file where that is faster, and keep it as reference of ratios."""
        users_artifact = self._given(artifact)
        tuned, fastest = self.host.reference(artifact, users_artifact, self.task, target, self.threads)
        if users_artifact is not None and tuned.artifact.path == users_artifact.path:
            tuned = replace(tuned, artifact=copied(users_artifact, directory))
        run.keep_reference(fastest)
        return tuned

    def _given(self, built: Artifact) -> Artifact | None:
        """Return the user's own file with default options; None where it is no ONNX file with the same inputs."""
        path = Path(self.network.origin.path)
        same = self.network.origin.format == "onnx" and not self.network.rearranged
        if not same or built.backend != "onnxruntime" or not path.is_file():
            return None
        return replace(built, path=path, sha256=self.network.origin.sha256, size_bytes=size_of(path))


def failure_of(error: Exception, recipe: Recipe) -> str:
    """Return the reason, in one line, why a recipe has no build.

    Raises:
        Exception: The error itself, where no further recipe can be tried: it ends a run, or the original failed.
    """
    if isinstance(error, ENDS_A_RUN) or recipe.origin == "network":
        raise error
    return str(error) if isinstance(error, CompressError) else f"{type(error).__name__}: {error}"


def is_half_timed(candidate: Candidate, run: RunDirectory, limits: Limits) -> bool:
    """Whether a recorded build, excluded under other limits, may be chosen again but was not fully timed.

    Such a build lacks batch sizes, or layers and the session options that are best for it.

    Args:
        candidate: The build, as the earlier run recorded it.
        run: Run with all measurements so far, the original first.
        limits: Limits that the user sets now.
    """
    profile, original = candidate.profile, (run.candidates or [candidate])[0].profile
    if profile is None or original is None:
        return False
    if len(profile.latency) == len(original.latency) and _OUTSIDE not in candidate.reports:
        return False
    drop = None if profile.accuracy is None else profile.accuracy.drop
    ratio = judged_latency(profile, limits.objective).ratio
    best = lowest_ratio(run.candidates, limits)
    return (
        inside_margin(drop, limits.max_drop) and ratio is not None and ratio < (1 if best is None else best)
    )


def _original(run: RunDirectory) -> Original | None:
    if not run.candidates:
        return None
    first = run.candidates[0]
    profile = first.profile
    if profile is None:
        raise InternalError("a measured original", "none", "report this as a defect")
    artifact = _artifact(first, profile, run)
    return Original(profile, artifact, run.reference(), KeptOutputs(run.outputs))


def _artifact(candidate: Candidate, profile: Profile, run: RunDirectory) -> Artifact:
    """Return the file whose measurements a profile holds."""
    return Artifact(
        run.path_of(candidate),
        profile.artifact_sha256,
        profile.artifact_bytes,
        profile.backend,
        profile.options,
    )


def _same_build(artifact: Artifact, recipe: Recipe, run: RunDirectory) -> Recipe | None:
    """Return the earlier recipe that made the same file for the same back end with the same options."""
    for entry in run.candidates:
        profile, session = entry.profile, entry.recipe.session
        if profile is not None and (
            (profile.artifact_sha256, profile.backend, session)
            == (artifact.sha256, artifact.backend, recipe.session)
        ):
            return entry.recipe
    return None
