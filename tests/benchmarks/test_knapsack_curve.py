"""The curve of divergence against bytes: its builds, what is kept of them, and when it lies below another build."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.studies.knapsack_curve import Bench, held_against, uniform_settings
from compress.language.network import load_decoder
from tests.language.documents import sentences, small_model

CURVE = [{"bytes": 100, "divergence": 1.0}, {"bytes": 200, "divergence": 0.2}]


@pytest.mark.parametrize(
    ("size", "divergence", "curve", "below"),
    [
        (150, 0.7, 0.6, True),
        (150, 0.5, 0.6, False),
        (150, 0.6, 0.6, True),
        (100, 1.1, 1.0, True),
        (300, 0.3, 0.2, True),  # the largest mixed file is smaller, and loses less
        (300, 0.1, 0.2, False),
        (90, 9.0, None, False),  # no mixed file is as small
    ],
)
def test_a_build_is_held_against_the_line_between_the_mixed_ones_beside_it(size, divergence, curve, below):
    found = held_against({"bytes": size, "divergence": divergence}, CURVE)
    assert found == {"curve": None if curve is None else pytest.approx(curve), "below": below}


def test_rows_are_measured_once_and_more_bits_lose_less(tmp_path, monkeypatch):
    decoder = load_decoder(small_model(tmp_path / "model"))
    texts = [np.array(decoder.tokenizer.encode(text).ids[:32], np.int64) for text in sentences(8)]

    def bench() -> Bench:
        return Bench(decoder, texts, 3, "float32", tmp_path)

    uniform = {"algorithm": "rtn", "group_size": 32, "symmetric": True}
    first = bench()
    four, eight, whole = (
        first.row("weight_only", {**uniform, "bits": bits, "tied_bits": head})
        for bits, head in ((4, 4), (8, 8), (8, None))
    )
    mixed = first.row("weight_only_mixed", {"average_bits": 6.0, "algorithm": "search"})
    assert all((four, eight, whole, mixed))
    assert four["bytes"] < mixed["bytes"] < eight["bytes"] < whole["bytes"]
    assert four["divergence"] > mixed["divergence"] > eight["divergence"] > whole["divergence"] > 0
    assert first.row("weight_only_mixed", {"average_bits": 2.0, "algorithm": "search"}) is None
    assert not list(tmp_path.glob("*.onnx*"))
    monkeypatch.setattr("benchmarks.studies.knapsack_curve.apply_recipe", None)
    assert bench().row("weight_only_mixed", {"average_bits": 6.0, "algorithm": "search"}) == mixed


@pytest.mark.parametrize("few", [False, True])
def test_every_uniform_setting_is_tried_once(few):
    listed = [tuple(settings.values()) for settings in uniform_settings(few)]
    assert len(listed) == len(set(listed))
    assert {bits for _, bits, *_ in listed} == {4, 8}
