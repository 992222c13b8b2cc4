"""Whether a comparison says anything: two builds of a network that is right by chance alone differ in nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.data.plausibility import doubts
from compress.errors import DataError

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.data.task import Task
    from compress.gate.policy import GatePolicy

#: Checks that judge the outputs; the others say what they say of any network.
_OF_OUTPUTS = frozenset({"accuracy", "slices", "churn", "calibration", "corruptions"})


def check_original(baseline: Session, task: Task, policy: GatePolicy) -> None:
    """Refuse data on which the baseline does not do what its network was trained for.

    Only top-1 accuracy is looked at, and only where the policy judges outputs.

    Args:
        baseline: The baseline, opened.
        task: The data, bound to its inputs.
        policy: The checks that are made.

    Raises:
        DataError: The baseline is right by chance alone, or another order of the classes or another preparation of
            the images explains its outputs far better.
    """
    if task.metric.name != "top-1" or _OF_OUTPUTS.isdisjoint(policy.checks):
        return
    problems = doubts(baseline.run, task, baseline.inputs, baseline.outputs)
    if problems:
        raise DataError(
            "a baseline that does on the data what its network was trained for",
            problems[0].replace("the original", "the baseline", 1),
            "correct the data, or the way it is prepared",
        )
