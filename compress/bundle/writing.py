"""Writing of bundles: whole or not at all, and never over anything but a bundle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.bundle.bundle import MANIFEST, PROFILE, SCHEMA, SUMS, hash_of, read_json
from compress.core.files import written_safely
from compress.core.json_text import json_text
from compress.core.own_directories import own_directory, remove_own
from compress.errors import BundleError, OutputError
from compress.onnx_graph.files import copy_to, files_of, sha256_of
from compress.recipe import Recipe
from compress.records.profile import Profile


def write_bundle(
    out: Path,
    artifact: Path,
    manifest: Mapping[str, Any],
    profile: Profile,
    recipe: Recipe,
    further: Mapping[str, str | bytes],
) -> Path:
    """Write a bundle beside ``out`` and move it there in one step.

    Args:
        out: Directory of the bundle. An existing bundle is replaced; anything else is left alone.
        artifact: File that was measured; it is copied.
        manifest: Content of the manifest without ``schema`` and ``files``, which are added.
        profile: Measurements of the build.
        recipe: Recipe that made the build.
        further: Further files by name, which may contain a directory. Those ending in ``.sh`` are made
            executable.

    Returns:
        ``out``.

    Raises:
        OutputError: ``out`` is something other than a bundle, or cannot be written.
    """
    check_replaceable(out)
    with written_safely(out):
        _write_whole(out, artifact, manifest, profile, recipe, further)
    return out


def _write_whole(
    out: Path,
    artifact: Path,
    manifest: Mapping[str, Any],
    profile: Profile,
    recipe: Recipe,
    further: Mapping[str, str | bytes],
) -> None:
    whole_out, place = out.resolve(), own_directory(beside(out, ".staging"))
    staging, aside = place / "new", place / "replaced"
    _return(aside, whole_out)  # an earlier run was killed while it replaced the bundle
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        copy_to(artifact, staging)
        contents: dict[str, str | bytes] = {
            PROFILE: json_text(profile.to_dict(), indent=1),
            "recipe.toml": recipe.to_toml(),
            **further,
        }
        for name, content in contents.items():
            _write(staging / name, content)
        full_manifest = {
            "schema": SCHEMA,
            **manifest,
            "files": {name: sha256_of(staging / name) for name in contents},
        }
        _write(staging / MANIFEST, json_text(full_manifest, indent=2))
        copied = (part.relative_to(artifact.parent).as_posix() for part in files_of(artifact))
        sums = sorted([*contents, *copied, MANIFEST])
        _write(staging / SUMS, "".join(f"{hash_of(staging / name)}  {name}\n" for name in sums))
        _move_into_place(staging, whole_out, aside)
    finally:
        _return(aside, whole_out)
        remove_own(place)


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    if path.suffix == ".sh":
        path.chmod(0o755)


def beside(out: Path, ending: str) -> Path:
    """Return the path beside a directory where its new content is prepared.

    Args:
        out: The directory; links in its path are followed, so that both lie on one disk.
        ending: Text added to its name, such as ``.partial``.
    """
    resolved = out.resolve()
    return resolved.with_name(resolved.name + ending)


def check_replaceable(out: Path) -> None:
    """Check that a bundle may be written to ``out``.

    Raises:
        OutputError: ``out`` is a file, a directory that is neither empty nor a bundle, or cannot be moved aside.
    """
    resolved = out.resolve()
    if Path.cwd().is_relative_to(resolved) or os.path.ismount(resolved):
        kind = "where a file system begins" if os.path.ismount(resolved) else "which this command runs in"
        raise OutputError(
            "a directory that can be replaced as a whole",
            f"{out}, {kind}",
            "name a new directory: --out build",
        )
    if out.is_dir():
        if _is_bundle(out) or not any(out.iterdir()):
            return
        raise OutputError(
            "a new directory, or a bundle to replace", f"{out}: other files", "choose another --out"
        )
    if out.exists():
        raise OutputError("a directory", f"{out}: a file", "choose another --out")


def _is_bundle(directory: Path) -> bool:
    """Whether a directory holds a bundle, damaged or not; other programs write a manifest.json too."""
    try:
        manifest = read_json(directory / MANIFEST)
    except BundleError:
        return (directory / SUMS).is_file() and (directory / PROFILE).is_file()
    return {"schema", "artifact", "files"} <= manifest.keys()


def _move_into_place(staging: Path, out: Path, aside: Path) -> None:
    # A directory cannot be replaced in one step: the old bundle steps aside, and returns if the new one cannot come.
    if out.exists():
        out.rename(aside)
    staging.rename(out)


def _return(aside: Path, out: Path) -> None:
    """Put the old bundle back after writing the new one failed."""
    if aside.exists() and not out.exists():
        aside.rename(out)
