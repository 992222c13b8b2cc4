"""Weights that follow from parameters alone are constants, and their layers are modules like any other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from tests.lifting import lifted, modules


class Standardised(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight.float()
        weight = (weight - weight.mean(1, keepdim=True)) / weight.std(1, keepdim=True)
        return F.linear(x, weight, self.bias)


class LowRankUpdate(nn.Linear):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.down, self.up = nn.Parameter(torch.randn(2, inputs)), nn.Parameter(torch.randn(outputs, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight + self.up @ self.down, self.bias)


def masked(layer: nn.Linear) -> nn.Linear:
    return prune.l1_unstructured(layer, "weight", 0.5)


LAYERS = {
    "weight norm": lambda: weight_norm(nn.Linear(6, 6)),
    "weight norm, parametrized": lambda: parametrizations.weight_norm(nn.Linear(6, 6)),
    "spectral norm": lambda: spectral_norm(nn.Linear(6, 6)),
    "spectral norm, parametrized": lambda: parametrizations.spectral_norm(nn.Linear(6, 6)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(6, 6)),
    "standardised": lambda: Standardised(6, 6),
    "low-rank update": lambda: LowRankUpdate(6, 6),
    "masked": lambda: masked(nn.Linear(6, 6)),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
@pytest.mark.parametrize("name", LAYERS)
def test_a_weight_made_from_parameters_becomes_a_plain_one(name: str) -> None:
    module = nn.Sequential(LAYERS[name](), nn.ReLU(), LAYERS[name](), nn.ReLU()).eval()
    x = torch.randn(4, 6)
    with torch.no_grad():
        module(x)
        graph, _, _ = lifted(module, x.numpy())
        torch.testing.assert_close(graph(x), module(x))
    assert {path: type(each) for path, each in modules(graph).items()} == {"0": nn.Linear, "2": nn.Linear}
    assert sorted(dict(graph.named_parameters())) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert not dict(graph.named_buffers())
    assert all(parameter.requires_grad for parameter in graph.parameters())


def test_a_layer_that_is_called_twice_stays_one() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Standardised(200, 200)  # too large to be held twice

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(F.relu(self.layer(x)))

    graph, _, _ = lifted(Twice(), torch.randn(4, 200).numpy())
    assert [str(node.target) for node in graph.graph.find_nodes(op="call_module", target="layer")] == [
        "layer"
    ] * 2
    assert sum(each.numel() for each in graph.parameters()) == 200 * 200 + 200


def test_a_parameter_that_another_layer_reads_stays_tied() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.linear(F.linear(self.layer(x), self.layer.weight * 2), self.layer.weight * 3)

    module, x = Shared(), torch.randn(4, 6)
    graph, _, _ = lifted(module, x.numpy())
    torch.testing.assert_close(graph(x), module(x))
    assert list(modules(graph)) == ["layer"]
    assert len(list(graph.parameters())) == 2


def test_folding_makes_no_network_larger() -> None:
    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Parameter(torch.randn(2, 200)), nn.Parameter(torch.randn(200, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.linear(x, self.up @ self.down)

    graph, _, _ = lifted(Factors(), torch.randn(4, 200).numpy())
    assert sum(each.numel() for each in graph.parameters()) == 800


def test_what_is_written_in_place_is_not_folded_before_it_is_written() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Parameter(torch.randn(6, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight = torch.zeros(6, 6)
            weight[:, :3] = self.part
            return F.linear(x, weight)

    module, x = Written(), torch.randn(4, 6)
    graph, _, _ = lifted(module, x.numpy())
    torch.testing.assert_close(graph(x), module(x))


def test_a_weight_that_follows_from_the_input_stays_computed() -> None:
    class Dynamic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.linear(x, self.weight * x.mean())

    module, x = Dynamic(), torch.randn(4, 6)
    graph, _, _ = lifted(module, x.numpy(), axes={"": 0})  # its samples depend on each other
    torch.testing.assert_close(graph(x), module(x))
    assert not modules(graph)
