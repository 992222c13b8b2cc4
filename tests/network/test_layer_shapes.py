from __future__ import annotations

import torch
from torch import nn

from compress.network.layer_shapes import shapes_seen, timed_batch
from compress.network.network import load_network


def test_shapes_at_the_rows_that_are_timed_and_a_graph_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(72, 5))
    network = load_network(module, example={"x": torch.randn(2, 3, 8, 8).numpy()})
    graph = network.graph
    assert graph is not None
    graph.train()
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    shapes = shapes_seen(graph, timed_batch(network, 4))
    assert list(shapes.values()) == [((4, 3, 8, 8), (4, 8, 3, 3)), ((4, 72), (4, 5))]
    assert graph.training
    for name, value in graph.state_dict().items():
        assert torch.equal(value, before[name]), name
