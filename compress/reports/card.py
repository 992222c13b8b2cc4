"""A model card: Markdown, with the front matter that model hubs read, on what a build is, how good and how fast."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from compress.records.profile import Accuracy, Profile
from compress.reports.figures import (
    accuracy_figure,
    digits,
    drop_figure,
    latency_figure,
    ratio_figure,
    size_text,
)
from compress.reports.gate_markdown import cell, code
from compress.reports.run import Run
from compress.reports.slices import WORSE, finding, worst_first
from compress.reports.tables import pairs
from compress.reports.timings import condition_text

#: Classes that are named of those that are shown to be worse than fp32.
_NAMED = 10


def card(run: Run) -> str:
    """Return the model card of the build that was shipped."""
    lines = ["---", *_front_matter(run), "---", "", *_body(run)]
    return "\n".join(lines) + "\n"


def _front_matter(run: Run) -> Iterator[str]:
    """Yield YAML; each text is written as JSON, which YAML reads, so that no name can become a key."""
    manifest, accuracy = run.manifest, run.profile.accuracy
    yield f"library_name: {_yaml(_library(manifest))}"
    task = _task(manifest)
    if task is not None:
        yield f"pipeline_tag: {_yaml(task)}"
    yield "tags:"
    steps = next(entry.recipe.steps for entry in run.candidates if entry.recipe.name == run.shipped)
    for word in dict.fromkeys(["compress-toolkit", *(step.technique for step in steps)]):
        yield f"- {_yaml(word)}"
    if accuracy is None:
        return
    yield "metrics:"
    yield f"- {_yaml(_metric(accuracy))}"
    yield "model-index:"
    yield f"- name: {_yaml(run.shipped)}"
    yield "  results:"
    yield f"  - task: {{type: {_yaml(task or 'other')}}}"
    yield f"    dataset: {{type: {_yaml(_data_name(manifest))}, name: {_yaml(_data_name(manifest))}}}"
    yield "    metrics:"
    yield f"    - {{type: {_yaml(_metric(accuracy))}, name: {_yaml(accuracy.metric)}, value: {accuracy.mean:.6g}}}"


def _body(run: Run) -> Iterator[str]:
    manifest, profile = run.manifest, run.profile
    target, artifact = manifest["target"], manifest["artifact"]
    yield f"# {cell(run.shipped)} for {cell(target['name'])}"
    yield ""
    yield (
        f"{code(manifest['network']['path'])}, compressed by compress-toolkit for {cell(target['name'])} "
        f"({cell(target.get('description', ''))}). {cell(_sentence(manifest['reason']))}."
    )
    yield ""
    yield "## Figures"
    yield ""
    yield "| figure | this build | the original in fp32 |"
    yield "| --- | --- | --- |"
    for name, ours, theirs in _figures(profile, run.original):
        yield f"| {cell(name)} | {cell(ours)} | {cell(theirs)} |"
    yield ""
    if run.estimated:
        yield "Times are **estimated** by a roofline: no such machine was at hand. Accuracy was measured."
        yield ""
    yield "Brackets hold 95 % confidence intervals; the drop is paired by sample, and its upper end is its 95 % bound."
    yield ""
    yield "## How it was made"
    yield ""
    recipe = next(entry.recipe for entry in run.candidates if entry.recipe.name == run.shipped)
    yield from ("```toml", recipe.to_toml().rstrip().replace("```", "` ` `"), "```", "")
    yield "## How to use it"
    yield ""
    yield f"`python run.py` in the bundle runs {code(artifact['file'])} in {cell(artifact['backend'])}; in Python:"
    yield ""
    yield from ("```python", "import compress", "", 'compress.predict("build", "sample.npy")', "```", "")
    yield "## Evaluation and limits"
    yield ""
    yield from _limits(run)
    yield ""
    yield "## Provenance"
    yield ""
    yield f"- file: {code(artifact['file'])}, sha256 `{artifact['sha256']}`"
    yield f"- network: {code(manifest['network']['path'])}, sha256 `{manifest['network']['sha256']}`"
    yield f"- machine of the measurements: {cell(pairs(profile.fingerprint))}"
    yield f"- versions: {cell(pairs(manifest['versions']))}"
    yield f"- made: {cell(str(manifest.get('created', 'not recorded')))}"


def _figures(profile: Profile, original: Profile | None) -> Iterator[tuple[str, str, str]]:
    before = None if original is None else original.accuracy
    if profile.accuracy is not None:
        yield profile.accuracy.metric, str(accuracy_figure(profile.accuracy)), _accuracy(before)
        drop = profile.accuracy.drop
        if drop is not None:
            yield f"drop, {drop.unit}", str(drop_figure(drop)), "–"
    for latency in profile.latency:
        word = "estimated " if latency.source == "estimated" else ""
        yield f"{word}median of a call, {condition_text(latency)}", str(latency_figure(latency)), "–"
        if latency.ratio is not None:
            yield f"{word}time over fp32's, {condition_text(latency)}", str(ratio_figure(latency)), "1×"
    yield (
        "size",
        size_text(profile.artifact_bytes),
        "–" if original is None else size_text(original.artifact_bytes),
    )
    if profile.peak_memory_mb is not None:
        yield "peak memory", f"{digits(profile.peak_memory_mb)} MiB", "–"


def _limits(run: Run) -> Iterator[str]:
    accuracy = run.profile.accuracy
    if accuracy is None:
        yield "- No evaluation data was given: nothing is known of its accuracy."
    else:
        yield (
            f"- Accuracy was measured on {accuracy.samples} samples of {code(_data_name(run.manifest))} and says "
            "nothing of other data."
        )
    worse = [part.name for part in worst_first(run.profile.slices) if finding(part) == WORSE]
    if worse:
        more = f" and {len(worse) - _NAMED} more" if len(worse) > _NAMED else ""
        yield f"- Classes that are worse than fp32 beyond doubt: {cell(', '.join(worse[:_NAMED]))}{more}."
    elif run.profile.slices:
        yield f"- None of {len(run.profile.slices)} classes was shown to be worse than fp32."
    target = cell(run.manifest["target"]["name"])
    yield f"- Times hold for {target} alone; measure again elsewhere (`compress profile`)."


def _sentence(text: object) -> str:
    return f"{str(text)[:1].upper()}{str(text)[1:]}"


def _accuracy(accuracy: Accuracy | None) -> str:
    return "–" if accuracy is None else str(accuracy_figure(accuracy))


def _metric(accuracy: Accuracy) -> str:
    """Return the metric as hubs name it, where they have a name for it."""
    return {"top-1": "accuracy"}.get(accuracy.metric, accuracy.metric)


def _library(manifest: Mapping[str, Any]) -> str:
    backend = str(manifest["artifact"]["backend"])
    return {"onnxruntime": "onnx"}.get(backend, backend)


def _task(manifest: Mapping[str, Any]) -> str | None:
    """Return the task as hubs name it, where the data and the metric show it."""
    images = (manifest["data"].get("evaluation") or {}).get("kind") == "images"
    return "image-classification" if images and str(manifest["data"]["metric"]).startswith("top-") else None


def _data_name(manifest: Mapping[str, Any]) -> str:
    source = manifest["data"].get("evaluation") or {}
    return str(source.get("path") or source.get("from") or "not recorded")


def _yaml(text: str) -> str:
    return json.dumps(text)
