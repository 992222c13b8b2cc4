"""Whether a comparison says anything: two builds of a network that is right by chance alone differ in nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.data.plausibility import doubts
from compress.errors import DataError

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.data.task import Task


def check_original(baseline: Session, task: Task) -> None:
    """Refuse data on which the baseline does not do what its network was trained for.

    Args:
        baseline: The baseline, opened.
        task: The data, bound to its inputs.

    Raises:
        DataError: The baseline is right by chance alone, or another order of the classes or another preparation of
            the images explains its outputs far better.
    """
    found = doubts(baseline.run, task, baseline.inputs, baseline.outputs)
    if found:
        raise DataError(
            "a baseline that does on the data what its network was trained for",
            found[0].replace("the original", "the baseline", 1),
            "correct the data, or the way it is prepared",
        )
