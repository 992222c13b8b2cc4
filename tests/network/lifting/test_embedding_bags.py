"""Embedding bags of one length: a lookup and what is made of the entries of each bag."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from compress.network.network import load_network

RANDOM = np.random.default_rng(0)


class Bags(nn.Module):
    def __init__(self, *, factors: bool = False, **settings: object) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(30, 8, **settings)
        self.factors = factors
        self.head = nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        factors = (ids.float() / 7).cos() if self.factors else None
        return self.head(self.table(ids, per_sample_weights=factors))


class WithPlaces(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(30, 8)

    def forward(self, ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        return self.table(ids, places)


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "sum"},
        {"mode": "mean"},
        {"mode": "max"},
        {"mode": "sum", "factors": True},
        {"mode": "sum", "padding_idx": 3},
        {"mode": "sum", "padding_idx": 3, "factors": True},
        {"mode": "mean", "padding_idx": 3},
        {"mode": "max", "padding_idx": 3},
    ],
    ids=str,
)
def test_bags_of_one_length_are_a_lookup_and_a_reduction(settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    module = Bags(**settings).eval()
    with torch.no_grad():
        module.table.weight[3] = 5.0  # padding counts for nothing, whatever its row holds
    ids = RANDOM.integers(0, 6, (5, 4))
    ids[0] = 3
    network = load_network(module, example=[ids])
    assert network.graph is not None
    assert any(isinstance(each, nn.Embedding) for each in network.graph.modules())
    assert network.inputs[0].shape == ("batch", 4)
    assert network.outputs[0].shape == ("batch", 3)
    model = network.to_onnx()
    assert not {node.op_type for node in model.graph.node} & {"Loop", "SequenceEmpty", "SequenceAt"}
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"ids": ids[:3]})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(torch.from_numpy(ids[:3])), rtol=1e-4, atol=1e-5)
