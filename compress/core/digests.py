"""JSON that carries the sha256 of its own content: what was changed on disk, by one bit or by hand, is not read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from compress.core.json_text import json_text

#: The key of the hash.
DIGEST = "sha256"


def digest(content: Mapping[str, Any]) -> str:
    """The sha256 of content as JSON holds it, without the hash itself."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def with_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content as JSON holds it, with the hash of it."""
    data: dict[str, Any] = json.loads(json_text(content))
    return {**data, DIGEST: digest(data)}


def line_with_digest(content: Mapping[str, Any]) -> str:
    """The content with its hash, on one line without its end."""
    return json_text(with_digest(content))


def content_as_written(text: bytes) -> dict[str, Any]:
    """The content of what :func:`line_with_digest` wrote, without its hash.

    Raises:
        ValueError: It is no JSON object, or another one than was written.
    """
    data = json.loads(text.decode("utf-8"))
    if not isinstance(data, dict) or data.pop(DIGEST, None) != digest(data):
        raise ValueError("the content is not what was written")
    return data
