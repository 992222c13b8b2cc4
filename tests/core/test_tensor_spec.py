"""What the inputs of a network tell of the samples it takes."""

from __future__ import annotations

import pytest

from compress.core.tensor_spec import BATCH, TensorSpec, fixed_batch

RATE = TensorSpec("rate", "int64", ())
RATES = TensorSpec("rates", "int64", (2,))
ONE = TensorSpec("x", "float32", (1, 512))
OPEN = TensorSpec("x", "float32", (BATCH, 512))
CLASSES = TensorSpec("classes", "int64", (BATCH,))
TABLE = TensorSpec("table", "float32", (4, 3))


@pytest.mark.parametrize(
    ("inputs", "only"),
    [
        ([ONE], 1),
        ([OPEN], None),
        ([ONE, RATE], 1),
        ([RATE, ONE], 1),  # a number comes first, and counts nothing
        ([RATES, ONE], 1),
        ([RATE, OPEN], None),
        ([CLASSES, TABLE], None),
        ([TABLE], 4),
        ([RATE], None),
    ],
)
def test_the_only_batch_size(inputs: list[TensorSpec], only: int | None) -> None:
    assert fixed_batch(inputs) == only
