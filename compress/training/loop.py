"""The one training loop: a student learns from its teacher, judged by held-out samples.

Quantization-aware training is its first user; distillation and recovery after pruning are the same loop with another
student. It is deterministic under a seed on one kind of machine and one number of threads, and a run that was killed
and resumed ends with the very same weights. Under ``torchrun`` several processes train together; on a GPU it trains in
mixed precision.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.data.split import Split
from compress.errors import DataError, RecipeError
from compress.training import checkpoint
from compress.training.arithmetic import Arithmetic
from compress.training.averaging import MovingAverage, assign
from compress.training.checkpoint import state_of
from compress.training.layout import channels_last, has_planes, runs_channels_last
from compress.training.processes import Processes, joined
from compress.training.recalibration import batch_norms, has_variances, recalibrate, statistics_of
from compress.training.samples import TrainingSamples
from compress.training.schedule import cosine
from compress.training.settings import TrainingOptions
from compress.training.teaching import Teaching

#: ``loss(student's outputs, teacher's outputs, targets)`` of a batch.
Loss = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | None], Tensor]

#: Between two checkpoints, at least, where the caller names no other time.
SAVE_SECONDS = 60.0

#: Batch norms take their statistics from so many training samples before weights are judged.
RECALIBRATION_SAMPLES = 1024

_WARM_UP = 0.05  # share of all steps


@dataclass(frozen=True)
class Progress:
    """State of a running training.

    Attributes:
        step: Number of steps done.
        steps: Largest number of steps.
        loss: Loss of the last step's batch.
        held_out_loss: Loss of the held-out samples after the last epoch.
        seconds_left: Upper bound of the remaining seconds, at the pace so far.
    """

    step: int
    steps: int
    loss: float
    held_out_loss: float
    seconds_left: float


@dataclass
class TrainingReport:
    """Report of a training.

    Attributes:
        samples: Number of samples to train on.
        held_out: Number of held-out samples to judge by.
        losses: Mean loss of each epoch's batches.
        held_out_losses: Loss of the held-out samples before training, and after each epoch with the averaged weights.
        best_epoch: Epoch whose weights were kept; 0 where none was better than the beginning.
        recalibrated: Whether training began with recalibrated batch norms, which were better.
        stopped: Reason of its end: ``finished``, ``no better`` or ``diverged``.
        seconds: Wall time of this run in seconds, without the time before an interruption.
    """

    samples: int
    held_out: int
    losses: list[float] = field(default_factory=list)
    held_out_losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    recalibrated: bool = False
    stopped: str = "finished"
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return asdict(self)


def train(
    student: nn.Module,
    teacher: nn.Module,
    data: Split,
    loss: Loss,
    settings: TrainingOptions,
    *,
    inputs: Sequence[str],
    seed: int = 0,
    save_to: Path | None = None,
    save_seconds: float | None = None,
    report: Callable[[Progress], None] | None = None,
    device: torch.device | None = None,
) -> TrainingReport:
    """Train a student in place, and leave it with the weights that are best on held-out samples.

    Args:
        student: Module that takes the inputs as positional tensors and returns a tuple of tensors.
        teacher: Module of the same form; it is not trained.
        data: Training samples; targets are passed to the loss where there are any.
        loss: Function that returns one number for a batch, lower is better; it judges the held-out samples too.
        settings: Settings of the training.
        inputs: The names of the inputs in ``data``, in the order the student takes them.
        seed: Seed of the order of samples and of anything random in the student.
        save_to: File of a checkpoint; None saves none. A checkpoint of this training is resumed; it stays when training
            ends. Where several processes train, the first alone reads and writes it.
        save_seconds: Shortest time between two checkpoints, in seconds; None for :data:`SAVE_SECONDS`.
        report: Function that is called after every step, only in the first of several processes; None reports nothing.
        device: Device to train on; None for a GPU where there is one, else the CPU. Student and teacher end on the CPU.

    Raises:
        RecipeError: A batch is too small to be divided among the processes, or to train batch norms on.
        DataError: There are too few samples, or the loss is not finite before training begins.
        OutputError: A checkpoint cannot be written.
    """
    arithmetic, processes = Arithmetic(settings.training_precision, device), joined()
    _check_divisible(settings.batch_size, processes)
    with _deterministic(seed), _on(arithmetic.device, student, teacher):
        if processes.count > 1:  # one that was made at random begins alike in all
            assign(
                student, processes.broadcast({name: value.cpu() for name, value in state_of(student).items()})
            )
        training = _Training(
            student, teacher, data, loss, settings, tuple(inputs), seed, arithmetic, processes
        )
        with training.fastest_layout():
            return training.run(
                save_to, SAVE_SECONDS if save_seconds is None else save_seconds, report or (lambda _: None)
            )


class _Training:
    """State of a training; :func:`train` is its only user."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        data: Split,
        loss: Loss,
        settings: TrainingOptions,
        inputs: tuple[str, ...],
        seed: int,
        arithmetic: Arithmetic,
        processes: Processes,
    ) -> None:
        self.student, self.loss, self.settings = student, loss, settings
        self.seed, self.arithmetic, self.processes = seed, arithmetic, processes
        self.modules = (student, teacher.eval())
        self.samples = TrainingSamples(data, inputs, settings.batch_size, settings.held_out, seed, processes)
        an_epoch = min(settings.epoch_samples or len(self.samples), len(self.samples))
        self.steps_an_epoch = max(1, an_epoch // settings.batch_size)
        self.steps = settings.epochs * self.steps_an_epoch
        self.teaching = Teaching(teacher, self.samples, arithmetic, processes, self.steps)
        self.key = checkpoint.key_of(student, teacher, self.samples, settings, seed, loss)
        self.trained = [value for value in student.parameters() if value.requires_grad]
        self.optimizer = torch.optim.Adam(self.trained, lr=settings.learning_rate)
        self.average = MovingAverage(student, settings.average)
        self.best = state_of(student)
        self.report = TrainingReport(len(self.samples), self.samples.held_out)
        self.step = 0
        self.epoch_losses: list[float] = []

    @contextmanager
    def fastest_layout(self) -> Iterator[None]:
        """Use channels-last order inside the block, where that is faster and both networks can run in it."""
        if not self.arithmetic.prefers_channels_last or not has_planes(self.modules):
            yield
            return
        with channels_last(self.modules):
            self.arithmetic.layout = torch.channels_last
            batch, _ = self.arithmetic.moved(self.samples.batch(0))
            able = runs_channels_last(self.modules, lambda module: self.arithmetic.outputs(module, batch))
            if able:
                yield
        if not able:
            self.arithmetic.layout = torch.contiguous_format
            yield

    def run(
        self, save_to: Path | None, save_seconds: float, on_step: Callable[[Progress], None]
    ) -> TrainingReport:
        start, first = time.perf_counter(), 0
        if not self._resumed(save_to):
            self._judge_beginning()
        saved, first = start, self.step
        while self.step < self.steps and self.report.stopped == "finished":
            value = self._train_step()
            now = time.perf_counter()
            seconds_left = (now - start) / max(1, self.step - first) * (self.steps - self.step)
            if self.processes.first:
                on_step(Progress(self.step, self.steps, value, self.report.held_out_losses[-1], seconds_left))
            if self.step % self.steps_an_epoch == 0 and self.report.stopped == "finished":
                self._end_epoch()
            if save_to is not None and self.processes.first and (now - saved >= save_seconds or self._over()):
                checkpoint.save(save_to, self._to_dict())
                saved = now
        assign(self.student, self.best)
        self.student.eval()
        self.report.seconds = round(time.perf_counter() - start, 3)
        return self.report

    def _over(self) -> bool:
        return self.step == self.steps or self.report.stopped != "finished"

    def _judge_beginning(self) -> None:
        value = self._held_out_loss()
        if not math.isfinite(value):
            raise DataError(
                "a network whose outputs on the training data are finite",
                f"a loss of {value}",
                "look for NaN or infinity in the data",
            )
        self.report.held_out_losses.append(value)
        if batch_norms(self.student):
            self._check_variances()
            self._recalibrate()
            value = self._held_out_loss()
            self.report.recalibrated = value < self.report.held_out_losses[0]
            if self.report.recalibrated:
                self.report.held_out_losses[0] = value
                self.best = state_of(self.student)
            assign(self.student, self.best)

    def _check_variances(self) -> None:
        """Refuse batches too small for batch norms; with one sample a process trains them over positions, if any."""
        if self.settings.batch_size >= 2 * self.processes.count:
            return
        batch, _ = self.arithmetic.moved(self.samples.batch(0))
        if not has_variances(self.student, [tensor[:1] for tensor in batch]):
            raise RecipeError(
                "batches with more than one value a channel, to train batch norms on",
                f"a batch_size of {self.settings.batch_size} for {self.processes.count} processes",
                "raise it, start fewer processes, or export a network of fixed batch with a dynamic one",
            )

    def _recalibrate(self) -> None:
        size = self.settings.batch_size
        count = max(1, min(RECALIBRATION_SAMPLES, len(self.samples)) // size)
        batches = (self.arithmetic.moved(self.samples.batch(number))[0] for number in range(count))
        recalibrate(self.student, batches)
        self.processes.sum(statistics_of(self.student), self.processes.share(size))

    def _train_step(self) -> float:
        self.student.train()
        for group in self.optimizer.param_groups:
            warm_up = int(_WARM_UP * self.steps)
            group["lr"] = self.settings.learning_rate * cosine(self.step, self.steps, warm_up)
        torch.manual_seed(self._seed_of_step())
        batch, targets = self.arithmetic.moved(self.samples.batch(self.step))
        taught = self.teaching.of_step(self.step, batch)
        self.optimizer.zero_grad()
        loss = self.loss(self.arithmetic.outputs(self.student, batch), taught, targets)
        self.arithmetic.gradients(loss)
        value = self._exchanged(loss)
        if not math.isfinite(value):
            self.report.stopped = "diverged"
            return value
        self.arithmetic.step(self.optimizer)
        self.average.update(self.step)
        self.step += 1
        self.epoch_losses.append(value)
        return value

    def _seed_of_step(self) -> int:
        """Seed random numbers by the step, as samples are, so that a resumed training draws the same ones."""
        sequence = np.random.SeedSequence([self.seed, self.step, self.processes.rank])
        return int(sequence.generate_state(1)[0])

    def _exchanged(self, loss: Tensor) -> float:
        """Return the whole batch's loss, with its gradients in every process."""
        value = loss.detach().clone()
        gradients = [parameter.grad for parameter in self.trained if parameter.grad is not None]
        share = self.processes.share(self.settings.batch_size)
        self.processes.sum([value, *gradients], share)
        return float(value)

    def _end_epoch(self) -> None:
        report = self.report
        report.losses.append(sum(self.epoch_losses) / len(self.epoch_losses))
        self.epoch_losses = []
        with self.average.applied():
            self._recalibrate()
            value = self._held_out_loss()
            better = value < report.held_out_losses[report.best_epoch]
            report.held_out_losses.append(value)
            if better:
                report.best_epoch = len(report.losses)
                self.best = state_of(self.student)
        if len(report.losses) - report.best_epoch >= self.settings.patience and not self._over():
            report.stopped = "no better"

    def _held_out_loss(self) -> float:
        """Return the mean loss over the held-out batches, which have one size."""
        self.student.eval()
        total = torch.zeros(2, dtype=torch.float64)
        with torch.no_grad():
            for number, held_out in enumerate(self.samples.held_out_batches()):
                batch, targets = self.arithmetic.moved(held_out)
                outputs = self.arithmetic.outputs(self.student, batch)
                taught = self.teaching.of_held_out(number, batch)
                value = float(self.loss(outputs, taught, targets))
                total += torch.tensor([value, 1.0], dtype=torch.float64)
        total = total.to(self.arithmetic.device)
        self.processes.sum([total])
        return float(total[0] / total[1])

    def _to_dict(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "step": self.step,
            "student": state_of(self.student),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.values,
            "best": self.best,
            "report": self.report.to_dict(),
            "epoch_losses": self.epoch_losses,
            "arithmetic": self.arithmetic.state(),
        }

    def _resumed(self, path: Path | None) -> bool:
        state_here = checkpoint.load(path, self.key) if path is not None and self.processes.first else None
        state = self.processes.broadcast(state_here)
        if state is None:
            return False
        assign(self.student, state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, value in state["average"].items():
            self.average.values[name].copy_(value)
        self.best = state["best"]
        self.report, self.step = TrainingReport(**state["report"]), state["step"]
        self.epoch_losses = state["epoch_losses"]
        self.arithmetic.restore(state["arithmetic"])
        return True


def _check_divisible(batch_size: int, processes: Processes) -> None:
    if batch_size < processes.count:
        raise RecipeError(
            f"a batch_size of at least {processes.count}, for {processes.count} processes",
            str(batch_size),
            "raise it, or start fewer processes",
        )


@contextmanager
def _on(device: torch.device, *modules: nn.Module) -> Iterator[None]:
    """Move the modules to the device inside the block, and to the CPU after it."""
    for module in modules:
        module.to(device)
    try:
        yield
    finally:
        for module in modules:
            module.cpu()


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Use fixed random numbers and deterministic kernels inside the block; restore everything after it."""
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
