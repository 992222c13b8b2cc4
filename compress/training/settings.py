"""Settings of training, as recipes and verbs take them; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

from compress.core.options import Options, option
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
    )
    epoch_samples: int | None = option("Samples in an epoch", low=1, default_text="all training data")
    batch_size: int = option(
        "Samples in a step, of all processes together; a network of fixed batch takes its own size", 64, low=1
    )
    learning_rate: float = option(
        "Learning rate of Adam at the peak of the schedule", 1e-3, low=0, above=True
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
    patience: int = option("Epochs without a better one after which training stops", 3, low=1)
    training_precision: str = option(
        "Precision of the training; auto is float32 on CPUs, and 16 bits on GPUs where that is safe",
        "auto",
        choices=PRECISIONS,
    )

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "epoch_samples"):
            value = getattr(self, name)
            optional = name == "epoch_samples" and value is None
            if not optional and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise RecipeError(f"{name} as a whole number from 1", repr(value), "correct the recipe")
        if self.training_precision not in PRECISIONS:
            raise RecipeError(
                f"a training_precision ({', '.join(PRECISIONS)})",
                repr(self.training_precision),
                "choose one of these",
            )
        check_number("learning_rate", self.learning_rate, "above 0", lambda value: value > 0)
        check_number("average", self.average, "from 0 to below 1", lambda value: 0 <= value < 1)
        check_number("held_out", self.held_out, "above 0 and below 1", lambda value: 0 < value < 1)

    def with_batch(self, only_batch: int | None) -> Self:
        """Return the options with the only batch size that a network takes; None leaves it.

        Args:
            only_batch: Batch size of such a network, in samples; None for any size.
        """
        return self if only_batch is None else replace(self, batch_size=only_batch)


@dataclass(frozen=True, kw_only=True)
class DistillationOptions(TrainingOptions):
    """Settings of training a network towards another one's outputs."""

    TITLE: ClassVar[str] = "Training"
    RANK: ClassVar[int] = 40

    temperature: float = option(
        "Temperature by which class scores are divided before they are compared", 1.0, low=0, above=True
    )
    label_weight: float = option(
        "Weight of the labels, from 0, the original network's outputs alone, to 1, the labels alone",
        0.0,
        low=0,
        high=1,
    )
    features: float = option(
        "Weight of the activations inside that both networks have in equal shape under the same name",
        0.0,
        low=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("temperature", self.temperature, "above 0", lambda value: value > 0)
        check_number("label_weight", self.label_weight, "from 0 to 1", lambda value: 0 <= value <= 1)
        check_number("features", self.features, "from 0", lambda value: 0 <= value < float("inf"))


#: Names of the settings by which a network is trained towards another one.
DISTILLATION = tuple(field.name for field in fields(DistillationOptions))


def check_number(setting: str, value: object, wanted: str, good: Callable[[float], bool]) -> None:
    """Check a setting that is a number.

    Raises:
        RecipeError: The setting is no number, or outside its bounds.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not good(value):  # type: ignore[arg-type]
        raise RecipeError(f"{setting} as a number {wanted}", repr(value), "correct the recipe")
