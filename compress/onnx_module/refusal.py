"""The error for operators that cannot be trained."""

from __future__ import annotations

from compress.errors import NetworkError


def untrainable(what: str) -> NetworkError:
    """Return the error for an operator, or one use of it, that has no counterpart in PyTorch here."""
    return NetworkError(
        "operators that can be trained", what, "use the technique quantize, which needs no training"
    )
