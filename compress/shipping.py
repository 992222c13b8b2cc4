"""What goes into the bundle of a run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.bundle import write_bundle
from compress.reports.markdown import report
from compress.versions import versions

if TYPE_CHECKING:
    from compress.choice import Choice
    from compress.history import Candidate
    from compress.network import Network
    from compress.target import Target
    from compress.task import Task


def ship(
    out: Path,
    artifact: Path,
    choice: Choice,
    candidates: Sequence[Candidate],
    network: Network,
    task: Task,
    target: Target,
    options: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Path:
    """Write the bundle of the chosen candidate.

    Args:
        out: Its directory.
        artifact: The chosen file.
        choice: What was decided; it has a candidate.
        candidates: Everything that was tried.
        network: Its inputs, outputs and origin.
        task: The provenance of its data.
        target: What it is for.
        options: What was asked for, by the name of the command's option; goes into the manifest.
        notes: What a person should know besides, one line each; goes into the report.
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
        "target": target.to_dict(),
        "network": dataclasses.asdict(network.origin),
        "data": {**task.provenance, "metric": task.metric.name, "classes": task.classes},
        "options": dict(options),
        "reason": choice.reason,
        "notes": list(notes),
        "versions": versions(),
    }
    texts = {
        "candidates.jsonl": "".join(_line(entry, choice) for entry in candidates),
        "report.md": report(manifest, choice, candidates),
    }
    if target.backend == "tensorrt":
        from compress.backends.tensorrt import build_script

        texts["build.sh"] = build_script(target, network.inputs, _precision(chosen))
    return write_bundle(out, artifact, manifest, profile, chosen.recipe, texts)


def _line(candidate: Candidate, choice: Choice) -> str:
    data = candidate.to_dict()
    # The artifacts of the others are gone, and the chosen one's outcomes are in profile.json.
    data.pop("file")
    if data["profile"] is not None:
        data["profile"]["outcomes"] = ""
    return json.dumps({**data, "verdict": choice.verdicts[candidate.recipe.name]}) + "\n"


def _precision(candidate: Candidate) -> str:
    techniques = [step.technique for step in candidate.recipe.steps]
    if "quantize" in techniques:
        return "int8"
    return "fp16" if "cast" in techniques else "fp32"
