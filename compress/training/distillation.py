"""Training of a student by its teacher: recovery after pruning, or another network altogether."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, fx, nn

from compress.data.split import Split
from compress.errors import NetworkError
from compress.network.network import Network
from compress.network.onnx_export import in_eval_mode
from compress.training.features import shared_features, with_features
from compress.training.loop import Loss, Progress, TrainingReport, train
from compress.training.losses import Distillation, relative_error
from compress.training.settings import TrainingOptions

Student = TypeVar("Student", bound=nn.Module)


def distilled(
    student: Student,
    teacher: nn.Module,
    data: Split,
    settings: TrainingOptions,
    loss: Distillation,
    *,
    inputs: Sequence[str],
    features: float = 0.0,
    seed: int = 0,
    save_to: Path | None = None,
    report: Callable[[Progress], None] | None = None,
    device: torch.device | None = None,
) -> tuple[Student, TrainingReport, list[str]]:
    """Train a copy of a student towards its teacher.

    Args:
        student: Module that takes the inputs as positional tensors and returns a tensor or a tuple of tensors; it is
            not modified. All of its float parameters train, frozen ones too; batch norms train on their batches'
            statistics.
        teacher: Module of the same form, with outputs of the same shapes; it is not modified.
        data: Training samples; targets are used where ``loss`` needs them.
        settings: Settings of the training.
        loss: Loss between the outputs; it is fitted to the outputs of both models for the first samples.
        inputs: The names of the inputs in ``data``, in the order both take them.
        features: Weight of the activations inside that both graphs have in equal shape, ≥ 0; 0 for the outputs
            alone. Where there are none, the outputs are all that is taught.
        seed: Seed of the order of samples and of dropout.
        save_to: File of a checkpoint, with which a killed training is resumed; None saves none.
        report: Function that is called after every step; None reports nothing.
        device: Device to train on; None for a GPU where there is one, else the CPU. The copy ends on the CPU.

    Returns:
        The trained copy in inference mode, the report of the training, and the names of the matched activations.

    Raises:
        NetworkError: The student has no weights.
        RecipeError: Batches are too small for the processes, or to train batch norms on.
        DataError: There are too few samples, labels are missing, or outputs are not finite.
        OutputError: A checkpoint cannot be written.
    """
    learner, master = copy.deepcopy(student), copy.deepcopy(teacher)
    for parameter in learner.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    if not any(parameter.requires_grad for parameter in learner.parameters()):
        raise NetworkError("a student with weights to train", "none", "give another student")
    first = _first_rows(data, inputs, settings.batch_size)
    fitted = loss.fitted(_outputs(learner, first), _outputs(master, first))
    names: list[str] = []
    watched: tuple[nn.Module, nn.Module] = learner, master
    if features and isinstance(learner, fx.GraphModule) and isinstance(master, fx.GraphModule):
        names = shared_features(learner, master, first)
        watched = with_features(learner, names), with_features(master, names)
    done = train(
        Positional(watched[0]),
        Positional(watched[1]),
        data,
        _WithFeatures(fitted, features, len(names)) if names else fitted,
        settings,
        inputs=inputs,
        seed=seed,
        save_to=save_to,
        report=report,
        device=device,
    )
    return learner.eval(), done, names


def as_module(network: Network) -> nn.Module:
    """Return the network as a module to learn from: its graph, or its ONNX model as a module."""
    if network.graph is not None:
        return network.graph
    from compress.onnx_module import OnnxModule

    return OnnxModule(network.to_onnx())


class Positional(nn.Module):
    """Network in the form that the loop takes: it always returns a tuple."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for one batch."""
        result = self.network(*inputs)
        return tuple(result) if isinstance(result, list | tuple) else (result,)


@dataclass(frozen=True)
class _WithFeatures:
    """Loss of the outputs, and of the activations appended to them: mean((s - t)²) / mean(t²), averaged over them."""

    loss: Loss
    weight: float
    count: int

    def __call__(self, outputs: Sequence[Tensor], taught: Sequence[Tensor], targets: Tensor | None) -> Tensor:
        inside = [
            relative_error(student, teacher)
            for student, teacher in zip(outputs[-self.count :], taught[-self.count :], strict=True)
        ]
        own_loss = self.loss(outputs[: -self.count], taught[: -self.count], targets)
        return own_loss + self.weight * torch.stack(inside).mean()


def _outputs(network: nn.Module, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
    with in_eval_mode(network), torch.no_grad():
        result: tuple[Tensor, ...] = Positional(network)(*(tensor.clone() for tensor in batch))
    return result


def _first_rows(data: Split, inputs: Sequence[str], batch_size: int) -> list[Tensor]:
    rows = np.arange(batch_size) % len(data)
    batch = next(data.take(rows).batches(batch_size))
    return [torch.from_numpy(batch.inputs[name].copy()) for name in inputs]
