"""Settings of training, as recipes and verbs take them; nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar, Self

from compress.core.moved import names_of
from compress.core.options import Options, fault_of, option, option_fields
from compress.errors import RecipeError

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """Settings of any training; the techniques that train inherit them, and so do the verbs."""

    TITLE: ClassVar[str] = "Training"
    RANK: ClassVar[int] = 40

    epochs: int = option(
        "Largest number of epochs; the held-out samples are judged after each, and training stops early where nothing "
        "gets better",
        8,
        low=1,
        high=100_000,
    )
    epoch_samples: int | None = option(
        "Samples in an epoch", low=1, high=1_000_000_000, default_text="all training data"
    )
    batch_size: int = option(
        "Samples in a step, of all processes together; a network of fixed batch takes its own size",
        64,
        low=1,
        high=65_536,
    )
    learning_rate: float = option(
        "Learning rate of Adam at the peak of the schedule", 1e-3, low=0, above=True, high=1_000_000
    )
    average: float = option(
        "Weight of the past in the moving average of the weights", 0.99, low=0, high=1, below=True
    )
    held_out: float = option(
        "Share of the training data to judge epochs by; 1024 samples at the most",
        0.1,
        low=0,
        above=True,
        high=1,
        below=True,
    )
    patience: int = option("Epochs without a better one after which training stops", 3, low=1, high=100_000)
    training_precision: str = option(
        "Precision of the training; auto is float32 on CPUs, and 16 bits on GPUs where that is safe",
        "auto",
        choices=PRECISIONS,
    )

    def __post_init__(self) -> None:
        for field in option_fields(type(self)):
            value = getattr(self, field.name)
            fault = fault_of(field, value)
            if fault is not None:
                raise RecipeError(f"{field.name} {fault}", repr(value), "correct the recipe")

    def with_batch(self, only_batch: int | None) -> Self:
        """Return the options with the only batch size that a network takes; None leaves it.

        Args:
            only_batch: Batch size of such a network, in samples; None for any size.
        """
        return self if only_batch is None else replace(self, batch_size=only_batch)


@dataclass(frozen=True, kw_only=True)
class TeachingOptions(TrainingOptions):
    """Settings of training a network towards another one's outputs."""

    TITLE: ClassVar[str] = "Training"
    RANK: ClassVar[int] = 40

    temperature: float = option(
        "Temperature by which class scores are divided before they are compared",
        1.0,
        low=0,
        above=True,
        high=1000,
    )
    label_weight: float = option(
        "Weight of the labels, from 0, the original network's outputs alone, to 1, the labels alone",
        0.0,
        low=0,
        high=1,
    )


@dataclass(frozen=True, kw_only=True)
class DistillationOptions(TeachingOptions):
    """Settings of training a network towards another one's outputs and activations."""

    TITLE: ClassVar[str] = "Training"
    RANK: ClassVar[int] = 40

    features: float = option(
        "Weight of the activations inside that both networks have in equal shape under the same name",
        0.0,
        low=0,
        high=1_000_000,
    )


#: Names of the settings by which a network is trained towards another one.
DISTILLATION = tuple(field.name for field in fields(DistillationOptions))


if not TYPE_CHECKING:  # names that have left; no type checker shall take any name for one
    __getattr__ = names_of(__name__, __name__)
