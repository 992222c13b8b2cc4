"""What a student is trained towards: its teacher's outputs, and the labels where they are wanted.

With the teacher's logits t, the student's s (of probabilities, the logarithm), and the temperature T:

    classes    T² · KL(softmax(t / T) ‖ softmax(s / T))          Hinton et al. 2015, arXiv 1503.02531
    others     mean((s - t)²) / mean(t²)                         so that outputs of any unit weigh the same
    labels     cross entropy of class labels, mean squared error of float targets
    together   (1 - w) · teacher + w · labels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from compress.errors import DataError


@dataclass(frozen=True)
class Distillation:
    """The loss of a student against its teacher.

    Attributes:
        classes: Whether the first output holds class scores (n, classes): logits, their logarithmic softmax, or
            probabilities.
        temperature: T above, > 0; larger ones tell more of the unlikely classes.
        label_weight: w above, from 0, the teacher alone, to 1, the labels alone.
        student_softmax: Whether the student's class scores are probabilities; see :meth:`fitted`.
        teacher_softmax: Whether the teacher's are.
    """

    classes: bool
    temperature: float = 1.0
    label_weight: float = 0.0
    student_softmax: bool = False
    teacher_softmax: bool = False

    def fitted(self, outputs: Sequence[Tensor], taught: Sequence[Tensor]) -> Distillation:
        """The loss for a student and a teacher that give such outputs for real samples: each ends in softmax or not."""
        if not self.classes:
            return self
        return replace(
            self,
            student_softmax=are_probabilities(outputs[0]),
            teacher_softmax=are_probabilities(taught[0]),
        )

    def __call__(self, outputs: Sequence[Tensor], taught: Sequence[Tensor], targets: Tensor | None) -> Tensor:
        """The loss of a batch, one number.

        Args:
            outputs: The student's, each (n, …).
            taught: The teacher's, alike.
            targets: Class labels int64 (n,), float targets (n, …), or None.

        Raises:
            DataError: Labels are asked for, and there are none, or none of a kind that fits.
        """
        pairs = [pair for pair in zip(outputs, taught, strict=True) if pair[0].is_floating_point()]
        losses = [
            self._divergence(student, teacher)
            if self.classes and place == 0
            else relative_error(student, teacher)
            for place, (student, teacher) in enumerate(pairs)
        ]
        teacher_loss = torch.stack(losses).sum()
        if self.label_weight == 0:
            return teacher_loss
        return (1 - self.label_weight) * teacher_loss + self.label_weight * self._labelled(
            outputs[0], targets
        )

    def _divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        learned = F.log_softmax(logits(student, self.student_softmax) / self.temperature, 1)
        wanted = F.log_softmax(logits(teacher, self.teacher_softmax) / self.temperature, 1)
        return self.temperature**2 * F.kl_div(learned, wanted, reduction="batchmean", log_target=True)

    def _labelled(self, scores: Tensor, targets: Tensor | None) -> Tensor:
        if targets is None:
            raise DataError("training data with labels, for label_weight", "none", "set label_weight = 0")
        if targets.is_floating_point() and targets.shape == scores.shape:
            return F.mse_loss(scores, targets)
        if targets.is_floating_point() or targets.dim() != 1 or not self.classes:
            raise DataError(
                "class labels, or targets in the first output's shape, for label_weight",
                f"targets {list(targets.shape)} for outputs {list(scores.shape)}",
                "set label_weight = 0",
            )
        return F.cross_entropy(logits(scores, self.student_softmax), targets)


def are_probabilities(scores: Tensor) -> bool:
    """Whether class scores ``[n, classes]`` of real samples come from a softmax: none is below 0, and rows sum to 1."""
    sums = scores.detach().sum(1)
    return bool(scores.detach().min() >= 0) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)


def logits(scores: Tensor, softmax: bool) -> Tensor:
    """Class scores as they are; of probabilities, the logarithm."""
    return scores.clamp(min=1e-7).log() if softmax else scores


def relative_error(student: Tensor, teacher: Tensor) -> Tensor:
    """mean((s - t)²) / mean(t²): 0 for equal tensors, about 1 for a student that gives zeros."""
    return F.mse_loss(student, teacher) / teacher.square().mean().clamp(min=1e-12)
