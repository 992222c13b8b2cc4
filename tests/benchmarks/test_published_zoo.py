"""The comparison that judges builds of published networks, and the table that tells it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.studies.zoo.__main__ import table
from benchmarks.studies.zoo.judging import differences
from benchmarks.studies.zoo.sources import Source, channels_first, decibels


def _outputs(*values: float) -> list[list[np.ndarray]]:
    return [[np.array([[value, 1.0]], np.float32)] for value in values]


def test_equal_outputs_have_no_error() -> None:
    found = differences(_outputs(3, 0), _outputs(3, 0), classes=-1)
    assert found == {"decibels": [None], "largest": 0.0, "agreement": 1.0}


def test_the_error_is_told_against_all_of_the_signal_and_the_largest_value() -> None:
    found = differences(_outputs(3, 0), _outputs(3, 2), classes=-1)
    assert found["decibels"] == [pytest.approx(10 * np.log10((9 + 1 + 0 + 1) / 4))]
    assert found["largest"] == pytest.approx(2 / 3)
    assert found["agreement"] == 0.5


def test_another_shape_is_no_answer() -> None:
    with pytest.raises(ValueError, match=r"outputs \(1, 2\) where the original gives \(2, 2\)"):
        differences([[np.zeros((2, 2))]], [[np.zeros((1, 2))]], None)


def test_a_number_that_is_lost_is_no_answer() -> None:
    with pytest.raises(ValueError, match="finite in one of the two alone"):
        differences(_outputs(1), _outputs(np.nan), None)


def test_what_is_held_out_is_drawn_from_elsewhere() -> None:
    given, unseen = (Source(held_out=each).random().integers(1 << 30) for each in (False, True))
    assert given != unseen
    assert Source(held_out=True).random().integers(1 << 30) == unseen


def test_images_lie_between_minus_one_and_one_with_channels_first() -> None:
    images = np.zeros((2, 4, 5, 3), np.uint8)
    images[..., 1] = 255
    found = channels_first(images)
    assert found.shape == (2, 3, 4, 5)
    assert found.dtype == np.float32
    assert (found[:, 0] == -1).all()
    assert (found[:, 1] == 1).all()


def test_decibels_are_below_the_largest_of_each_sample() -> None:
    found = decibels(np.array([[1.0, 0.1, 0.0], [200.0, 2.0, 200.0]], np.float32))
    assert found == pytest.approx(np.array([[0, -10, -80], [0, -20, 0]]), abs=1e-4)


def test_a_row_tells_the_worst_output_and_what_was_refused() -> None:
    row = {
        "name": "tagger", "kind": "tags", "form": "ONNX, opset 9", "lint": ["opset"], "shipped": "int8",
        "told": "≤ 0.50, 0.40 ×", "build": {"decibels": [None, 31.4, 20.6], "agreement": 0.975},
        "int8": {"decibels": [None], "agreement": None}, "ratio": 0.412, "ms": 1.234,
        "seconds": {"optimize": 70.4, "lint": 1.0}, "peak_mib": {"optimize": 400.2},
        "refused": {"prune": "wanted a | b"},
    }  # fmt: skip
    told = table([row])
    assert (
        "| tagger | tags | ONNX, opset 9 | opset | – | int8 | ≤ 0.50, 0.40 × | 21 dB | 97.5 % "
        "| 0.41 of 1.23 ms | 71 | 400 | prune: wanted a \\| b |" in told
    )
    assert "1 networks: 0 through every command, 0 with an internal error." in told
