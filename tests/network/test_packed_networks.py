"""A network that is packed for another process computes there what it computes here."""

from __future__ import annotations

import pickle

import pytest
import torch

from compress.network.network import load_network
from compress.network.packing import packed
from tests.networks import NETWORKS, DepthwiseCNN, LSTMNet, ResidualCNN, VisionTransformer

pytest.importorskip("ray")


@pytest.mark.parametrize("kind", [ResidualCNN, DepthwiseCNN, VisionTransformer, LSTMNet])
def test_a_network_that_was_packed_is_the_same_network(kind: type[torch.nn.Module]) -> None:
    network = load_network(kind().eval(), example=list(NETWORKS[kind].values()))
    unpacked = pickle.loads(packed(network))
    assert unpacked.identity == network.identity
    assert unpacked.inputs == network.inputs
    sample = [torch.from_numpy(array) for array in network.sample]
    with torch.no_grad():
        assert torch.equal(unpacked.graph(*sample)[0], network.graph(*sample)[0])
