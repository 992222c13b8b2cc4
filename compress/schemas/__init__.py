"""JSON Schemas (draft 2020-12) of the files in a bundle."""

from __future__ import annotations

from importlib.resources import files


def schema_text(name: str) -> str:
    """The schema of ``profile`` (profile.json) or ``manifest`` (manifest.json)."""
    return (files("compress.schemas") / f"{name}.schema.json").read_text(encoding="utf-8")
