"""The study of judging without labels: what is true of outputs, what damage does, and what is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("PIL")

from benchmarks.studies.judging import damage, planning, texts, tones, truth
from benchmarks.studies.judging.cache import load, write
from benchmarks.studies.judging.networks import Ended


def test_pitch_is_told_from_the_bins_that_were_learned() -> None:
    cents = np.array([3500.0, 5012.3, 7600.0], np.float32)
    assert np.abs(tones.pitch(tones.bumps(cents)) - cents).max() < 1.0
    found = truth.PITCH.find(tones.bumps(cents), cents + np.array([0.0, 49.0, 52.0]), tones.bumps(cents))
    assert found.metric.tolist() == [1.0, 1.0, 0.0]


def test_tokens_have_accuracy_and_perplexity() -> None:
    y = np.log(np.array([[[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]], np.float32))
    found = truth.TOKENS.find(y, np.array([[0, 2]]), y)
    assert found.metric.tolist() == [0.5]
    assert found.whole["perplexity"] == pytest.approx(8**0.5)


def test_maps_have_pixel_accuracy_and_overlap() -> None:
    labels = np.array([[[0, 1], [1, 1]]])
    told = np.array([[[0, 0], [1, 1]]])
    y = np.stack([told == 0, told == 1], 1).astype(np.float32)
    found = truth.MAP.find(y, labels, y)
    assert found.metric.tolist() == [0.75]
    assert found.whole["miou"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_vectors_find_their_own_class_in_any_basis() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    y = (rng.standard_normal((40, 4)) * 0.1 + labels[:, None]).astype(np.float32)
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0].astype(np.float32)
    found = truth.RETRIEVAL.find(3 * y @ basis, labels, y)
    assert found.metric.mean() == 1.0
    assert found.metric_2 is not None
    assert found.metric_2.mean() < 1.0


def test_errors_drop_in_percent_of_the_original() -> None:
    assert truth.ERROR.drop(np.array([0.5]), np.array([0.51])) == pytest.approx(2.0)
    assert truth.TOP_1.drop(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(50.0)


def test_damage_leaves_the_network_as_it_was_and_grows() -> None:
    torch.manual_seed(0)
    network = Ended(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), "softmax").eval()
    x = torch.randn(64, 8).numpy()
    before = damage.run(network, x)

    def distance(one: damage.Damage) -> float:
        return float(np.abs(damage.run(one.make(network), x) - before).mean())

    assert 0 < distance(damage.noise(0.01, 1)) < distance(damage.noise(0.3, 1))
    assert distance(damage.rounding(8, per_channel=True)) < distance(damage.rounding(3, per_channel=True))
    assert distance(damage.activations(0.5, 0.1, 1)) > 0
    assert distance(damage.channels(4, 0)) > 0
    assert (damage.run(damage.lost(1, 2).make(network), x).argmax(1) != 2).all()
    kept = damage.run(damage.scaled(2.0).make(network), x).argmax(1)
    assert (kept == before.argmax(1)).all()
    assert np.array_equal(damage.run(network, x), before)


def test_levels_between_two_are_found_by_the_drop_that_is_aimed_at() -> None:
    made: list[float] = []

    def noise(level: float, seed: int) -> damage.Damage:
        return damage.noise(level, seed)

    def drop_of(each: damage.Damage) -> float:
        made.append(each.level)
        return 1000 * each.level**2

    levels = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64]
    found = list(planning.swept(noise, levels, [1.0, 1e9], 2, drop_of))
    assert made == levels[:5], "stops where the network is ruined"
    assert [each.seed for each in found[5:]] == [1, 2]
    assert 1000 * found[-1].level ** 2 == pytest.approx(1.0, rel=0.15)


def test_every_byte_of_a_source_has_a_kind() -> None:
    kinds = texts.kinds_of(b"def f(x):  # so\n    return len(x.y) + 2\n")
    assert kinds is not None
    told = [texts.KINDS[each] for each in kinds]
    assert told[:5] == ["keyword"] * 3 + ["space", "defined"]
    assert told[11:15] == ["comment"] * 4
    assert told[27:30] == ["builtin"] * 3
    assert told[33] == "attribute"
    assert told[38] == "number"
    assert texts.kinds_of(b"def (") is None


def test_what_is_written_is_read(tmp_path) -> None:
    y, labels = np.eye(3, dtype=np.float32), np.arange(3)
    found = truth.TOP_1.find(y, labels, y)
    write(tmp_path / "made" / "original.npz", y, found, {"name": "made"}, labels)
    write(tmp_path / "made" / "builds" / "noise.npz", y + 1, found, {"drop": 0.0})
    study = load("made", tmp_path)
    assert study.names() == ["noise"]
    assert [(name, build.info["drop"]) for name, build in study.builds()] == [("noise", 0.0)]
    assert np.array_equal(study.labels, labels)
    assert study.original.metric.tolist() == [1, 1, 1]
