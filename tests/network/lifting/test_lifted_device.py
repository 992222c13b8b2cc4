"""A lifted graph runs on the device it is moved to; the meta device stands for a GPU."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from compress.training.features import with_features
from tests.lifting import lifted


class MakesTensors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x) + torch.arange(4, device=x.device) * torch.full((4,), 2.0, device=x.device)
        mask = torch.ones(4, 4, device=x.device).tril() == 0
        x = (x[:, None] * torch.eye(4, device=x.device)).masked_fill(mask, 0.0)
        return x.sum(1) + torch.linspace(0, 1, 4).to(x.device) + torch.tensor([1.0], device=x.device)


@pytest.mark.parametrize("copied", [False, True])
def test_constants_of_a_device_follow_the_weights(copied: bool) -> None:
    module, x = MakesTensors().eval(), torch.randn(3, 4)
    graph, _, _ = lifted(module, x.numpy())
    moved = copy.deepcopy(graph) if copied else graph
    assert moved.to("meta")(x.to("meta")).device.type == "meta"
    if copied:
        torch.testing.assert_close(graph(x), module(x))


def test_a_graph_with_features_follows_too() -> None:
    graph, _, _ = lifted(MakesTensors().eval(), torch.randn(3, 4).numpy())
    name = next(node.name for node in graph.graph.nodes if node.op == "call_module")
    outputs = with_features(graph, [name]).to("meta")(torch.randn(3, 4, device="meta"))
    assert [each.device.type for each in outputs] == ["meta", "meta"]


def test_moving_there_and_back_changes_nothing() -> None:
    module, x = MakesTensors().eval(), torch.randn(3, 4)
    graph, _, _ = lifted(module, x.numpy())
    code = graph.code
    assert graph.to("cpu").double().float().code == code
    torch.testing.assert_close(graph(x), module(x))
