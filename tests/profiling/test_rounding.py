"""A build that computes the same needs no hundred samples to be shown to lose nothing; one that does not, does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import optimize
from compress.backends import installed
from compress.onnx_graph.files import save_model
from compress.profiling.rounding import MOST, Rounding
from compress.recipe import Recipe, Step
from compress.records.profile import Drop, Interval, Profile, inside_margin
from compress.search.decision import choose
from compress.search.limits import Limits
from tests.graphs import classifier, samples
from tests.records import candidate

RIGHT = np.linspace(-3, 5, 24, dtype=np.float32).reshape(4, 6)


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (RIGHT, True),
        (RIGHT + np.float32(1e-6), True),
        (RIGHT * np.float32(1 + 1e-3), False),
        (np.where(RIGHT > 4, np.nan, RIGHT), False),
        (np.where(RIGHT > 4, np.inf, RIGHT), False),
        (RIGHT[:, :5], False),
        (RIGHT.astype(np.int64), False),
    ],
    ids=["equal", "rounding", "half precision", "nan", "infinite", "shape", "type"],
)
def test_what_counts_as_rounding(found: np.ndarray[Any, Any], shown: bool) -> None:
    rounding = Rounding()
    rounding.add([RIGHT, found], [RIGHT, RIGHT])
    assert (rounding.shown is not None) == shown
    assert not shown or 0 <= rounding.largest <= MOST


def test_the_worst_batch_counts() -> None:
    rounding = Rounding()
    for found in (RIGHT, RIGHT + 1, RIGHT):
        rounding.add([found], [RIGHT])
    assert rounding.shown is None


def test_what_is_no_number_in_the_original_either_is_the_same() -> None:
    masked = np.where(RIGHT > 4, -np.inf, RIGHT)
    rounding = Rounding()
    rounding.add([masked], [masked])
    assert rounding.shown == 0


def test_integers_are_the_same_or_not() -> None:
    rounding = Rounding()
    rounding.add([np.array([1, 2])], [np.array([1, 2])])
    assert rounding.shown == 0
    rounding.add([np.array([1, 3])], [np.array([1, 2])])
    assert rounding.shown is None


def test_a_few_samples_do_not_keep_such_a_build_out() -> None:
    undecided = Drop(0.0, Interval(-6.0, 6.0, 0.9), 0.0)
    assert not inside_margin(undecided, 1)
    assert inside_margin(replace(undecided, rounding=2e-6), 1)
    assert not inside_margin(replace(undecided, points=2.0, rounding=2e-6), 1)  # an answer on the edge
    fast = candidate("fast", ratio=0.5, drop=(-6.0, 0.0, 6.0))
    assert fast.profile is not None
    assert fast.profile.accuracy is not None
    accuracy = replace(fast.profile.accuracy, drop=replace(undecided, rounding=2e-6), right_or_wrong=False)
    same = replace(fast, profile=replace(fast.profile, accuracy=accuracy))
    original = candidate("fp32", p50_ms=4.0)
    assert choose([original, fast], Limits()).candidate is original
    choice = choose([original, same], Limits())
    assert choice.candidate is same
    assert "computes the same: its outputs differ by rounding (2e-06 of the largest)" in choice.reason
    assert Profile.from_dict(same.profile.to_dict()) == same.profile


@pytest.mark.parametrize(
    ("recipe", "same"),
    [
        (Recipe("fp32-openvino", backend="openvino"), True),
        (Recipe("explicit", backend="openvino", session={"precision": "fp32"}), True),
        (Recipe("bf16-openvino", backend="openvino", session={"precision": "bf16"}), False),
        (Recipe("int8", (Step("quantize"),)), False),
    ],
)
def test_which_recipes_compute_the_same(recipe: Recipe, same: bool) -> None:
    assert recipe.computes_the_same == same


@pytest.mark.parametrize("labelled", [True, False])
def test_another_runtime_is_held_against_the_original_on_every_sample(tmp_path: Path, labelled: bool) -> None:
    if not installed("openvino"):
        pytest.skip("OpenVINO is not installed")
    path = save_model(classifier(channels=16), tmp_path / "model.onnx")
    x = samples(40)
    data = {"x": x, "y": np.arange(40) % 4} if labelled else {"x": x}
    recipes = [Recipe("fp32-openvino", backend="openvino"), Recipe("int8", (Step("quantize"),))]
    result = optimize(path, data=data, out=tmp_path / "build", recipes=recipes, threads=1, seconds=0.02)
    drops = {
        entry.recipe.name: entry.profile.accuracy.drop
        for entry in result.candidates
        if entry.profile is not None and entry.profile.accuracy is not None
    }
    assert drops["fp32"] is None
    same, int8 = drops["fp32-openvino"], drops["int8"]
    assert same is not None
    assert int8 is not None
    assert same.rounding is not None
    assert same.rounding < 1e-5
    assert same.interval.high > 1  # forty samples leave that open
    assert int8.rounding is None
    assert "undecided" not in result.choice.verdicts["fp32-openvino"]
    assert "undecided" in result.choice.verdicts["int8"] or "drops" in result.choice.verdicts["int8"]
