"""Distributions of others, as an installer would leave them: modules, and metadata with entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def installed(
    place: Path, name: str, points: Mapping[str, Mapping[str, str]], **modules: str
) -> Iterator[None]:
    """A distribution of version 1.0 on the module search path, as long as the block lasts.

    Args:
        place: An empty directory, or one that does not exist yet.
        name: Of the distribution.
        points: Group → name → ``module:attribute``.
        modules: Module → its source; imported anew.
    """
    info = place / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = (
        "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in names.items())])
        for group, names in points.items()
    )
    (info / "entry_points.txt").write_text("\n".join(groups) + "\n")
    for module, source in modules.items():
        (place / f"{module}.py").write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        try:
            yield
        finally:
            for module in modules:
                sys.modules.pop(module, None)
