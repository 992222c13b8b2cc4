"""The bundle of a run: what goes into it, and when it is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.backends.base import Artifact
from compress.backends.tensorrt import build_script, release_of
from compress.bundle.bundle import write_bundle
from compress.bundle.programs import programs, take_sample
from compress.bundle.programs.sample import share_of
from compress.core.json_text import json_text
from compress.core.progress import Reporter
from compress.core.versions import versions
from compress.hosts.engine_session import EngineSession
from compress.lint.legalize import rewrites_note
from compress.onnx_graph.precision import precision_of
from compress.reports.markdown import report
from compress.search.decision import Choice, Limits, choose, settings_notes
from compress.search.run_directory import Candidate, RunDirectory

if TYPE_CHECKING:
    from compress.bundle.programs import Sample
    from compress.data.task import Task
    from compress.hosts.base import Host
    from compress.network.network import Network
    from compress.target.target import Target


def assemble_bundle(
    out: Path,
    artifact: Path,
    choice: Choice,
    candidates: Sequence[Candidate],
    network: Network,
    task: Task,
    target: Target,
    host: Host,
    options: Mapping[str, Any],
    notes: Sequence[str] = (),
    *,
    complete: bool = True,
) -> Path:
    """Write the bundle of the chosen candidate.

    Args:
        out: Directory of the bundle.
        artifact: File of the chosen candidate.
        choice: The decision, which has a candidate.
        candidates: All candidates that were tried.
        network: The original network, for its inputs, outputs and origin.
        task: The task, for the provenance of its data.
        target: Target of the build.
        host: Machine that measured the build; it also runs the sample that is shipped.
        options: Options that the user set, by the command's option names; they go into the manifest.
        notes: Notes for the user, one line each; they go into the report.
        complete: Whether the search is over, so that no better build can follow.
    """
    chosen = choice.candidate
    if chosen is None or chosen.profile is None:
        raise ValueError("nothing was chosen")
    profile = chosen.profile
    manifest: dict[str, Any] = {
        "name": chosen.recipe.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "artifact": {
            "file": artifact.name,
            "sha256": profile.artifact_sha256,
            "bytes": profile.artifact_bytes,
            "backend": profile.backend,
            "options": profile.options,
        },
        "inputs": [spec.to_dict() for spec in network.inputs],
        "outputs": [spec.to_dict() for spec in network.outputs],
        "states": {} if task.streams is None else dict(task.streams.pairs),
        "target": target.to_dict(),
        "network": {key: value for key, value in dataclasses.asdict(network.origin).items() if value},
        "data": {
            **task.provenance,
            "metric": task.metric.name,
            "classes": task.classes,
            "outputs": [dataclasses.asdict(kind) for kind in task.kinds],
        },
        "options": dict(options),
        "reason": choice.reason,
        "notes": list(notes),
        "complete": complete,
        "versions": versions(),
    }
    further: dict[str, str | bytes] = {
        "candidates.jsonl": "".join(_line(entry, choice) for entry in candidates),
        "report.md": report(manifest, choice, candidates),
    }
    precision = precision_of(artifact) if artifact.suffix == ".onnx" else "fp32"
    if target.backend == "tensorrt":
        further["build.sh"] = build_script(
            target,
            network.inputs,
            precision,
            dla_core=profile.options.get("dla_core"),
            sparse=_sparse(artifact),
        )
    build = Artifact(
        artifact, profile.artifact_sha256, profile.artifact_bytes, profile.backend, profile.options
    )
    sample, engine = _run_sample(build, host, task, target)
    if engine is not None:
        further["model.engine"], key = engine
        manifest["engine"] = {"file": "model.engine", **key}
    if sample.numeric:
        manifest["sample"] = sample.to_dict()
        further |= sample.files()
        runtime = _runtime(build, target)
        further |= programs(
            runtime,
            network.inputs,
            sample,
            profile.options,
            target.tensorrt,
            precision,
            states=manifest["states"],
        )
    return write_bundle(out, artifact, manifest, profile, chosen.recipe, further)


@dataclass
class BestSoFar:
    """Writes the best build of a run as a complete bundle: the first that beats fp32, and each better one after it.

    A run that is interrupted leaves it there.

    Attributes:
        out: Directory of the bundle.
        run: Run directory with the candidates' files.
        network: The network that is compressed.
        task: The task, for the provenance of its data.
        target: Target of the build.
        host: Machine that measures candidates.
        limits: Limits that the user sets for the build.
        options: Options that the user set, by the command's option names.
        notes: Notes for the user, one line each.
        reporter: Receives a message about each bundle that is written.
        candidates: All candidates that this run tried so far, the original first.
    """

    out: Path
    run: RunDirectory
    network: Network
    task: Task
    target: Target
    host: Host
    limits: Limits
    options: Mapping[str, Any]
    notes: tuple[str, ...]
    reporter: Reporter
    candidates: list[Candidate] = field(default_factory=list)
    _shipped: Candidate | None = None

    def tried(self, candidate: Candidate) -> None:
        """Add a candidate, and ship the best one if it has changed."""
        self.candidates.append(candidate)
        choice = choose(self.candidates, self.limits)
        if choice.candidate not in (None, self.candidates[0], self._shipped):
            self._ship(choice, complete=False)

    def finish(self, stopped: Sequence[str] = ()) -> Choice:
        """Ship the best candidate, with all candidates in its report.

        Args:
            stopped: Reasons why the search ended early, one line each; empty where all recipes were tried.
        """
        self.notes = (*self.notes, *stopped)
        choice = choose(self.candidates, self.limits)
        if choice.candidate is not None:
            self._ship(choice, complete=not stopped)
        return choice

    def _ship(self, choice: Choice, *, complete: bool) -> None:
        chosen = choice.candidate
        assert chosen is not None
        path = self.run.path_of(chosen)
        notes = (
            *self.notes,
            *settings_notes(chosen),
            *_dla_notes(chosen, self.target),
            *rewrites_note(chosen.reports, self.target.name),
            *(() if complete else ("the search was not over when this bundle was written",)),
        )
        assemble_bundle(
            self.out,
            path,
            choice,
            self.candidates,
            self.network,
            self.task,
            self.target,
            self.host,
            self.options,
            notes,
            complete=complete,
        )
        self._shipped = chosen
        self.reporter.ship(chosen.recipe.name)


def _dla_notes(chosen: Candidate, target: Target) -> tuple[str, ...]:
    """Return notes on how to run an engine of a deep learning accelerator; empty for other builds."""
    if chosen.profile is None or chosen.profile.options.get("dla_core") is None:
        return ()
    return (f"the DLA takes one shape: build.sh builds its engine for batch {min(target.batch_sizes)} alone",)


def _sparse(artifact: Path) -> bool:
    """Whether the graph has 2:4 weights; also for an absent board, where another runtime has checked it."""
    import onnx

    from compress.onnx_graph.zeros import is_2_4

    return artifact.suffix == ".onnx" and is_2_4(onnx.load(artifact))


def _run_sample(
    build: Artifact, host: Host, task: Task, target: Target
) -> tuple[Sample, tuple[bytes, dict[str, Any]] | None]:
    """Return the sample with the build's answers on the measuring machine, and the engine there, if any."""
    runtime = _runtime(build, target)
    share = share_of(build.path, build.options, runtime)
    old = runtime == "tensorrt" and release_of(target.tensorrt) < (10,)
    with host.exclusive(), host.open(build, target) as session:
        sample = take_sample(session, task, share, narrow=old)
        return sample, session.plan() if isinstance(session, EngineSession) else None


def _runtime(build: Artifact, target: Target) -> str:
    """Return the back end of the deployed build: without a board, ONNX Runtime stood in for TensorRT here."""
    return "tensorrt" if target.backend == "tensorrt" else build.backend


def _line(candidate: Candidate, choice: Choice) -> str:
    data = candidate.to_dict()
    # The artifacts of the others are gone, and the chosen one's outcomes are in profile.json.
    data.pop("file")
    if data["profile"] is not None:
        data["profile"]["outcomes"] = ""
    return json_text({**data, "verdict": choice.verdicts[candidate.recipe.name]}) + "\n"
