"""The verb ``benchmark``: a network in every back end and precision that is here, side by side; nothing is chosen."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from compress.api.inputs import open_inputs, sized_target
from compress.api.keywords import BenchmarkKeywords
from compress.api.options import BenchmarkOptions
from compress.backends.providers import short_name
from compress.core.files import written_safely
from compress.core.options import takes
from compress.core.progress import Reporter
from compress.hosts import connect
from compress.measuring.measure import Original
from compress.profiling.kept_outputs import KeptOutputs
from compress.recipe import Recipe, Step
from compress.search.attempts import Attempts, failure_of
from compress.search.backends import CompetingBackends, competing_backends
from compress.search.limits import Limits
from compress.search.proposals import ORIGINAL, WHOLE_CHAINS
from compress.search.run_directory import Candidate

if TYPE_CHECKING:
    import torch

    from compress.records.profile import Profile
    from compress.target.target import Target

#: Precisions of a benchmark, in its order.
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")

#: Those that few devices compute in: they have no row where the target does not list them.
_RARE = ("fp8",)


@dataclass(frozen=True)
class BenchmarkRow:
    """One back end and precision.

    Attributes:
        backend: Name of the back end.
        precision: Precision that was asked of it.
        profile: Measurements of the build; None where there is none.
        reason: Reason why there is none; None where there is one.
        provider: ONNX Runtime's execution provider that ran it; None for the one that the target names.
    """

    backend: str
    precision: str
    profile: Profile | None = None
    reason: str | None = None
    provider: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold; per-sample outcomes are left out."""
        profile = None if self.profile is None else {**self.profile.to_dict(), "outcomes": ""}
        return {
            "backend": self.backend,
            "provider": self.provider,
            "precision": self.precision,
            "profile": profile,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class BenchmarkResult:
    """Result of :func:`benchmark`.

    Attributes:
        rows: Every back end and precision, the original in fp32 first.
        target: Name of the target.
        notes: Further notes for the user, such as on a back end that is not installed.
    """

    rows: tuple[BenchmarkRow, ...]
    target: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the dict that ``compress benchmark --json`` prints."""
        rows = [row.to_dict() for row in self.rows]
        return {"schema": 1, "target": self.target, "rows": rows, "notes": list(self.notes)}


@takes(BenchmarkOptions)
def benchmark(
    model: str | Path | torch.nn.Module,
    *,
    reporter: Reporter | None = None,
    **options: Unpack[BenchmarkKeywords],
) -> BenchmarkResult:
    """Measure a network in every back end and precision that is here; nothing is chosen, and nothing is kept.

    Each build runs with its back end's default session options, so that the rows are those of the back ends. int8 is
    plain post-training quantization: ``optimize`` looks further.

    Args:
        model: A torch.export, TorchScript, state-dict, pickled or ONNX file, a Hugging Face directory, ``timm:NAME``,
            or a live module, which is not modified.
        reporter: Receives the progress; None reports to nobody.

    Returns:
        A row for each back end, execution provider and precision, with size, accuracy and latency, or with the reason
        why there are none.

    Raises:
        UsageError: An argument cannot be used; the message says what to do.
        UnavailableError: The target's back end is not on this machine, or the host does not answer (any more).
        OutputError: There is no room for the builds.
    """
    request = BenchmarkOptions.of(options)
    reporter = reporter or Reporter()
    inputs = open_inputs(
        model, request, reporter, target=request.target, calibration_data=request.calibration_data
    )
    target = sized_target(inputs, None)
    rivals = competing_backends(target, request.backends)
    host = connect(target, request.seconds, request.host, keep=request.keep_on_host, on_note=reporter.stage)
    target = host.adapt(target)
    attempts = Attempts(
        inputs.network,
        inputs.task,
        target,
        host,
        rivals,
        Limits(),
        request.seed,
        request.threads,
        request.seconds,
        reporter,
    )
    planned = list(_planned(target, rivals))
    reporter.plan(sum(build.recipe is not None for build in planned))
    with host, tempfile.TemporaryDirectory(prefix="compress-benchmark-") as directory:
        bench = _Bench(attempts, Path(directory))
        rows = tuple(map(bench.row, planned))
    return BenchmarkResult(rows, target.name, (*inputs.notes, *rivals.notes))


@dataclass(frozen=True)
class _Planned:
    """A row that is to be measured.

    Attributes:
        backend: Name of the back end.
        precision: Precision that is asked of it.
        recipe: Recipe of the build; None where the target does not list the precision.
        provider: ONNX Runtime's execution provider; None for the back end's own.
    """

    backend: str
    precision: str
    recipe: Recipe | None
    provider: str | None = None


def _planned(target: Target, rivals: CompetingBackends) -> Iterator[_Planned]:
    """Yield the rows of a benchmark, the original in fp32 first."""
    own_backend = target.backend
    if own_backend not in rivals.names:
        yield _Planned(own_backend, "fp32", ORIGINAL)  # which all others are compared with
    for name in rivals.names:
        precisions = target.for_backend(name).precisions
        if name != own_backend:
            yield from (
                _Planned(name, precision, recipe) for precision, recipe in _elsewhere(name, precisions)
            )
            continue
        yield from (_Planned(own_backend, precision, recipe) for precision, recipe in _own(precisions))
        for provider in rivals.providers:
            session, listed = {"provider": provider}, target.further_providers[provider]
            for precision, recipe in _own(listed):
                named = f"{precision}-{short_name(provider)}"
                changed = recipe and replace(recipe, name=named, session=session, origin="search")
                yield _Planned(own_backend, precision, changed, provider)


def _listed(precisions: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield each precision of a benchmark, and whether it is listed; those of few devices only where it is."""
    for precision in PRECISIONS:
        if precision in precisions or precision not in _RARE:
            yield precision, precision in precisions


def _own(precisions: Sequence[str]) -> Iterator[tuple[str, Recipe | None]]:
    """Yield precision and recipe for the target's own back end, where precisions are in the graph."""
    half = Step("cast", {"precision": "float16"})
    steps = {
        "fp16": (half,),
        "bf16": (Step("cast", {"precision": "bfloat16"}),),
        "int8": WHOLE_CHAINS.steps,
        "fp8": (Step("float8"), half) if "fp16" in precisions else (Step("float8"),),
    }
    for precision, listed in _listed(precisions):
        recipe = Recipe(precision, steps[precision], origin="search") if precision in steps else ORIGINAL
        yield precision, recipe if listed else None


def _elsewhere(backend: str, precisions: Sequence[str]) -> Iterator[tuple[str, Recipe | None]]:
    """Yield precision and recipe for another back end, which is told the half precision that it computes in."""
    steps = {"int8": WHOLE_CHAINS.steps, "fp8": (Step("float8"),)}
    for precision, listed in _listed(precisions):
        session = {"precision": precision} if precision in ("fp16", "bf16") else {}
        name = f"{precision}-{backend}"
        recipe = Recipe(name, steps.get(precision, ()), backend, session, origin="search")
        yield precision, recipe if listed else None


class _Bench:
    """Builds and measures one row after another, each against the first.

    Args:
        attempts: Builder of recipes on the network, its data and the host.
        directory: Directory for builds.
    """

    def __init__(self, attempts: Attempts, directory: Path) -> None:
        self._attempts, self._directory = attempts, directory
        self._outputs = KeptOutputs(directory / "outputs")
        self._original: Original | None = None

    def row(self, planned: _Planned) -> BenchmarkRow:
        """Build and measure one back end and precision; only the original may fail the run, and what ends any run."""
        row = BenchmarkRow(planned.backend, planned.precision, provider=planned.provider)
        if planned.recipe is None:
            name, place = self._attempts.target.name, planned.provider or planned.backend
            return replace(row, reason=f"{name} does not list {planned.precision} for {place}")
        outcome = self._outcome(planned.recipe)
        self._attempts.reporter.end(outcome, resumed=False)
        return replace(row, profile=outcome.profile, reason=outcome.failure)

    def _outcome(self, recipe: Recipe) -> Candidate:
        attempts, directory = self._attempts, self._directory / recipe.identity
        attempts.reporter.begin(recipe)
        try:
            with written_safely(self._directory):
                directory.mkdir()
            artifact = attempts.built(recipe, attempts.context(recipe), directory)
            profile = attempts.measured(artifact, recipe, self._original, self._outputs)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a row is the reason that it tells
            return Candidate(recipe, failure=failure_of(error, recipe))
        if self._original is None:
            self._original = Original(profile, artifact, {}, self._outputs)
        return Candidate(recipe, profile)
