"""The loss of a student: its teacher's outputs, and the labels where they have a weight.

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
    """Loss of a student against its teacher.

    Attributes:
        classes: Whether the first output holds class scores (n, classes): logits, their logarithmic softmax, or
            probabilities.
        temperature: Temperature T of the formula above, > 0; larger ones weigh unlikely classes more.
        label_weight: Weight w of the formula above, from 0 (the teacher alone) to 1 (the labels alone).
        student_softmax: Whether the student's class scores are probabilities; see :meth:`fitted`.
        teacher_softmax: Whether the teacher's class scores are probabilities.
    """

    classes: bool
    temperature: float = 1.0
    label_weight: float = 0.0
    student_softmax: bool = False
    teacher_softmax: bool = False

    def fitted(self, outputs: Sequence[Tensor], taught: Sequence[Tensor]) -> Distillation:
        """Return the loss fitted to a student's and a teacher's outputs for real samples: ending in softmax or not."""
        if not self.classes:
            return self
        return replace(
            self,
            student_softmax=are_probabilities(outputs[0]),
            teacher_softmax=are_probabilities(taught[0]),
        )

    def __call__(self, outputs: Sequence[Tensor], taught: Sequence[Tensor], targets: Tensor | None) -> Tensor:
        """Return the loss of a batch, one number.

        Args:
            outputs: Outputs of the student, each (n, …).
            taught: Outputs of the teacher, of the same shapes.
            targets: Class labels, int64 (n,), or float targets (n, …); None without labels.

        Raises:
            DataError: Labels have a weight, and there are none, or none of a suitable kind.
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
        target_log_probabilities = F.log_softmax(logits(teacher, self.teacher_softmax) / self.temperature, 1)
        return self.temperature**2 * F.kl_div(
            learned, target_log_probabilities, reduction="batchmean", log_target=True
        )

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
    """Return class scores unchanged, or the logarithm of probabilities."""
    return scores.clamp(min=1e-7).log() if softmax else scores


def relative_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Return mean((s - t)²) / mean(t²): 0 for equal tensors, about 1 for a student that returns zeros."""
    return F.mse_loss(student, teacher) / teacher.square().mean().clamp(min=1e-12)
