"""Figures that a baseline recorded, and whether they apply to the machine that runs the gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compress.errors import BundleError

if TYPE_CHECKING:
    from compress.gate.subject import Subject
    from compress.records.profile import Profile

#: Fields of a fingerprint that name software: whether newer software is slower is what a comparison should tell.
_SOFTWARE = frozenset({"os", "python", "onnxruntime", "gpu_driver", "tensorrt", "jetpack", "l4t", "cuda"})


def incomparable(profile: Profile, here: Mapping[str, Any]) -> str | None:
    """Return the reason why recorded figures do not apply to the gate's machine; None where they do."""
    from compress.machine.machine import fingerprint_id

    if not profile.latency or profile.latency[0].source != "measured":
        return "the baseline's latency was estimated or not recorded"
    if fingerprint_id(dict(here)) == fingerprint_id(profile.fingerprint):
        return None
    differing = [
        f"{key} {profile.fingerprint.get(key, 'not recorded')}, here {here.get(key, 'not known')}"
        for key in sorted({*here, *profile.fingerprint} - _SOFTWARE)
        if profile.fingerprint.get(key) != here.get(key)
    ]
    return f"the baseline was recorded on another machine or in another power mode: {'; '.join(differing)}"


def recorded_profile(subject: Subject) -> Profile:
    """Return the profile of a subject.

    Raises:
        BundleError: The subject has none.
    """
    if subject.profile is None:
        raise BundleError("a recorded profile", f"none of {subject.name}", "give --data")
    return subject.profile
