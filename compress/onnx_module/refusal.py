"""What cannot be trained, told in one way."""

from __future__ import annotations

from compress.errors import NetworkError


def untrainable(what: str) -> NetworkError:
    """The error for an operator, or for one way of using it, that has no twin in PyTorch here."""
    return NetworkError(
        "operators that can be trained", what, "use the technique quantize, which needs no training"
    )
