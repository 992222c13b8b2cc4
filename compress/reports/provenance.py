"""The origin of a run's figures, and how to reproduce them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from compress.reports.figures import size_text
from compress.reports.markup import Child, Markup, join, tag
from compress.reports.run import Run
from compress.reports.tables import definitions, details, pairs, table


def provenance(run: Run) -> Markup:
    """Return a section with network, data, artifact, target, machine and versions."""
    manifest, data = run.manifest, run.manifest["data"]
    artifact, network, target = manifest["artifact"], manifest["network"], manifest["target"]
    entries: list[tuple[str, Child]] = [
        ("network", join([_code(network["path"]), f" ({network['format']}), ", _sha256(network["sha256"])])),
        ("evaluation data", _data(data.get("evaluation"))),
        ("calibration data", _data(data.get("calibration"))),
        ("training data", _data(data.get("training"))),
    ]
    if data.get("split"):
        entries.append(("split", pairs(data["split"])))
    entries += [
        ("metric", str(data["metric"])),
        (
            "artifact",
            join(
                [_code(artifact["file"]), f", {size_text(artifact['bytes'])}, ", _sha256(artifact["sha256"])]
            ),
        ),
        ("back end", f"{artifact['backend']}: {pairs(artifact['options'])}"),
        ("target", f"{target['name']}: {target.get('description', '')}"),
        ("machine of the run", pairs(run.profile.fingerprint)),
        ("conditions of the run", _conditions(run.profile.conditions)),
        ("versions", pairs(manifest["versions"])),
        ("made", str(manifest.get("created", "–"))),
    ]
    sources = target.get("sources") or {}
    assumed = set(target.get("estimated_fields", ()))
    rows = [
        [field, "assumed or derived" if field in assumed else "published", str(source)]
        for field, source in sources.items()
    ]
    files = [[name, _code(sha256)] for name, sha256 in manifest["files"].items()]
    return join(
        [
            definitions(entries),
            details(
                "Where the target's figures come from", table("Sources", ["figure", "kind", "source"], rows)
            )
            if rows
            else "",
            details("Files of the bundle", table("Files of the bundle", ["file", "sha256"], files)),
        ]
    )


def origin(run: Run) -> str:
    """Return network, data, time and machine of a run in one line."""
    manifest, profile = run.manifest, run.profile
    facts = [PurePath(str(manifest["network"]["path"])).name]
    source = manifest["data"].get("evaluation") or {}
    if source:
        facts.append(f"{PurePath(_raw(source)).name}, {source.get('samples', '?')} samples")
    facts.append(str(manifest.get("created") or "time not recorded").replace("T", " ")[:16])
    machine = profile.fingerprint
    processors = [str(machine[key]) for key in ("gpu", "cpu") if machine.get(key)]
    cores = f", {machine['cores']} cores" if machine.get("cores") else ""
    facts.append(f"{processors[0]}{cores}" if processors else "machine not recorded")
    return " · ".join(facts)


def reproduction(run: Run) -> Markup:
    """Return the commands, and what must be equal for the figures to be comparable."""
    versions = run.manifest["versions"]
    # A local version, as of torch's builds for one device, is on no index.
    pins = [
        f"{name}=={str(version).partition('+')[0]}" for name, version in versions.items() if name != "python"
    ]
    data, build = run.manifest["data"], shlex.quote(str(run.directory))
    split = data.get("split") or {}
    seed = f"seed {split['seed']}" if "seed" in split else "the seed 0 unless --seed was given"
    return join(
        [
            tag("p", f"With Python {versions.get('python', '')}, in a virtual environment:"),
            tag("pre", tag("code", shlex.join(["pip", "install", *pins])), tabindex=0),
            tag("p", "The run, with paths as they were given:"),
            tag("pre", tag("code", command(run.manifest)), tabindex=0),
            tag("p", "The shipped file alone, measured again without torch:"),
            tag(
                "pre",
                tag("code", f"compress profile {build} --data {_path(data.get('evaluation'))}"),
                tabindex=0,
            ),
            tag("p", "A later build, held against this one:"),
            tag("pre", tag("code", f"compress gate later-build --baseline {build}"), tabindex=0),
            *_recipes(run),
            tag(
                "p",
                f"Random choices follow from {seed}. Recipes are told apart by their steps; latencies compare on the "
                f"same machine only: {pairs(run.profile.fingerprint)}.",
            ),
        ]
    )


def _recipes(run: Run) -> Iterable[Markup]:
    yield tag("p", "Each build alone, by its recipe in a file that --recipe takes:")
    for entry in run.candidates:
        if entry.recipe.steps or entry.recipe.backend:
            text = tag("pre", tag("code", entry.recipe.to_toml()), tabindex=0)
            yield details(f"{entry.recipe.name}.toml", text)


def command(manifest: Mapping[str, Any]) -> str:
    """Return the ``compress optimize`` command that a manifest records."""
    data = manifest["data"]
    words = ["compress", "optimize", str(manifest["network"]["path"]), "--data", _raw(data.get("evaluation"))]
    split = data.get("split") or {}
    if data.get("training"):
        words += ["--train-data", _raw(data["training"])]
    if split.get("calibration_from") == "calibration data":
        words += ["--calibration-data", _raw(data.get("calibration"))]
    words += ["--target", str(manifest["target"]["name"]), "--metric", str(data["metric"])]
    words += _image_flags(data.get("evaluation") or {})
    for option, option_value in manifest["options"].items():
        for value in option_value if isinstance(option_value, list) else [option_value]:
            if value is True:
                words.append(f"--{option}")
            elif value is not None and value is not False:
                words += [f"--{option}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _image_flags(source: Mapping[str, Any]) -> list[str]:
    """Return the flags for preparing images, since the folder's options may have changed."""
    image_options = source.get("options") if source.get("kind") == "images" else None
    words = []
    for name, separator in (("size", "x"), ("mean", ","), ("std", ",")):
        if isinstance(image_options, Mapping) and image_options.get(name) is not None:
            words += [f"--image-{name}", separator.join(f"{value:g}" for value in image_options[name])]
    return words


def _data(source: Mapping[str, Any] | None) -> Markup:
    if not source:
        return join(["none"])
    parts: list[Child] = [f"{source.get('samples', '?')} samples"]
    if source.get("path"):
        parts += [" of ", _code(source["path"])]
    parts.append(f" ({source.get('kind', 'unknown kind')})")
    if source.get("sha256"):
        parts += [", ", _sha256(source["sha256"])]
    return join(parts)


def _conditions(conditions: Mapping[str, Any] | None) -> str:
    stated = {key: value for key, value in (conditions or {}).items() if value is not None}
    return pairs({key.replace("_", " "): value for key, value in stated.items()}) or "not recorded"


def _raw(source: Mapping[str, Any] | None) -> str:
    origin_of_data = source or {}
    return str(origin_of_data.get("path") or origin_of_data.get("from") or "DATA")


def _path(source: Mapping[str, Any] | None) -> str:
    return shlex.quote(_raw(source))


def _sha256(sha256: str) -> Markup:
    return join(["sha256 ", tag("code", f"{sha256[:12]}…", title=sha256)])


def _code(text: object) -> Markup:
    return tag("code", text)
