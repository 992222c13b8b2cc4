"""The profile of an existing build: a bundle, or an ONNX file from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.backends import load_backend
from compress.backends.base import Artifact
from compress.backends.first_opening import open_elsewhere
from compress.bundle.bundle import load_bundle
from compress.core.progress import Reporter
from compress.errors import BundleError, UnavailableError, UsageError
from compress.hosts import connect
from compress.hosts.local import LocalHost
from compress.language.greedy import greedy_text
from compress.machine.machine import fingerprint
from compress.measuring.engine_shapes import for_engines, graph_inputs
from compress.measuring.measure import measure
from compress.metrics.output_kinds import OutputKind
from compress.onnx_graph.files import sha256_of, size_of
from compress.profiling.latency import Budget, GivenShapes
from compress.profiling.noise import doubts
from compress.profiling.outputs import bound_to, try_elsewhere
from compress.profiling.scenarios import Name, run
from compress.records.profile import Profile, Scenario
from compress.target.target import Target, load_target

if TYPE_CHECKING:
    from compress.data.task import Task
    from compress.hosts.base import Host
    from compress.records.greedy import GreedyText

#: More than a candidate of a search is given: a profile is asked for its tail, too.
_MOST_CALLS = 10_000


def profile_artifact(
    path: Path,
    *,
    target: str | Path | Target = "cpu",
    host: str | None = None,
    keep_on_host: bool = False,
    task: Task | None = None,
    state: Mapping[str, str] | None = None,
    threads: int | None = None,
    batches: Sequence[int] = (),
    scenarios: Sequence[Name] = (),
    seconds: float = 2.0,
    shapes: GivenShapes = (),
    contexts: Sequence[int] = (),
    reporter: Reporter | None = None,
) -> Profile:
    """Measure an artifact on this machine, or on one with TensorRT.

    Args:
        path: Path of a bundle's directory, or of an ONNX file.
        target: Target, which sets session options and batch sizes; without a host it must be this machine.
        host: Machine where engines of the graph are built and measured: see :func:`compress.hosts.connect`.
        keep_on_host: Whether to leave the engines there.
        task: Evaluation data; None measures latency alone, on seeded noise.
        state: The output that is the next value of each input that is carried from call to call; None takes those that
            a bundle records. ``task`` then holds streams.
        threads: Number of threads of the runtime; None takes the bundle's, or every core.
        batches: Batch sizes; empty takes the target's. Two or more are also those of the offline scenario.
        scenarios: MLPerf Inference scenarios to measure too.
        seconds: Time to measure each batch size, in seconds; also the longest warm-up.
        shapes: Shapes of inputs with open axes, by name, where there is no data: for the noise that is fed, and for the
            engines that are built. Empty takes those of a bundle's own sample.
        contexts: Numbers of tokens of the prompts behind which a language model's steps are timed; empty takes some.
        reporter: Receives the progress.

    Raises:
        BundleError: There is no artifact at ``path``, or it is damaged.
        UnavailableError: The target is not this machine, its back end is not installed, or the host does not answer.
        UsageError: Scenarios or threads are asked of a host that has none.
        DataError: The data does not fit, or the network takes none of the batch sizes.
    """
    deployment = load_target(target)
    batches = tuple(dict.fromkeys(batches))  # a size that is given twice is one figure
    if batches:
        deployment = replace(deployment, batch_sizes=batches)
    if host is not None:
        if scenarios:
            raise UsageError(
                "--host or --scenario", "both", "leave one out: trtexec makes single calls alone"
            )
        if contexts:
            raise UsageError("--host or --context", "both", "leave --context out: an engine writes no text")
        if threads is not None:
            raise UsageError("--host or --threads", "both", "leave --threads out: an engine has none")
        build = GivenBuild(path, task, state, shapes)
        with on_host(build, deployment, host, keep_on_host, seconds, reporter or Reporter()) as (_, measured):
            return measured()
    if not deployment.here:
        raise UnavailableError(
            "a target to measure on",
            f"{deployment.name}, which is not this machine",
            f"run it there, or see an estimate with: compress inspect {path} --target {deployment.name}",
        )
    budget = Budget(seconds=seconds, most=_MOST_CALLS, warm_up_seconds=seconds)
    if task is None and not shapes and path.is_dir():
        shapes = load_bundle(path).sample_shapes  # axes that are open have no other size
    machine = LocalHost(load_backend("onnxruntime"), budget, shapes)
    given = _opened(path, machine.backend.default_options(deployment, threads))
    artifact = given.artifact
    if threads is not None:
        artifact = replace(artifact, options={**artifact.options, "intra_op_threads": threads})
    open_elsewhere(artifact)
    if contexts:
        _check_contexts(artifact, machine, deployment, contexts)
    if task is None:
        open_elsewhere(artifact, machine.noise(artifact, deployment))
    else:
        with load_backend(artifact.backend).open(artifact) as session:
            try_elsewhere(artifact, session, task, state or given.states)
            task = bound_to(task, session, artifact.path, given.kinds, state or given.states)
    profile = measure(
        artifact,
        given.name,
        host=machine,
        task=task,
        target=deployment,
        original=None,
        fingerprint=fingerprint(),
        network=given.network,
        answers=None if given.greedy is None else partial(greedy_text, task=task, answers=given.greedy),
        reporter=reporter,
    )
    profile = replace(
        profile, decoding=machine.decoding(artifact, deployment, reporter or Reporter(), contexts, batches)
    )
    return _with_scenarios(
        profile, artifact, task, scenarios, budget, batches, shapes, reporter or Reporter()
    )


def _check_contexts(artifact: Artifact, host: LocalHost, target: Target, contexts: Sequence[int]) -> None:
    """Refuse prompts for a build that writes no text, or that are too long, before anything is measured."""
    context = host.context_of(artifact, target)
    if context is None:
        raise UsageError(
            "a language model for ONNX Runtime on a processor, for --context",
            str(artifact.path),
            "leave it out",
        )
    if max(contexts) >= context:
        raise UsageError(
            f"--context below {context}, the model's context", str(max(contexts)), "give a shorter one"
        )


@dataclass(frozen=True)
class GivenBuild:
    """A build to measure on a host.

    Attributes:
        path: Path of a bundle's directory, or of an ONNX file.
        task: Evaluation data; None measures latency alone, on seeded noise.
        state: The output that is the next value of each input that is carried; None takes those that a bundle records.
        shapes: Shapes of inputs with open axes, by name, where there is no data.
    """

    path: Path
    task: Task | None = None
    state: Mapping[str, str] | None = None
    shapes: GivenShapes = ()


@contextmanager
def on_host(
    given: GivenBuild, target: Target, address: str, keep: bool, seconds: float, reporter: Reporter
) -> Iterator[tuple[Host, Callable[[], Profile]]]:
    """Connect to a host with TensorRT; yield it, and a function that builds and measures engines of a graph there.

    Args:
        given: The build.
        target: Target of the build.
        address: Address of the host: see :func:`compress.hosts.connect`.
        keep: Whether to leave the engines there.
        seconds: Time to measure each batch size, in seconds.
        reporter: Receives the progress.
    """
    opened = _opened(given.path, {})
    artifact = opened.artifact
    with connect(target, seconds, address, keep=keep, on_note=reporter.stage) as machine:
        default_options = machine.backend.default_options(target)
        options = default_options | {
            key: value for key, value in artifact.options.items() if key in default_options
        }
        task = given.task
        if task is not None:
            as_written = replace(artifact, options={"qdq_fusion": False})
            with load_backend("onnxruntime").open(as_written) as session:
                task = bound_to(task, session, artifact.path, opened.kinds, given.state or opened.states)
        splits = () if task is None else (task.calls.evaluation,)
        sized = for_engines(target, given.path, graph_inputs(artifact.path), splits, given.shapes)

        def measured() -> Profile:
            return measure(
                replace(artifact, backend=machine.backend.name, options=options),
                opened.name,
                host=machine,
                task=task,
                target=machine.adapt(sized),
                original=None,
                fingerprint=machine.fingerprint(),
                network=opened.network,
                reporter=reporter,
            )

        yield machine, measured


def _with_scenarios(
    profile: Profile,
    artifact: Artifact,
    task: Task | None,
    names: Sequence[Name],
    budget: Budget,
    batches: Sequence[int],
    shapes: GivenShapes,
    reporter: Reporter,
) -> Profile:
    """Return the profile with scenarios, and with the doubts about them among its warnings."""
    if not names:
        return profile
    measured: list[Scenario] = []
    with load_backend(artifact.backend).open(artifact) as session:
        for name in names:
            reporter.step(name)
            sizes = batches if len(batches) > 1 else ()
            measured.append(run(name, session, task, budget, sizes, shapes))
    unsteady = [
        f"{scenario.name}: no steady state within {spent.seconds:.2g} s of warm-up ({spent.calls} queries)"
        for scenario in measured
        if (spent := scenario.warm_up) is not None and not spent.steady
    ]
    swept = [
        f"offline, {doubt}" for scenario in measured for step in scenario.sweep for doubt in doubts(step)
    ]
    return replace(profile, scenarios=tuple(measured), warnings=(*profile.warnings, *unsteady, *swept))


@dataclass(frozen=True)
class _Opened:
    """A build before it is measured, as far as it is known.

    Attributes:
        name: Name of its recipe, or of its file.
        artifact: The file with its back end and session options.
        network: Name of the original network and sha256 of its file, as far as known.
        kinds: Kinds of its outputs; empty where they are not recorded.
        states: The output that is the next value of each input that is carried from call to call.
        greedy: Answers of the original, a language model; None where they are not recorded.
    """

    name: str
    artifact: Artifact
    network: tuple[str, str | None] | None
    kinds: tuple[OutputKind, ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)
    greedy: GreedyText | None = None


def _opened(path: Path, options: dict[str, Any]) -> _Opened:
    """Return a bundle's build, or an ONNX file with these session options."""
    if path.is_dir():
        bundle = load_bundle(path)
        return _Opened(
            bundle.recipe.name,
            bundle.artifact,
            bundle.network,
            bundle.kinds,
            bundle.states,
            bundle.profile.greedy,
        )
    if path.is_file():
        artifact = Artifact(path, sha256_of(path), size_of(path), "onnxruntime", options)
        return _Opened(path.stem, artifact, (path.stem, None))
    raise BundleError("a bundle or an ONNX file", f"nothing at {path}", "correct the path")
