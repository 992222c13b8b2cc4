"""What ``prune`` refuses before anything is timed, and what it decides once only."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.data.task import load_task
from compress.errors import DataError, RecipeError
from compress.hosts import connect
from compress.hosts.absent import AbsentHost
from compress.network.network import Network, load_network
from compress.target.target import load_target
from compress.techniques.base import Context
from compress.techniques.prune import Prune

BOARD = load_target("raspberry-pi-5")
X = np.random.default_rng(0).standard_normal((80, 16)).astype(np.float32)


class NothingTimed(AbsentHost):
    """A board on which any timing fails the test."""

    def latency(self, *_: object):
        raise AssertionError("a whole network was timed")

    def layers(self, *_: object):
        raise AssertionError("layers were timed")


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 160), nn.ReLU(), nn.Linear(160, 160), nn.ReLU(), nn.Linear(160, 5))
    return load_network(module.eval(), example={"x": X[:2]})


def context(network: Network, host: type[AbsentHost] = AbsentHost, directory: Path | None = None) -> Context:
    task = load_task({"x": X}).bind(network.inputs, network.outputs)
    return Context(task, BOARD, host=host(connect(BOARD).backend), threads=1, directory=directory)


@pytest.mark.parametrize("settings", [{"untrained_drop": 50.0}, {"latency_share": 0.7}, {"ratio": 0.3}])
def test_a_wrong_name_is_told_as_such_before_any_timing(network, settings) -> None:
    with pytest.raises(RecipeError, match=r"the name of a layer to keep; found 'nn'"):
        Prune(keep_layers=("nn",), **settings).apply(network, context(network, NothingTimed))


def test_too_few_samples_are_told_before_any_timing(network) -> None:
    (spec,) = network.inputs
    inputs = (dataclasses.replace(spec, shape=(32, *spec.shape[1:])),)  # the 20 samples fill no batch
    fixed = Network(
        inputs=inputs,
        outputs=network.outputs,
        origin=network.origin,
        graph=network.graph,
        sample=network.sample,
    )
    with pytest.raises(DataError, match="32 calibration samples or more"):
        Prune(untrained_drop=1.0).apply(fixed, context(network, NothingTimed))


def test_what_lost_nothing_in_time_is_not_told_as_lost_accuracy(network) -> None:
    keep = ("0", "2")
    with pytest.raises(RecipeError, match=r"found 1\.00 at the fastest.*; keep fewer layers") as told:
        Prune(untrained_drop=50.0, importance="magnitude", keep_layers=keep).apply(network, context(network))
    assert "--train-data" not in str(told.value)


class Sums(nn.Module):
    """Nothing is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.norm = nn.LayerNorm(16)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.norm(self.embedding(tokens)).relu().sum(-1)


def test_a_latency_without_layers_that_multiply_is_refused() -> None:
    tokens = np.random.default_rng(0).integers(0, 50, (80, 6))
    network = load_network(Sums().eval(), example={"tokens": tokens[:2]})
    task = load_task({"tokens": tokens}).bind(network.inputs, network.outputs)
    with pytest.raises(RecipeError, match=r"a network that multiplies.*--ratio"):
        Prune(latency_share=0.5, importance="magnitude").apply(network, Context(task, BOARD))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"latency_share": 0.5, "per_layer": True}, "ratio with per_layer; found latency_share"),
        ({"untrained_drop": 1.0, "per_layer": True}, "ratio with per_layer; found untrained_drop"),
        ({"latency_share": 0.5, "multiple": 8}, "ratio with multiple; found latency_share"),
        (
            {"ratio": 0.5, "timing_precision": "int8"},
            "untrained_drop with timing_precision; found ratio",
        ),
        (
            {"timing_precision": "int8"},
            "latency_share or untrained_drop with timing_precision; found neither",
        ),
    ],
)
def test_settings_that_mean_nothing_together_are_refused(settings, told) -> None:
    with pytest.raises(RecipeError, match=told):
        Prune(**settings)


def test_settings_that_fit_are_taken() -> None:
    for settings in (
        {"per_layer": True, "multiple": 8},
        {"ratio": 0.5, "per_layer": True, "multiple": 8},
        {"latency_share": 0.5, "timing_precision": "int8"},
        {"untrained_drop": 1.0, "timing_precision": "int8"},
    ):
        Prune(**settings)


def test_what_was_decided_by_times_is_not_timed_again(network, tmp_path) -> None:
    first, again = context(network, directory=tmp_path), context(network, NothingTimed, tmp_path)
    one = Prune(latency_share=0.8, importance="magnitude").apply(network, first)
    other = Prune(latency_share=0.8, importance="magnitude").apply(network, again)
    assert json.dumps(first.reports) == json.dumps(again.reports)
    for left, right in zip(one.graph.parameters(), other.graph.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("changed", ["settings", "seed", "weights"])
def test_what_follows_from_something_else_is_decided_anew(network, tmp_path, changed) -> None:
    Prune(latency_share=0.8, importance="magnitude").apply(network, context(network, directory=tmp_path))
    again = context(network, NothingTimed, tmp_path)
    settings, given = {"latency_share": 0.81 if changed == "settings" else 0.8}, network
    if changed == "seed":
        again = dataclasses.replace(again, seed=1)
    if changed == "weights":
        given = network.with_graph(copy.deepcopy(network.graph))
        with torch.no_grad():
            next(given.graph.parameters()).mul_(2)
    with pytest.raises(AssertionError, match="timed"):
        Prune(importance="magnitude", **settings).apply(given, again)


def test_half_of_the_margin_is_left_for_other_samples(network) -> None:
    whatever = context(network)
    Prune(untrained_drop=300.0, importance="magnitude").apply(network, whatever)
    lost = whatever.reports["prune"]["margin"]["trials"][-1]["drop"]
    assert lost > 0
    careful = context(network)
    Prune(untrained_drop=1.5 * lost, importance="magnitude").apply(network, careful)
    told = careful.reports["prune"]
    kept = [
        trial["drop"] for trial in told["margin"]["trials"] if trial["latency"] == told["latency"]["wanted"]
    ]
    assert kept[0] <= 0.75 * lost
    assert told["latency"]["wanted"] > whatever.reports["prune"]["latency"]["wanted"]
