"""The settings of distillation that are worth searching, and a judgement that is the same for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compress.training.samples import MOST_HELD_OUT
from compress.training.tuning import Range, Space, Trial, best_of

if TYPE_CHECKING:
    from compress.training.loop import Progress, TrainingReport
    from compress.training.losses import Distillation
    from compress.training.settings import TeachingOptions

#: Factor up and down from the given learning rate.
_RATE_FACTOR = 30.0
#: Batch sizes as factors of the given one; none is smaller than this.
_BATCH_FACTORS, _LEAST_BATCH = (0.25, 0.5, 1, 2), 8
_AVERAGES = (0.9, 0.97, 0.99, 0.997)
_TEMPERATURES = Range(1.0, 8.0, log=True)
_LABEL_WEIGHTS = Range(0.0, 0.9)


@dataclass(frozen=True)
class JudgedAlike:
    """A loss to train by, and another to judge by, which has the same settings in every trial.

    Attributes:
        loss: The loss that gradients are taken of.
        judge: The loss of the held-out samples.
    """

    loss: Distillation
    judge: Distillation

    def fitted(self, outputs: Sequence[Tensor], taught: Sequence[Tensor]) -> JudgedAlike:
        """See :meth:`compress.training.losses.Distillation.fitted`."""
        return JudgedAlike(self.loss.fitted(outputs, taught), self.judge.fitted(outputs, taught))

    def __call__(self, outputs: Sequence[Tensor], taught: Sequence[Tensor], targets: Tensor | None) -> Tensor:
        """Return the loss of a batch: of a step of training, or of held-out samples."""
        return (self.loss if torch.is_grad_enabled() else self.judge)(outputs, taught, targets)


def judge_of(loss: Distillation, *, labelled: bool) -> Distillation:
    """Return the loss that trials are judged by: that of the labels where there are classes, else the teacher's.

    Args:
        loss: A loss of the same network and task.
        labelled: Whether the training data has labels.
    """
    return replace(loss, temperature=1.0, label_weight=1.0 if labelled and loss.classes else 0.0)


def space_of(
    settings: TeachingOptions, samples: int, *, classes: bool, labelled: bool, only_batch: int | None
) -> tuple[Space, float]:
    """Return the values to search, and the share to hold out so that all trials are judged on the same samples.

    Args:
        settings: The settings that were given; each is among the values.
        samples: Number of training samples.
        classes: Whether the first output holds class scores.
        labelled: Whether the training data has labels.
        only_batch: The only batch size that the network takes; None where it takes any.
    """
    rate, average = settings.learning_rate, settings.average
    space: dict[str, Range | Sequence[Any]] = {
        "learning_rate": Range(rate / _RATE_FACTOR, rate * _RATE_FACTOR, log=True),
        "average": tuple(sorted({*_AVERAGES, average})),
    }
    if classes:
        low, high = _TEMPERATURES.low, _TEMPERATURES.high
        space["temperature"] = Range(
            min(low, settings.temperature), max(high, settings.temperature), log=True
        )
    if classes and labelled:
        space["label_weight"] = Range(0.0, max(_LABEL_WEIGHTS.high, settings.label_weight))
    apart = min(int(settings.held_out * samples), MOST_HELD_OUT)
    if only_batch is not None:
        return space, settings.held_out
    given = settings.batch_size
    sizes = {int(given * factor) for factor in _BATCH_FACTORS if given * factor % 1 == 0}
    sizes = {size for size in sizes if _LEAST_BATCH <= size <= apart} | {given}
    largest = max(sizes)
    apart = max(apart - apart % largest, largest)
    space["batch_size"] = tuple(sorted(size for size in sizes if largest % size == 0))
    return space, (apart + 0.5) / samples


def after_epochs(tell: Callable[[int, float], None]) -> Callable[[Progress], None]:
    """Return a function for every step of a training that tells how each epoch was judged.

    Args:
        tell: Function that gets the number of the epoch, from 1, and the loss of the held-out samples after it.
    """
    judgements: list[float] = []

    def report(progress: Progress) -> None:
        if not judgements or progress.held_out_loss != judgements[-1]:
            judgements.append(progress.held_out_loss)
            if len(judgements) > 1:  # the first is that of the beginning
                tell(len(judgements) - 1, progress.held_out_loss)

    return report


def judged(report: TrainingReport) -> float:
    """Return how a training was judged: the loss of the held-out samples at its best epoch; infinite if it diverged."""
    if report.stopped == "diverged":
        return float("inf")
    return report.held_out_losses[report.best_epoch]


def report_of(trials: Sequence[Trial], space: Space, seed: int) -> Mapping[str, Any]:
    """Return the report of a search, for JSON."""
    best = best_of(trials)
    return {
        "seed": seed,
        "space": {
            name: [values.low, values.high, "log" if values.log else "linear"]
            if isinstance(values, Range)
            else list(values)
            for name, values in space.items()
        },
        "trials": [
            {"settings": trial.settings, "judged": trial.judged, "epochs": trial.epochs} for trial in trials
        ],
        "best": None if best is None else best.settings,
        "given": trials[0].judged,
    }
