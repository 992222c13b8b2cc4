"""Distillation: the network as it is now, trained to do what the network that the user gave does.

What pruning cost comes back so. Labels are not needed; where there are any, they can be mixed in.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from compress.errors import RecipeError
from compress.network.network import Network
from compress.techniques.base import Context, Technique
from compress.training.context import loss_for, only_batch, telling, training_data
from compress.training.settings import TrainingSettings, check_number


@dataclass(frozen=True)
class Distill(Technique):
    """Train the network in its trainable form against the original network's outputs.

    Attributes:
        epochs: As :class:`compress.training.settings.TrainingSettings` has it, like the next six.
        epoch_samples: Samples an epoch; None for all of the training data.
        batch_size: Samples a step; a network of fixed batch takes its own.
        learning_rate: Adam's at the peak of the schedule.
        average: Weight of the past in the moving average of the weights.
        held_out: Share of the training data to judge by.
        patience: Stop after so many epochs without a better one.
        temperature: Of the distillation of class scores, > 0.
        label_weight: From 0, the original network's outputs alone, to 1, the labels alone.
        features: Weight of the activations inside whose shapes are the original network's, ≥ 0.
        precision: One of :data:`compress.training.settings.PRECISIONS`.
    """

    epochs: int = 8
    epoch_samples: int | None = None
    batch_size: int = 64
    learning_rate: float = 1e-3
    average: float = 0.99
    held_out: float = 0.1
    patience: int = 3
    temperature: float = 1.0
    label_weight: float = 0.0
    features: float = 0.0
    precision: str = "auto"

    def __post_init__(self) -> None:
        # Whatever is wrong is told before any work is done.
        self.training(None)
        check_number("temperature", self.temperature, "above 0", lambda value: value > 0)
        check_number("label_weight", self.label_weight, "from 0 to 1", lambda value: 0 <= value <= 1)
        check_number("features", self.features, "from 0", lambda value: 0 <= value < float("inf"))

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the teacher is ``context.original``, the network itself where there is none.

        Raises:
            DataError: There is no training data, or too little; or label_weight is set and there are no labels.
            RecipeError: The network is an ONNX model by now, or batches are too small to train its batch norms on.
            NetworkError: Its batch is fixed, and the teacher's at another size.
        """
        data = training_data(context.task, self.label_weight, purpose="distillation", otherwise="")
        if network.graph is None:
            raise RecipeError(
                "a network in its trainable form, to distil into",
                "an ONNX model",
                "give the torch network, and distil before quantizing; or use qat, which trains what it quantizes",
            )
        from compress.training.distillation import as_module, distilled

        teacher = context.original or network
        trained, done, matched = distilled(
            network.graph,
            as_module(teacher),
            data,
            self.training(only_batch(network, teacher)),
            loss_for(network, context.task, self.temperature, self.label_weight),
            inputs=[spec.name for spec in network.inputs],
            features=self.features,
            seed=context.seed,
            save_to=None if context.directory is None else context.directory / "distill.pt",
            report=telling(context.reporter),
        )
        context.reports["distill"] = {
            "settings": asdict(self),
            "training": done.to_dict(),
            "matched_features": matched,
        }
        return network.with_graph(trained)

    def training(self, only_batch: int | None) -> TrainingSettings:
        """How to train a network, in batches of its own size where that is fixed."""
        return TrainingSettings.of(self, only_batch)
