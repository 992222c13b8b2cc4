"""One training for all students: the same samples, the same schedule, the same samples to judge by."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from compress.core.progress import Reporter
from compress.core.tensor_spec import fixed_batch
from compress.data.split import Split
from compress.data.task import Task
from compress.errors import DataError, MetricError
from compress.metrics.metric import Values
from compress.metrics.unlabelled import strictly
from compress.network.network import Network
from compress.profiling.accuracy import outcomes_of
from compress.students.family import Family, build, check_fits, parameters_of
from compress.students.judging import ModuleSession
from compress.students.scaling_law import Point
from compress.training.context import loss_for, telling, training_data
from compress.training.distillation import as_module, distilled
from compress.training.settings import TrainingOptions
from compress.training.teaching import RememberingTeacher

#: More samples to judge by cost time and tell little more: 5,000 tell an error of 10 % within 0.7 points.
MOST_JUDGED = 5000


@dataclass(frozen=True)
class TrainedStudent:
    """A trained student.

    Attributes:
        width: Width, as the family takes it.
        parameters: Number of its parameters.
        wrong: Number of held-out samples that it got wrong.
        samples: Number of held-out samples.
        seconds: Time of its training, in seconds.
        module: The trained module, in inference mode.
    """

    width: float
    parameters: int
    wrong: int
    samples: int
    seconds: float
    module: nn.Module

    @property
    def error(self) -> float:
        """Share of the held-out samples that it got wrong."""
        return self.wrong / self.samples

    @property
    def point(self) -> Point:
        """Point for fitting the scaling law."""
        return Point.counted(self.parameters, self.wrong, self.samples)


class StudentTraining:
    """Trains students of a family by distillation, and judges each by samples that no training sees.

    These are a part of the training data. Training itself sets another part apart, by which it chooses its best epoch,
    so that this choice does not bias the judgement here.

    Args:
        family: Family that builds students.
        network: Network of the teacher.
        task: Task, bound to the network; its metric must be right or wrong for each sample.
        settings: Settings of the training; the batch size is the network's own where that is fixed.
        temperature: Temperature of the distillation, > 0.
        label_weight: Weight of the labels, from 0 (the teacher's outputs alone) to 1 (the labels alone).
        judged: Share of the training data to judge by, in (0, 1); at most 5,000 samples are used.
        seed: Seed of the choice of these samples, of the order of all others, and of the students' first weights.
        reporter: Receives the progress.
        device: Device to train on; None for a GPU where there is one, else the CPU.

    Raises:
        DataError: There is no training data, too little, or no labels where the metric needs them.
        MetricError: The metric is not right or wrong.
    """

    def __init__(
        self,
        family: Family,
        network: Network,
        task: Task,
        settings: TrainingOptions,
        *,
        temperature: float = 1.0,
        label_weight: float = 0.0,
        judged: float = 0.2,
        seed: int = 0,
        reporter: Reporter | None = None,
        device: torch.device | None = None,
    ) -> None:
        data = training_data(task, label_weight, purpose="students", otherwise="")
        if len(network.outputs[0].shape) == 2:
            task = replace(task, metric=strictly(task.metric))
        if not task.metric.right_or_wrong:
            raise MetricError(
                "a metric that is right or wrong for each sample, to fit a scaling law",
                task.metric.name,
                "use top-1 or top-k, or say that the first output holds classes (--metric OUTPUT=classes); "
                "or choose the student's width yourself",
            )
        if task.metric.needs == "labels" and not data.labelled:
            raise DataError(
                f"training data with labels, to judge students by {task.metric.name}",
                "none",
                "give labels, or the metric 'agreement'",
            )
        self.network, self.task = network, task
        self._family, self._seed = family, seed
        self._settings = replace(settings, batch_size=fixed_batch(network.inputs) or settings.batch_size)
        self._loss = loss_for(network, task, temperature, label_weight)
        self._reporter, self._device = reporter or Reporter(), device
        self.teacher = RememberingTeacher(as_module(network))
        self._apart, self._trained = _divided(data, judged, seed)

    @property
    def teacher_parameters(self) -> int:
        """Return the number of the teacher's parameters; for an ONNX model, of its float constants."""
        module = self.teacher.network
        return parameters_of(module) or sum(
            buffer.numel() for buffer in module.buffers() if buffer.is_floating_point()
        )

    def build(self, width: float, run: int = 0) -> nn.Module:
        """Build an untrained student that fits the network.

        Raises:
            NetworkError: The family cannot build the student, or it does not fit.
        """
        student = build(self._family, width, self._seed + run)
        example = self.task.example(fixed_batch(self.network.inputs) or 2)
        check_fits(
            student, self.network, [torch.from_numpy(example[spec.name]) for spec in self.network.inputs]
        )
        return student

    def train(self, width: float, run: int = 0, settings: TrainingOptions | None = None) -> TrainedStudent:
        """Train one student.

        Args:
            width: Width within the family.
            run: Number of the run; runs of one width differ by their first weights.
            settings: Settings that replace those of the training.

        Raises:
            NetworkError: The family cannot build the student, or it does not fit.
            DataError: There are too few samples, or its outputs are not finite.
        """
        self._reporter.stage(f"training a student of width {width:g}")
        trained, report, _ = distilled(
            self.build(width, run),
            self.teacher,
            self._trained,
            settings or self._settings,
            self._loss,
            inputs=[spec.name for spec in self.network.inputs],
            seed=self._seed,
            report=telling(self._reporter),
            device=self._device,
        )
        right = self.outcomes(trained, self._apart)
        return TrainedStudent(
            width, parameters_of(trained), int((right == 0).sum()), len(right), report.seconds, trained
        )

    def outcomes(self, module: nn.Module, data: Split | None = None) -> Values:
        """Return 1 for each sample that a module gets right, else 0; on the evaluation data where none is given."""
        task = self.task if data is None else replace(self.task, evaluation=data)
        sessions = ModuleSession(module, self.network), ModuleSession(self.teacher, self.network)
        return outcomes_of(sessions[0], replace(task, further=()), sessions[1])[0].values


def _divided(data: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Divide samples into those to judge by, and the others."""
    order = np.random.default_rng([seed, 2]).permutation(len(data))
    apart = min(int(share * len(data)), MOST_JUDGED)
    if not apart:
        raise DataError(
            "training data enough to set a part of it aside",
            f"{len(data)} samples",
            "give more training data",
        )
    return data.take(np.sort(order[:apart])), data.take(np.sort(order[apart:]))
