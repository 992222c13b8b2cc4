from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import RecipeError
from compress.pruning import (
    Channels,
    batch_norm_scale,
    hessian_diagonal,
    magnitude,
    sampled_loss,
    taylor,
)
from tests.networks import NETWORKS, GRUNet, ResidualCNN
from tests.networks import build as build_simple
from tests.pruning.test_groups import channels_of

X = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)


class Hidden(nn.Module):
    """Unit 3 is read by nobody, unit 5 is always off."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
        self.head.weight.data[:, 3] = 0
        self.first.weight.data[5], self.first.bias.data[5] = 0, -1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.first(x)))


@pytest.fixture
def channels() -> Channels:
    torch.manual_seed(0)
    return channels_of(Hidden(), X)


def batches(size: int = 16) -> list[list[torch.Tensor]]:
    return [[torch.from_numpy(X[start : start + size])] for start in range(0, len(X), size)]


@pytest.mark.parametrize("criterion", [taylor, hessian_diagonal])
def test_units_that_do_nothing_are_worth_nothing(criterion, channels: Channels) -> None:
    scores = criterion(channels, sampled_loss(0, classes=True), batches())["first"]
    assert scores[3] == scores[5] == 0
    assert (np.delete(scores, [3, 5]) > 0).all()


def test_magnitude_is_the_norm_of_all_weights_of_a_unit(channels: Channels) -> None:
    module = channels.propagation.graph
    rows, columns = module.get_parameter("first.weight"), module.get_parameter("head.weight")
    norms = (rows.pow(2).sum(1) + columns.pow(2).sum(0)).sqrt().detach().numpy()
    np.testing.assert_allclose(magnitude(channels)["first"], norms / norms.mean(), rtol=1e-6)


def test_taylor_is_the_squared_gradient_of_a_gate(channels: Channels) -> None:
    """Both layers that have a unit see the gradient of the same gate; a bias is not a part of it."""
    graph = channels.propagation.graph
    with torch.no_grad():
        graph.get_parameter("first.bias").zero_()
    gates = torch.ones(8, requires_grad=True)
    hidden = torch.relu(graph.get_submodule("first")(torch.from_numpy(X))) * gates
    graph.get_submodule("head")(hidden).pow(2).sum().backward()
    assert gates.grad is not None
    scores = taylor(channels, lambda outputs: outputs[0].pow(2).sum(), [[torch.from_numpy(X)]])
    np.testing.assert_allclose(scores["first"], gates.grad.numpy() ** 2, rtol=1e-3)


def test_the_hessian_of_a_linear_network_is_known() -> None:
    """With unit variance at the output, h of a weight of the last layer is the mean of its squared input."""

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(4, 6, bias=False), nn.Linear(6, 2, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.first(x))

    torch.manual_seed(0)
    channels = channels_of(Linear(), X)
    first, head = (
        channels.propagation.graph.get_parameter(f"{name}.weight").detach().numpy()
        for name in ("first", "head")
    )
    squares = (X**2).sum(0)
    of_rows = ((head**2).sum(0)[:, None] * squares * first**2).sum(1)
    of_columns = (((X @ first.T) ** 2).sum(0) * head**2).sum(0)
    draws = [[torch.from_numpy(X)]] * 400
    found = hessian_diagonal(channels, sampled_loss(0, classes=False), draws)["first"]
    np.testing.assert_allclose(found, (of_rows + of_columns) / 2, rtol=0.25)


@pytest.mark.parametrize("criterion", [taylor, hessian_diagonal])
def test_gradients_leave_no_trace(criterion, channels: Channels) -> None:
    graph = channels.propagation.graph.train()
    graph.get_parameter("first.bias").requires_grad_(False)
    criterion(channels, sampled_loss(0, classes=True), batches())
    assert not graph.get_parameter("first.bias").requires_grad
    assert all(each.grad is None for each in graph.parameters())
    assert graph.training


def test_the_scale_of_batch_norms_is_averaged() -> None:
    channels = channels_of(build_simple(ResidualCNN), *NETWORKS[ResidualCNN].values())
    graph = channels.propagation.graph
    with torch.no_grad():
        graph.get_parameter("layers.1.bn2.weight")[4] = -7.0
        graph.get_parameter("layers.0.bn1.weight").copy_(torch.arange(8.0))
    scores = batch_norm_scale(channels)
    assert scores["layers.0.conv1"].tolist() == list(range(8))
    assert scores["layers.1.conv2"].argmax() == 4
    assert scores["layers.1.conv2"][4] == 7


def test_no_batch_norm_to_judge_by() -> None:
    channels = channels_of(build_simple(GRUNet), *NETWORKS[GRUNet].values())
    with pytest.raises(RecipeError, match="a network with batch norm"):
        batch_norm_scale(channels)
    assert magnitude(channels)["recurrence"].shape == (12,)


def test_draws_repeat_under_a_seed(channels: Channels) -> None:
    one, again, other = (
        taylor(channels, sampled_loss(seed, classes=True), batches())["first"] for seed in (1, 1, 2)
    )
    assert one.tolist() == again.tolist()
    assert one.tolist() != other.tolist()


@pytest.mark.parametrize("criterion", [taylor, hessian_diagonal])
def test_a_softmax_at_the_end_changes_no_score(criterion) -> None:
    torch.manual_seed(0)
    module = Hidden()
    module.head.weight.data *= 10  # A softmax of probabilities would be nearly even.
    scores, same = (
        criterion(channels_of(each, X), sampled_loss(0, classes=True), batches())
        for each in (module, nn.Sequential(module, nn.Softmax(1)))
    )
    np.testing.assert_allclose(same["0.first"], scores["first"], rtol=1e-3, atol=1e-6)


def test_a_network_that_gives_class_numbers_alone_has_no_gradient() -> None:
    class Numbers(Hidden):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).argmax(1)

    with pytest.raises(RecipeError, match="an output that has a gradient"):
        taylor(channels_of(Numbers(), X), sampled_loss(0, classes=True), batches())
