"""The bundle of a run: what goes into it, and when it is written."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.backends import load_backend, session_options_of
from compress.backends.base import Artifact
from compress.backends.openvino_decoder import GRAPH as OPENVINO_GRAPH
from compress.backends.tensorrt import TRITON, build_script, release_of
from compress.bundle.programs import programs, take_sample
from compress.bundle.programs.sample import share_of
from compress.bundle.programs.triton import model_config
from compress.bundle.writing import beside, check_replaceable, write_bundle
from compress.core.json_text import json_text
from compress.core.progress import Reporter
from compress.core.tensor_spec import TensorSpec
from compress.core.versions import versions
from compress.errors import UsageError
from compress.hosts.engine_session import EngineSession
from compress.language.greedy import ASKED, beginnings, documents_of
from compress.language.openvino_files import companions_of_openvino
from compress.lint.legalize import rewrites_note
from compress.network.network import DECODER, GENERATIVE
from compress.onnx_graph.crashes import crashing_optimizations
from compress.onnx_graph.precision import precision_of
from compress.reports.markdown import report
from compress.search import companions
from compress.search.decision import Choice, choice_on_front, choose, proven_front, settings_notes
from compress.search.limits import Limits
from compress.search.run_directory import Candidate, RunDirectory

if TYPE_CHECKING:
    from compress.api.draft import Draft
    from compress.bundle.programs import Sample
    from compress.data.task import Task
    from compress.hosts.base import Host
    from compress.network.network import Network
    from compress.records.draft_speed import DraftSpeed
    from compress.records.profile import Profile
    from compress.target.target import Target


#: File of the draft in a bundle; texts that it is measured on, and the least of them that decide.
DRAFT = "draft/model.onnx"
_DRAFTED_TEXTS, _LEAST_DRAFTED_TEXTS = 24, 12


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
    untried: Sequence[str] = (),
    draft: Draft | None = None,
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
        untried: Names of recipes that were not tried since the time was over.
        draft: Smaller language model that writes ahead, which is shipped where the build is proven faster with it.
    """
    chosen = choice.candidate
    if chosen is None or chosen.profile is None:
        raise ValueError("nothing was chosen")
    profile = chosen.profile
    inputs, outputs = _interface(network, profile)
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
        "inputs": [spec.to_dict() for spec in inputs],
        "outputs": [spec.to_dict() for spec in outputs],
        "states": {} if task.whole is None else dict(task.whole.pairs),
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
        "untried": list(untried),
        "versions": versions(),
    }
    further: dict[str, str | bytes] = {
        "candidates.jsonl": "".join(_line(entry, choice) for entry in candidates),
        "report.md": report(manifest, choice, candidates),
    }
    precision = precision_of(artifact) if artifact.suffix == ".onnx" else "fp32"
    build = Artifact(
        artifact, profile.artifact_sha256, profile.artifact_bytes, profile.backend, profile.options
    )
    if target.backend == "tensorrt":
        further["build.sh"] = build_script(
            target,
            network.inputs,
            precision,
            dla_core=session_options_of(build).dla_core,
            sparse=_sparse(artifact),
        )
        on_dla = session_options_of(build).dla_core is not None
        if (served := model_config(target, network.inputs, outputs, dla=on_dla)) is not None:
            further[f"{TRITON}/config.pbtxt"] = served
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
            inputs,
            sample,
            profile.options,
            target.tensorrt,
            precision,
            states=manifest["states"],
            generates=network.origin.format in GENERATIVE,
            crashing=crashing_optimizations(artifact),
            model=artifact.name,
        )
    beside_it = companions.kept(artifact) or network.companions
    further |= companions_of_openvino(beside_it) if artifact.name == OPENVINO_GRAPH else beside_it
    if draft is not None and profile.draft is not None and profile.draft.is_proven:
        session = session_options_of(build)
        further[DRAFT] = draft.graph
        manifest["draft"] = {
            "file": DRAFT,
            "ahead": profile.draft.ahead,
            "threads": session.intra_op_threads or 0,
            "spinning": session.spinning is not False,
        }
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
        front: Directory of the bundle of each build on the Pareto front, by its name, where the front was asked for.
        draft: Smaller language model that may write ahead for the chosen build; None for none.
        draft_notes: Outcome of its measurement, one line; empty where there is none, or nothing was chosen yet.
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
    front: dict[str, Path] = field(default_factory=dict)
    draft: Draft | None = None
    draft_notes: tuple[str, ...] = ()
    _shipped: Candidate | None = None

    def tried(self, candidate: Candidate) -> None:
        """Add a candidate, and ship the best one if it has changed."""
        self.candidates.append(candidate)
        choice = choose(self.candidates, self.limits)
        if choice.candidate not in (None, self.candidates[0], self._shipped):
            self._ship(choice, complete=False)

    def finish(self, stopped: Sequence[str] = (), untried: Sequence[str] = ()) -> Choice:
        """Ship the best candidate, with all candidates in its report.

        Args:
            stopped: Reasons why the search ended early, one line each; empty where all recipes were tried.
            untried: Names of recipes that were not tried since the time was over.
        """
        self.notes = (*self.notes, *stopped)
        self._measure_writing()
        choice = choose(self.candidates, self.limits)
        if choice.candidate is not None:
            self._ship(choice, complete=not stopped, untried=untried)
        if self.limits.front:
            for entry in proven_front(self.candidates, self.limits):
                path = front_path(self.out, entry.recipe.name)
                on_front = choice_on_front(entry, choice, self.candidates, self.limits)
                self._write(path, on_front, complete=not stopped, untried=untried)
                self.front[entry.recipe.name] = path
        return choice

    def _measure_writing(self) -> None:
        """Measure how fast the chosen build writes text, alone and with a draft, where it is a language model."""
        if self.network.origin.format != DECODER or self.host.source != "measured":
            return
        chosen = choose(self.candidates, self.limits).candidate
        if chosen is None or chosen.profile is None:
            return
        profile = chosen.profile
        artifact = Artifact(
            self.run.path_of(chosen),
            profile.artifact_sha256,
            profile.artifact_bytes,
            profile.backend,
            profile.options,
        )
        with self.host.exclusive():
            profile = dataclasses.replace(
                profile, decoding=self.host.decoding(artifact, self.target, self.reporter)
            )
            if self.draft is not None:
                profile = dataclasses.replace(profile, draft=self._with_draft(artifact, profile, self.draft))
        measured = dataclasses.replace(chosen, profile=profile)
        self.candidates = [measured if entry is chosen else entry for entry in self.candidates]

    def _with_draft(self, artifact: Artifact, profile: Profile, draft: Draft) -> DraftSpeed | None:
        """Return how the chosen build writes with a draft; None where it cannot, which becomes a note."""
        prompts = beginnings(documents_of(self.task) or (), _DRAFTED_TEXTS)
        vocabulary = profile.outputs[0]["shape"][-1] if profile.outputs else None
        speed = None
        if vocabulary != draft.vocabulary:
            why = f"it has {draft.vocabulary} tokens, and what is shipped has {vocabulary}"
        elif len(prompts) < _LEAST_DRAFTED_TEXTS:
            why = f"{_LEAST_DRAFTED_TEXTS} documents or more prove something, and there are {len(prompts)}"
        else:
            self.reporter.step("writing with the draft")
            path = self.run.directory / DRAFT
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(draft.graph)
            speed = self.host.with_draft(
                artifact, self.target, path, [prompt.tolist() for prompt in prompts], ASKED
            )
            why = f"it is for ONNX Runtime on a processor, and what is shipped is for {profile.backend}"
        note = str(speed) if speed is not None else f"the draft was not tried: {why}"
        self.draft_notes = (note,)
        self.notes = (*self.notes, note)
        return speed

    def _ship(self, choice: Choice, *, complete: bool, untried: Sequence[str] = ()) -> None:
        chosen = choice.candidate
        assert chosen is not None
        self._write(self.out, choice, complete=complete, untried=untried)
        self._shipped = chosen
        self.reporter.ship(chosen.recipe.name)

    def _write(self, out: Path, choice: Choice, *, complete: bool, untried: Sequence[str]) -> None:
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
            out,
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
            untried=untried,
            draft=self.draft,
        )


def front_path(out: Path, name: str) -> Path:
    """Return the directory of the bundle of a build on the Pareto front: OUT-NAME, with '-' for odd characters.

    Args:
        out: Directory of the bundle that is chosen.
        name: Name of the build's recipe.
    """
    return beside(out, "-" + re.sub(r"[^\w.+@-]+", "-", name))


def check_front(out: Path, names: Sequence[str]) -> None:
    """Check that the bundle of each recipe may be written beside OUT, before anything is measured.

    Args:
        out: Directory of the bundle that is chosen.
        names: Names of the recipes that may be on the front.

    Raises:
        OutputError: A directory of that name is something other than a bundle.
        UsageError: Two recipes would have one directory.
    """
    paths = [front_path(out, name) for name in names]
    for name, path in zip(names, paths, strict=True):
        check_replaceable(path)
        if paths.count(path) > 1:
            raise UsageError("--front with a directory for each recipe", f"{path} twice", f"rename '{name}'")


def _dla_notes(chosen: Candidate, target: Target) -> tuple[str, ...]:
    """Return notes on how to run an engine of a deep learning accelerator; empty for other builds."""
    profile = chosen.profile
    if profile is None:
        return ()
    if load_backend(profile.backend).session_options.read(profile.options).dla_core is None:
        return ()
    return (f"the DLA takes one shape: build.sh builds its engine for batch {min(target.batch_sizes)} alone",)


def _interface(network: Network, profile: Profile) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs of a build: a language model's has fewer where layers or heads were removed."""
    if network.origin.format != DECODER or not profile.inputs:
        return network.inputs, network.outputs
    inputs, outputs = (
        tuple(TensorSpec.from_dict(entry) for entry in specs) for specs in (profile.inputs, profile.outputs)
    )
    return inputs, outputs


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
