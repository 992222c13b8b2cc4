"""Whether two builds come from the same file of a network.

A network that was trained again has the same inputs and outputs, and so does another network altogether. Either may be
what the user wants to compare, so it is said and not refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.gate.subject import Subject

_DIGITS = 12


def other_network(candidate: Subject, baseline: Subject) -> str | None:
    """Return a warning where both come from different files, or the baseline's origin is unknown.

    Args:
        candidate: A bundle, an ONNX file, or a recorded profile.
        baseline: A bundle, an ONNX file, or a recorded profile.

    Returns:
        The warning; None where both come from the same file, or where that is unknown and their inputs and outputs were
        compared.
    """
    if baseline.artifact is None and baseline.profile is not None and not baseline.profile.inputs:
        return "the baseline does not tell what its network takes and gives: it may be of another network"
    ours, theirs = _origin(candidate), _origin(baseline)
    if ours is None or theirs is None or ours[1] == theirs[1]:
        return None
    return (
        f"the candidate was built from {_told(*ours)} and the baseline from {_told(*theirs)}: "
        "trained again, or another network"
    )


def _origin(subject: Subject) -> tuple[str, str] | None:
    """Name and sha256 of the network's file, where they are recorded."""
    profile = subject.profile
    if profile is None or profile.network is None or profile.network_sha256 is None:
        return None
    return profile.network, profile.network_sha256


def _told(name: str, sha256: str) -> str:
    return f"{name} ({sha256[:_DIGITS]}…)"
