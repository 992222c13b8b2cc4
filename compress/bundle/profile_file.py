"""Profiles in files of their own: ``compress profile --out`` writes them, the gate reads them back.

Such a file carries the sha256 of its own content, so that one that was edited by hand, cut short or merged badly is
refused rather than compared with.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from compress.core.bounded_reading import read_text
from compress.core.digests import DIGEST, digest
from compress.core.digests import with_digest as content_with_digest
from compress.core.typed_records import check_types
from compress.errors import BundleError
from compress.records.profile import Profile
from compress.records.schemas.checking import fault_in

_AGAIN = "record it again with compress profile --out"


def with_digest(profile: Profile) -> dict[str, Any]:
    """Return the profile as a dict for JSON, with the hash of its content."""
    return content_with_digest(profile.to_dict())


def load_recorded(path: Path) -> Profile:
    """Read a profile: one that carries its hash, or one in a bundle, whose manifest has it.

    Raises:
        BundleError: The file is no profile, was changed after it was written, has no hash, or contradicts itself.
    """
    try:
        data = json.loads(read_text(path))
        seal = data.pop(DIGEST, None)
        if seal is None:
            _check_in_bundle(path)
        elif seal != digest(data):
            raise BundleError(
                f"a profile with sha256 {str(seal)[:12]}…", f"another content in {path}", _AGAIN
            )
        profile = Profile.from_dict(data)
        check_types(profile)
        fault = fault_in(data, "profile")
        if fault is not None:
            raise BundleError("a profile written by compress profile --out", f"{path}: {fault}", _AGAIN)
    except (
        OSError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        problem = f"{path}: {type(error).__name__} {error}"
        raise BundleError("a profile written by compress profile --out", problem, _AGAIN) from error
    check_consistent(profile, str(path))
    return profile


def check_consistent(profile: Profile, where: str) -> None:
    """Check that the accuracy is the mean of the outcomes.

    Raises:
        BundleError: There are no outcomes, another number of them, or their mean is another.
    """
    accuracy, outcomes = profile.accuracy, profile.outcomes
    if accuracy is None:
        return
    if not outcomes or len(outcomes) != accuracy.samples:
        problem = f"{len(outcomes)} in {where}"
        raise BundleError(f"the outcomes of {accuracy.samples} samples", problem, _AGAIN)
    mean = math.fsum(outcomes) / len(outcomes)
    expected_mean = accuracy.mean if accuracy.kept is None else accuracy.kept
    if not math.isclose(mean, expected_mean, rel_tol=1e-6, abs_tol=1e-9):
        raise BundleError(f"outcomes with the mean {expected_mean:g}", f"{mean:g} in {where}", _AGAIN)


def _check_in_bundle(path: Path) -> None:
    from compress.bundle.bundle import MANIFEST, load_bundle

    if not (path.parent / MANIFEST).is_file() or path.name not in load_bundle(path.parent).manifest["files"]:
        raise BundleError("a profile with its sha256", f"none in {path}", _AGAIN)
