from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import InternalError, RecipeError
from compress.pruning import find_channels, random_batch, remove
from compress.pruning.masked import run_masked
from compress.pruning.removal import _difference
from tests.pruning.test_groups import channels_of


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.sigmoid(self.second(self.norm(self.first(x)))))


X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def batch() -> list[torch.Tensor]:
    return random_batch([torch.from_numpy(X)], [True])


def test_what_is_masked_is_what_a_hand_would_cut() -> None:
    torch.manual_seed(0)
    module = Plain()
    channels = channels_of(module, X)
    units = {"first": [1, 4], "second": [0]}
    keep, left = [0, 2, 3, 5], list(range(1, 8))
    x = module.first(torch.from_numpy(X))[:, keep]
    x = torch.nn.functional.layer_norm(x, (4,), module.norm.weight[keep], module.norm.bias[keep])
    x = torch.sigmoid(x @ module.second.weight[left][:, keep].T + module.second.bias[left])
    expected = x @ module.head.weight[:, left].T + module.head.bias
    (masked,) = run_masked(channels, channels.removed(units), [torch.from_numpy(X)])
    torch.testing.assert_close(masked, expected)
    torch.testing.assert_close(remove(channels, units, batch())(torch.from_numpy(X)), expected)


def test_the_callers_network_stays_as_it_was() -> None:
    channels = channels_of(Plain(), X)
    graph = channels.propagation.graph.train()
    before, code = copy.deepcopy(graph.state_dict()), graph.code
    remove(channels, {"first": [0]}, batch())
    assert graph.training
    assert graph.code == code
    assert all(torch.equal(each, before[name]) for name, each in graph.state_dict().items())


def test_a_wrong_alignment_never_gets_out() -> None:
    channels = channels_of(Plain(), X)
    axes = channels.propagation.tensors["head.weight"]
    axes[1] = axes[1][::-1]
    with pytest.raises(InternalError, match="a sliced network that computes what the masked one does"):
        remove(channels, {"second": [0]}, batch())


def test_a_wrong_size_never_gets_out() -> None:
    channels = channels_of(Plain(), X)
    axes = channels.propagation.tensors["head.weight"]
    axes[1] = np.zeros((8, 0), np.int64)
    with pytest.raises(InternalError, match="a sliced network that runs; found RuntimeError"):
        remove(channels, {"second": [0]}, batch())


class OfPositive(Plain):
    """Random inputs make NaN."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.log())


class Masked(Plain):
    """One of its outputs is always -infinity, one always NaN."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = super().forward(x)
        return scores + torch.tensor([0, -math.inf, math.nan])


@pytest.mark.parametrize(
    ("module", "values"), [(OfPositive, np.abs(X) + 0.1), (Masked, X)], ids=["logarithm", "mask"]
)
def test_a_wrong_slice_is_seen_among_values_that_are_not_finite(module: type, values: Any) -> None:
    channels = channels_of(module(), values)
    assert remove(channels, {"second": [0]}, batch()).get_submodule("second").out_features == 7
    axes = channels.propagation.tensors["head.weight"]
    axes[1] = axes[1][::-1]
    with pytest.raises(InternalError, match="a sliced network that computes what the masked one does"):
        remove(channels, {"second": [0]}, batch())


def test_a_network_that_gives_nothing_finite_cannot_be_checked() -> None:
    channels = channels_of(OfPositive(), np.abs(X) + 0.1)
    never = replace(channels, example=tuple(-each for each in channels.example))
    with pytest.raises(RecipeError, match="outputs are finite"):
        remove(never, {"second": [0]}, [-torch.from_numpy(np.abs(X))])


@pytest.mark.parametrize("units", [range(8), [*range(8), 3]])
def test_something_of_a_group_stays(units: Any) -> None:
    channels = channels_of(Plain(), X)
    with pytest.raises(RecipeError, match="at least one unit left of 'second'"):
        remove(channels, {"second": list(units)}, batch())


def test_pruned_once_more() -> None:
    channels = channels_of(Plain(), X)
    smaller = remove(channels, {"second": [0, 3]}, batch())
    again = find_channels(smaller, [torch.from_numpy(X)])
    assert len(again.group("second")) == 6
    assert again.parameters() == channels.parameters({"second": [0, 3]})
    smallest = remove(again, {"second": [5]}, batch())
    assert smallest.get_submodule("second").out_features == 5


def test_frozen_weights_stay_frozen() -> None:
    module = Plain()
    module.second.weight.requires_grad_(False)
    smaller = remove(channels_of(module, X), {"second": [0]}, batch())
    assert not smaller.get_parameter("second.weight").requires_grad
    assert smaller.get_parameter("second.bias").requires_grad


@pytest.mark.parametrize("other", [1.0, math.nan, -math.inf])
def test_infinity_equals_itself_alone(other: float) -> None:
    one = torch.tensor([2.0, math.inf])
    assert _difference(one, one) == 0
    assert _difference(torch.tensor([2.0, other]), one) == math.inf
