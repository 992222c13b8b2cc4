"""JSON Schemas (draft 2020-12) of the files in a bundle and of what commands print with ``--json``."""

from __future__ import annotations

import json
from importlib.resources import files

#: What is described: profile.json and ``compress profile``, manifest.json, ``compress gate``, ``compress optimize``.
NAMES = ("profile", "manifest", "gate", "optimize")


def schema_text(name: str) -> str:
    """One of :data:`NAMES`, whole: a schema that refers to profiles holds theirs as well."""
    text = (files("compress.schemas") / f"{name}.schema.json").read_text(encoding="utf-8")
    if name != "optimize":
        return text
    document = json.loads(text)
    document["$defs"]["profile"] = json.loads(schema_text("profile"))
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
