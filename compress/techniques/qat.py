"""Quantization-aware training: the int8 network, trained in simulation to answer as the float one does.

It begins where ``quantize`` ends, with the same Q/DQ and the same ranges, and ends there too where training found
nothing better. Needs training data; labels are not needed.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from compress.core.options import option
from compress.core.tensor_spec import fixed_batch
from compress.errors import RecipeError
from compress.network.network import Network
from compress.quantization import Settings
from compress.records.technique_reports import QatReport
from compress.techniques.base import Context, Technique, calibration_batches
from compress.training.context import loss_for, telling, training_data
from compress.training.settings import TeachingOptions

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Qat(Technique, TeachingOptions):
    """Train weights, biases and scales of the int8 nodes against the float network's outputs.

    ``learning_rate`` is the share of its unit that a weight moves in a step at the peak; a scale moves by that share of
    itself.

    Attributes:
        scope: Operators to quantize; this and the next six are settings of :class:`compress.quantization.Settings`.
        method: Method that derives the initial ranges from the calibration data.
        percentile: Share of values inside the range, in percent, for the method ``percentile``.
        equalize: Whether to equalize the scales of channels before training, where that helps.
        smooth: Whether to move outlier channels into weights before training, where that helps.
        exclude_nodes: Names of nodes that stay float.
        exclude_ops: Operator types that stay float.
        teacher: Network to learn from: ``before``, the float network that is quantized, or ``original``, the user's
            network, for recipes in which earlier techniques, such as pruning, lost accuracy.
    """

    scope: str = "all"
    method: str = "mse"
    percentile: float = 99.99
    equalize: bool = True
    smooth: bool = True
    exclude_nodes: tuple[str, ...] = ()
    exclude_ops: tuple[str, ...] = ()
    epoch_samples: int | None = option(
        "Samples in an epoch; None takes all training data", 8192, low=1, high=1_000_000_000
    )
    teacher: str = "before"

    def __post_init__(self) -> None:
        super().__post_init__()
        # Whatever is wrong is told before any work is done.
        self.quantization()
        if self.teacher not in ("before", "original"):
            raise RecipeError("a teacher (before, original)", repr(self.teacher), "choose one of these")

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("training data", "calibration samples")

    def takes_minutes(self) -> bool:
        """See :meth:`Technique.takes_minutes`."""
        return True

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form.

        Raises:
            DataError: There is no training data, or too little; or label_weight is set and there are no labels.
            NetworkError: The network is quantized already, has nothing to quantize, or has an operator that cannot
                be trained.
            RecipeError: A node to be excluded is not in the network.
        """
        data = training_data(
            context.task,
            self.label_weight,
            purpose="quantization-aware training",
            otherwise="; or use the technique quantize, which needs none",
        )
        from compress.quantization.aware import quantize_aware

        quantized, done, trained = quantize_aware(
            network.to_onnx(),
            calibration_batches(network, context),
            data,
            context.target.quantization,
            self.quantization(),
            self.with_batch(fixed_batch(network.inputs)),
            loss_for(network, context.task, self.temperature, self.label_weight),
            teacher=self._teacher(context),
            seed=context.seed,
            save_to=None if context.directory is None else context.directory / "qat.pt",
            report=telling(context.reporter),
        )
        report: QatReport = {**done.to_dict(), "settings": asdict(self), "training": trained.to_dict()}
        context.reports["qat"] = report
        return network.with_onnx(quantized)

    def _teacher(self, context: Context) -> nn.Module | None:
        if self.teacher == "before" or context.original is None:
            return None
        from compress.training.distillation import Positional, as_module

        return Positional(copy.deepcopy(as_module(context.original)))

    def quantization(self) -> Settings:
        """Settings of the quantization."""
        return Settings(
            scope=self.scope,
            method=self.method,
            percentile=self.percentile,
            equalize=self.equalize,
            smooth=self.smooth,
            exclude_nodes=self.exclude_nodes,
            exclude_ops=self.exclude_ops,
        )
