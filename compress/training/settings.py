"""How to train, as a recipe writes it; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

from compress.errors import RecipeError

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train, whatever is trained.

    Attributes:
        epochs: At most so many, from 1; the held-out samples are judged after each.
        epoch_samples: Samples an epoch, from 1; None for all of the training data.
        batch_size: Samples a step, from 1.
        learning_rate: Adam's at the peak of the schedule, > 0.
        average: Weight of the past in the moving average of the weights, from 0 to below 1.
        held_out: Share of the training data to judge by, above 0 and below 1; at most 1024 samples are used.
        patience: Stop after so many epochs without a better one, from 1.
        precision: One of :data:`PRECISIONS`; ``auto`` is float32 on CPUs, and on GPUs 16 bits where that is safe.
    """

    epochs: int = 8
    epoch_samples: int | None = None
    batch_size: int = 64
    learning_rate: float = 1e-3
    average: float = 0.99
    held_out: float = 0.1
    patience: int = 3
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "epoch_samples"):
            value = getattr(self, name)
            optional = name == "epoch_samples" and value is None
            if not optional and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise RecipeError(f"{name} as a whole number from 1", repr(value), "correct the recipe")
        if self.precision not in PRECISIONS:
            raise RecipeError(
                f"a precision ({', '.join(PRECISIONS)})", repr(self.precision), "choose one of these"
            )
        check_number("learning_rate", self.learning_rate, "above 0", lambda value: value > 0)
        check_number("average", self.average, "from 0 to below 1", lambda value: 0 <= value < 1)
        check_number("held_out", self.held_out, "above 0 and below 1", lambda value: 0 < value < 1)

    @classmethod
    def of(cls, technique: object, only_batch: int | None = None) -> Self:
        """Those of a technique that has them, or some of them, among its own fields.

        Args:
            technique: Its fields of these names are taken; what it has no field for keeps its default.
            only_batch: The batch size where the network takes no other; None for the technique's.
        """
        names = [each.name for each in fields(cls) if hasattr(technique, each.name)]
        given = {name: getattr(technique, name) for name in names}
        return cls(**given | ({"batch_size": only_batch} if only_batch else {}))


def check_number(setting: str, value: object, wanted: str, good: Callable[[float], bool]) -> None:
    """Check a setting that is a number.

    Raises:
        RecipeError: It is none, or outside its bounds.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not good(value):  # type: ignore[arg-type]
        raise RecipeError(f"{setting} as a number {wanted}", repr(value), "correct the recipe")
