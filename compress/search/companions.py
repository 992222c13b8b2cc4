"""Texts shipped beside a candidate, where they differ from those shipped beside the user's network.

A language model with a trimmed vocabulary has a tokenizer of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.core.digests import content_as_written, line_with_digest
from compress.core.replacing import replaced_whole

_NAME = "companions.json"


def keep(artifact: Path, companions: Mapping[str, str]) -> None:
    """Write the texts that belong to a candidate's file, beside it.

    Args:
        artifact: The candidate's file.
        companions: Texts by their file's name.
    """
    with replaced_whole(artifact.with_name(_NAME)) as written:
        written.write_text(line_with_digest({"companions": dict(companions)}), encoding="utf-8")


def kept(artifact: Path) -> dict[str, str] | None:
    """Return what :func:`keep` wrote; None where nothing was written.

    Raises:
        ValueError: It was damaged since.
    """
    path = artifact.with_name(_NAME)
    if not path.is_file():
        return None
    content: Mapping[str, Any] = content_as_written(path.read_bytes())
    return {str(name): str(text) for name, text in content["companions"].items()}


def are_intact(artifact: Path) -> bool:
    """Whether :func:`kept` returns what was written, or nothing was."""
    try:
        kept(artifact)
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return True
