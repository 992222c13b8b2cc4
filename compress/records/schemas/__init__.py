"""JSON Schemas (draft 2020-12) of the files in a bundle and of what commands print with ``--json``."""

from __future__ import annotations

import json
from importlib.resources import files

#: Names of the schemas: of profile.json (and ``compress profile``), of manifest.json, and of the output of the commands
#: with these names; power-modes is that of ``compress profile --power-modes``.
NAMES = (
    "profile",
    "manifest",
    "gate",
    "optimize",
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


def schema_text(name: str) -> str:
    """Return the text of one schema of :data:`NAMES`; a schema that refers to profiles contains theirs."""
    text = (files("compress.records.schemas") / f"{name}.schema.json").read_text(encoding="utf-8")
    if name not in ("optimize", "benchmark", "power-modes"):
        return text
    document = json.loads(text)
    document["$defs"]["profile"] = json.loads(schema_text("profile"))
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
