"""The search for settings of a training: judged alike, kept as it goes, and never on what judges in the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.core.progress import Reporter
from compress.data.task import load_task
from compress.errors import RecipeError
from compress.network.network import load_network
from compress.target.target import load_target
from compress.techniques.base import Context
from compress.techniques.distill import Distill
from compress.training.losses import Distillation
from compress.training.settings import TeachingOptions
from compress.training.tuned_teaching import JudgedAlike, judge_of, space_of
from compress.training.tuning import Range, Trial, best_of, tuned

pytest.importorskip("optuna")

SPACE = {"rate": Range(1e-4, 1.0, log=True), "size": (16, 32)}
FIRST = {"rate": 1e-4, "size": 32}


def distance(settings: dict[str, Any], tell: Callable[[int, float], None]) -> float:
    """Best at a rate of 0.01 and a size of 16."""
    return abs(math.log10(settings["rate"]) + 2) + settings["size"] / 16


def search(journal: Path, train: Any = distance, key: str = "key", trials: int = 8) -> list[Trial]:
    return tuned(train, SPACE, FIRST, trials=trials, seed=0, journal=journal, key=key)


def test_the_given_settings_come_first_and_better_ones_are_found(tmp_path: Path) -> None:
    trials = search(tmp_path / "journal")
    assert trials[0] == Trial(FIRST, distance(FIRST, lambda *_: None), 0)
    best = best_of(trials)
    assert best is not None
    assert best.judged is not None
    assert best.judged < 2.0 < trials[0].judged  # type: ignore[operator]
    assert search(tmp_path / "journal2") == trials


def test_a_search_that_was_killed_repeats_no_trial_and_proposes_the_same(tmp_path: Path) -> None:
    begun: list[dict[str, Any]] = []

    def killed_in_fourth(settings: dict[str, Any], tell: Any) -> float:
        begun.append(settings)
        if len(begun) == 4:
            raise KeyboardInterrupt
        return distance(settings, tell)

    whole = search(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "journal", killed_in_fourth)
    assert search(tmp_path / "journal", killed_in_fourth) == whole
    assert begun == [trial.settings for trial in whole[:4]] + [trial.settings for trial in whole[3:]]
    assert search(tmp_path / "journal", killed_in_fourth) == whole
    assert len(begun) == 9
    assert search(tmp_path / "journal", killed_in_fourth, key="other data", trials=1) == whole[:1]


def test_a_trial_that_is_behind_is_given_up_and_one_that_diverges_is_none(tmp_path: Path) -> None:
    epochs: list[int] = []

    def train(settings: dict[str, Any], tell: Callable[[int, float], None]) -> float:
        if settings["rate"] > 0.1:
            tell(1, math.nan)
        for epoch in range(1, 10):
            epochs.append(epoch)
            tell(epoch, distance(settings, tell))
        return distance(settings, tell)

    trials = search(tmp_path / "journal", train, trials=12)
    assert any(trial.judged is None and 0 < trial.epochs < 9 for trial in trials)
    assert all(trial.judged is None for trial in trials if trial.settings["rate"] > 0.1)
    assert len(epochs) < 9 * len(trials)


def test_all_trials_are_judged_by_one_loss_on_the_same_samples() -> None:
    loss = Distillation(True, temperature=4.0)
    judge = judge_of(loss, labelled=True)
    assert (judge.temperature, judge.label_weight) == (1.0, 1.0)
    assert judge_of(loss, labelled=False).label_weight == 0.0
    scores, taught = torch.randn(5, 3), torch.randn(5, 3)
    labels = torch.tensor([0, 1, 2, 0, 1])
    both = JudgedAlike(loss, judge)
    assert both([scores], [taught], labels) == loss([scores], [taught], labels)
    with torch.no_grad():
        assert both([scores], [taught], labels) == judge([scores], [taught], labels)
    settings = TeachingOptions(batch_size=64)
    space, share = space_of(settings, 1400, classes=True, labelled=True, only_batch=None)
    assert space["batch_size"] == (16, 32, 64, 128)
    assert int(share * 1400) == 128
    assert set(space) == {"learning_rate", "average", "temperature", "label_weight", "batch_size"}
    space, share = space_of(settings, 1400, classes=False, labelled=True, only_batch=8)
    assert (set(space), share) == ({"learning_rate", "average"}, 0.1)


def test_distillation_trains_last_with_the_settings_that_were_judged_best(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = load_network(
        nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)), example=[np.zeros((2, 6), np.float32)]
    )
    student = load_network(
        nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), example=[np.zeros((2, 6), np.float32)]
    )
    name = teacher.inputs[0].name
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    judging = {name: x[:20], "y": np.arange(20) % 3}
    task = load_task(judging, train_data={name: x[20:]}).bind(teacher.inputs, teacher.outputs)
    task = replace(task, evaluation=SimpleNamespace())  # what judges in the end cannot even be read
    context = Context(task, load_target("cpu"), original=teacher, directory=tmp_path)
    technique = Distill(epochs=2, batch_size=16, learning_rate=1e-4, tune=4)
    technique.apply(student, context)
    report = context.reports["distill"]
    trials = report["tuning"]["trials"]
    assert len(trials) == 4
    assert trials[0]["settings"]["learning_rate"] == 1e-4
    judged = [trial["judged"] for trial in trials if trial["judged"] is not None]
    best = next(trial for trial in trials if trial["judged"] == min(judged))
    assert report["tuning"]["best"] == best["settings"]
    assert report["settings"] == asdict(technique) | best["settings"]
    assert min(judged) < report["tuning"]["given"]

    class Counting(Reporter):
        steps: list[str] = []  # noqa: RUF012 - of this test alone

        def step(self, text: str, total: int = 0) -> None:
            self.steps.append(text)

    context.reporter, context.reports = Counting(), {}
    technique.apply(student, context)
    assert not [text for text in Counting.steps if text.startswith("trial")]
    assert context.reports["distill"]["tuning"] == report["tuning"]


def test_numbers_of_trials_are_checked() -> None:
    with pytest.raises(RecipeError, match="tune"):
        Distill(tune=0)
