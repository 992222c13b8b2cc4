"""Forms that a matrix can take: the bits of its weights, the size of its groups, and whether they have zero points."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.quantization.weights.grouped import GroupedWeight
from compress.quantization.weights.scale_search import round_alone
from compress.quantization.weights.settings import Settings

#: Bits of a matrix that stays float.
FLOAT_BITS = 32

#: Group sizes to choose from, where nothing else is said.
SIZES = (32, 64, 128)

#: Bytes of the graph that a matrix takes beside its arrays: names, shapes and a node.
DESCRIPTION = 1024


@dataclass(frozen=True, order=True)
class Form:
    """A form of a matrix.

    Attributes:
        bits: Bits of a weight: 4, 8, or 32 for one that stays float, whose group is itself.
        group_size: Number of weights along the inputs that share a scale.
        symmetric: Whether there are no zero points.
    """

    bits: int
    group_size: int
    symmetric: bool

    @property
    def is_float(self) -> bool:
        """Whether the matrix stays float."""
        return self.bits == FLOAT_BITS

    def __str__(self) -> str:
        if self.is_float:
            return "float"
        return f"{self.bits} bits, groups of {self.group_size}{'' if self.symmetric else ', zero points'}"

    def bytes_of(self, outputs: int, inputs: int) -> int:
        """Return the bytes of a matrix: integers, scales in float32, and zero points; the last group is filled up."""
        if self.is_float:
            return 4 * outputs * inputs
        groups = -(-inputs // self.group_size)
        integers = outputs * groups * self.group_size * self.bits // 8
        zero_points = 0 if self.symmetric else outputs * -(-groups * self.bits // 8)
        return integers + 4 * outputs * groups + zero_points

    def settings(self, settings: Settings) -> Settings:
        """Return settings with this form, for a matrix that is multiplied by and for a table alike."""
        fields = settings.to_dict() | {
            "bits": self.bits,
            "tied_bits": self.bits,
            "group_size": self.group_size,
            "symmetric": self.symmetric,
        }
        return Settings(**fields)

    def rounded(
        self,
        weight: NDArray[np.float32],
        settings: Settings,
        importance: NDArray[np.float32] | None = None,
    ) -> GroupedWeight:
        """Return a weight in this form, rounded group by group; see :func:`round_alone`."""
        return round_alone(weight, self.settings(settings), importance)


#: Form of a matrix that stays float.
FLOAT = Form(FLOAT_BITS, 1, True)


def all_forms(bits: Iterable[int], group_sizes: Iterable[int], symmetric: Iterable[bool]) -> list[Form]:
    """Return every combination, the smallest bits first; eight bits gain nothing by zero points, and have none."""
    sizes, kinds = list(group_sizes), list(symmetric)
    forms = {
        Form(bit_width, size, kind or bit_width == 8)
        for bit_width in bits
        for size in sizes
        for kind in kinds
    }
    return sorted(forms)
