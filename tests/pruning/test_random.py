"""Whatever is drawn from the known operators: any units can go, and the sliced network is the masked one."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compress.network.network import load_network
from compress.pruning import find_channels, random_batch, remove
from tests.pruning.random_networks import SIZE, RandomNetwork


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_any_units_can_go(data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 99)))
    module = RandomNetwork(data, data.draw(st.integers(2, 8))).eval()
    x = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)
    network = load_network(module, example={"x": x})
    assert network.graph is not None
    state = {name: each.clone() for name, each in network.graph.state_dict().items()}
    example = [torch.from_numpy(x)]
    channels = find_channels(network.graph, example)
    assert channels.notes == ()
    draws = np.random.default_rng(data.draw(st.integers(0, 99)))
    units = {
        group.name: draws.choice(len(group), draws.integers(1, len(group)), replace=False)
        for group in channels.groups
        if draws.random() < 0.7
    }
    count = len(channels.propagation.atoms)
    smaller = remove(channels, units, random_batch(example, [True]))
    assert sum(each.numel() for each in smaller.parameters()) == channels.parameters(units)
    assert len(channels.propagation.atoms) == count  # removing states nothing new
    assert all(torch.equal(each, state[name]) for name, each in network.graph.state_dict().items())
