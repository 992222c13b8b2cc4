"""What the inputs of a network tell of the samples it takes."""

from __future__ import annotations

import pytest

from compress.tensors import BATCH, TensorSpec, fixed_batch

RATE = TensorSpec("rate", (), "int64")
RATES = TensorSpec("rates", (2,), "int64")
ONE = TensorSpec("x", (1, 512), "float32")
OPEN = TensorSpec("x", (BATCH, 512), "float32")
CLASSES = TensorSpec("classes", (BATCH,), "int64")
TABLE = TensorSpec("table", (4, 3), "float32")


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
