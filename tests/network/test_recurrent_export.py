"""Plain recurrent layers and projected LSTMs in ONNX: whole layers, for sequences of any length."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from compress.api.inputs import load_bound
from compress.data.task import load_task
from compress.network.network import Network, load_network

RANDOM = np.random.default_rng(0)


class Around(nn.Module):
    """A recurrent layer, its steps and its last states; from given states where asked."""

    def __init__(self, layer: nn.RNNBase, *, given: bool = False) -> None:
        super().__init__()
        self.layer, self.given = layer, given

    def forward(self, x: torch.Tensor) -> Any:
        if not self.given:
            return self.layer(x)
        layer = self.layer
        rows = x.shape[0 if layer.batch_first else 1]
        count = layer.num_layers * (2 if layer.bidirectional else 1)
        hidden = torch.linspace(-1, 1, layer.proj_size or layer.hidden_size).repeat(count, rows, 1)
        if isinstance(layer, nn.LSTM):
            return self.layer(x, (hidden, torch.ones(count, rows, layer.hidden_size)))
        return self.layer(x, hidden)


def check(module: nn.Module, network: Network, x: np.ndarray, operators: set[str]) -> None:
    model = network.to_onnx()
    assert {node.op_type for node in model.graph.node} & {"RNN", "LSTM", "GRU", "Loop", "Scan"} == operators
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = session.run(None, {network.inputs[0].name: x})
    with torch.no_grad():
        steps, states = module(torch.from_numpy(x))
    wanted = (steps, *states) if isinstance(states, tuple) else (steps, states)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-5)


LAYERS = {
    "tanh": (lambda: nn.RNN(4, 6, batch_first=True), "RNN"),
    "relu": (lambda: nn.RNN(4, 6, nonlinearity="relu", bias=False, batch_first=True), "RNN"),
    "both directions": (lambda: nn.RNN(4, 6, num_layers=2, bidirectional=True, batch_first=True), "RNN"),
    "projected": (lambda: nn.LSTM(4, 6, proj_size=3, batch_first=True), "LSTM"),
    "projected twice": (
        lambda: nn.LSTM(4, 6, num_layers=2, proj_size=3, bidirectional=True, bias=False, batch_first=True),
        "LSTM",
    ),
}


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_written_whole(name: str, given: bool) -> None:
    torch.manual_seed(0)
    make, operator = LAYERS[name]
    module = Around(make(), given=given).eval()
    x = RANDOM.standard_normal((3, 5, 4)).astype(np.float32)
    network = load_network(module, example=[x])
    assert network.inputs[0].shape == ("batch", 5, 4)
    check(module, network, RANDOM.standard_normal((2, 5, 4)).astype(np.float32), {operator})


@pytest.mark.parametrize("name", LAYERS)
def test_the_length_stays_open_where_the_data_varies(name: str) -> None:
    torch.manual_seed(0)
    make, operator = LAYERS[name]
    module = Around(make()).eval()
    data = [
        {"x": RANDOM.standard_normal((4, length, 4)).astype(np.float32)}
        for length in (7, 9)
        for _ in range(3)
    ]
    network, _ = load_bound(load_task(data), module)
    assert network.inputs[0].shape == ("batch", "time", 4)
    check(module, network, RANDOM.standard_normal((2, 23, 4)).astype(np.float32), {operator})


def test_the_length_stays_open_where_time_comes_first() -> None:
    module = Around(nn.RNN(4, 6)).eval()
    network = load_network(module, example=[RANDOM.standard_normal((3, 5, 4)).astype(np.float32)])
    assert network.inputs[0].shape == ("time", "batch", 4)
    check(module, network, RANDOM.standard_normal((11, 2, 4)).astype(np.float32), {"RNN"})


def test_the_network_keeps_its_projected_layer() -> None:
    network = load_network(
        Around(nn.LSTM(4, 6, proj_size=3, batch_first=True)), example=[np.ones((2, 5, 4), np.float32)]
    )
    network.to_onnx()
    assert network.graph is not None
    assert [each.proj_size for each in network.graph.modules() if isinstance(each, nn.LSTM)] == [3]
