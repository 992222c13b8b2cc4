"""JSON Schemas (draft 2020-12) of the files in a bundle and of what commands print with ``--json``."""

from __future__ import annotations

import json
from importlib.resources import files

#: Names of the schemas: of profile.json (and ``compress profile``), of manifest.json, and of the output of the commands
#: with these names; targets is that of ``compress optimize`` for several targets, and power-modes that of
#: ``compress profile --power-modes``.
NAMES = (
    "profile",
    "manifest",
    "gate",
    "optimize",
    "targets",
    "plan",
    "benchmark",
    "debug",
    "explain",
    "history",
    "doctor",
    "predict",
    "techniques",
    "cache",
    "power-modes",
)

#: Schemas that a schema refers to.
_CONTAINED = {
    "optimize": ("profile",),
    "benchmark": ("profile",),
    "power-modes": ("profile",),
    "targets": ("optimize", "plan"),
}


def schema_text(name: str) -> str:
    """Return the text of one schema of :data:`NAMES`; a schema that refers to another contains it."""
    text = (files("compress.records.schemas") / f"{name}.schema.json").read_text(encoding="utf-8")
    if name not in _CONTAINED:
        return text
    document = json.loads(text)
    for other in _CONTAINED[name]:
        document["$defs"][other] = json.loads(schema_text(other))
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
