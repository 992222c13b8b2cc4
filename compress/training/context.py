"""Parts of a run that a training technique needs: its data, its loss, and its progress reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from compress.core.tensor_spec import fixed_batch
from compress.errors import DataError, NetworkError

if TYPE_CHECKING:
    from compress.core.progress import Reporter
    from compress.data.split import Split
    from compress.data.task import Task
    from compress.network.network import Network
    from compress.training.loop import Progress
    from compress.training.losses import Distillation


def training_data(task: Task, label_weight: float, *, purpose: str, otherwise: str) -> Split:
    """Return the training data, with labels where they have a weight.

    Args:
        task: Task of the run.
        label_weight: Weight of the labels in the loss; labels are needed where it is not 0.
        purpose: The part that wants to train, as a noun, for the error message.
        otherwise: Alternative without training data, for the message.

    Raises:
        DataError: There is no training data, or it has no labels.
    """
    if task.training is None:
        todo = f"give it (--train-data), labelled or not{otherwise}"
        raise DataError(f"training data for {purpose}", "none", todo)
    if label_weight and not task.training.labelled:
        raise DataError("training data with labels, for label_weight", "none", "set label_weight = 0")
    return task.training


def loss_for(network: Network, task: Task, temperature: float, label_weight: float) -> Distillation:
    """Return the loss that suits the kind of the network's first output."""
    from compress.training.losses import Distillation

    scores, metric = network.outputs[0], task.metric
    # Agreement, too, is right or wrong where the output holds class scores.
    classes = (metric.class_labels or metric.right_or_wrong) and len(scores.shape) == 2
    return Distillation(classes, temperature, label_weight)


def only_batch(student: Network, teacher: Network) -> int | None:
    """Return the only batch size that both networks take; None where they take any.

    Raises:
        NetworkError: The two take different ones.
    """
    student_batch, teacher_batch = fixed_batch(student.inputs), fixed_batch(teacher.inputs)
    if student_batch and teacher_batch and student_batch != teacher_batch:
        raise NetworkError(
            f"a student that takes its teacher's batch, {teacher_batch} samples",
            f"one that takes {student_batch} alone",
            "export one of them with a dynamic batch",
        )
    return student_batch or teacher_batch


def telling(reporter: Reporter) -> Callable[[Progress], None]:
    """Return a function that reports every step to a run's reporter; the first also reports the number of steps."""
    steps_told = 0

    def report(progress: Progress) -> None:
        nonlocal steps_told
        if not steps_told:
            steps_told = progress.steps
            reporter.step("training", steps_told)
        reporter.tick(progress.step)

    return report
