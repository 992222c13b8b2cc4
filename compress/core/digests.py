"""JSON that carries the sha256 of its own content, so that content changed on disk is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from compress.core.json_text import json_text

#: The key of the hash.
DIGEST = "sha256"


def digest(content: Mapping[str, Any]) -> str:
    """Return the sha256 of content that JSON can hold, without the hash itself."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def with_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with its hash added."""
    data: dict[str, Any] = json.loads(json_text(content))
    return {**data, DIGEST: digest(data)}


def line_with_digest(content: Mapping[str, Any]) -> str:
    """Return the content with its hash as one line, without a line end."""
    return json_text(with_digest(content))


def content_as_written(text: bytes) -> dict[str, Any]:
    """Return the content that :func:`line_with_digest` wrote, without its hash.

    Raises:
        ValueError: The line is no JSON object, or was changed after it was written.
    """
    data = json.loads(text.decode("utf-8"))
    if not isinstance(data, dict) or data.pop(DIGEST, None) != digest(data):
        raise ValueError("the content is not what was written")
    return data
