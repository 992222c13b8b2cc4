"""A run of a bundle's own sample: it shows that the build still gives the outputs recorded with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import BundleError

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.gate.subject import Subject

Array = np.ndarray[Any, Any]


def sample_differs(subject: Subject, session: Session) -> str | None:
    """Run the sample of a bundle and compare its outputs with those recorded with it.

    Args:
        subject: Subject that has a sample.
        session: The opened build.

    Returns:
        A phrase that names the output and its difference; None where all are within their tolerance.

    Raises:
        BundleError: The sample cannot be read.
    """
    sample = subject.sample or {}
    try:
        inputs = {entry["name"]: _read(subject, entry) for entry in sample["inputs"]}
        outputs = {entry["name"]: _read(subject, entry) for entry in sample["outputs"]}
        tolerances = {entry["name"]: float(entry["tolerance"]) for entry in sample["outputs"]}
        feeds = {spec.name: inputs[spec.name].astype(spec.dtype) for spec in session.inputs}
    except (KeyError, TypeError, ValueError, OSError) as error:
        problem = f"{type(error).__name__} {error} in the sample of {subject.name}"
        raise BundleError("a sample as compress optimize writes it", problem, "build it again") from error
    for spec, output in zip(session.outputs, session.run(feeds), strict=True):
        if spec.name not in outputs:
            return f"'{spec.name}' was not recorded"
        far = _distance(np.asarray(output), outputs[spec.name])
        if not far <= tolerances[spec.name]:
            return f"'{spec.name}' is {far:.3g} from what was recorded, and {tolerances[spec.name]:.3g} is allowed"
    return None


def _read(subject: Subject, entry: Mapping[str, Any]) -> Array:
    """Read the values of a bundle's file, whose hash was checked when the bundle was read."""
    path = subject.sample_files[entry["file"]]
    return np.fromfile(path, entry["dtype"]).reshape(entry["shape"])


def _distance(output: Array, recorded: Array) -> float:
    if output.shape != recorded.shape:
        return float("inf")
    ours, theirs = output.astype(np.float64), recorded.astype(np.float64)
    with np.errstate(invalid="ignore"):
        far = np.abs(ours - theirs)
    far = np.where((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)), 0.0, far)
    return float(np.nan_to_num(far, nan=np.inf).max(initial=0.0))
