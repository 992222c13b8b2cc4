"""Networks that take their samples along another axis than the first."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from compress.api.prune import prune
from compress.network.network import load_network
from compress.pruning import find_channels, random_batch


def _encoder() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=False)
    return nn.Sequential(nn.TransformerEncoder(layer, 1), nn.Linear(16, 3)).eval()


def test_heads_go_where_samples_lie_along_the_second_axis(tmp_path) -> None:
    data = {"input": np.random.default_rng(0).standard_normal((24, 7, 16)).astype(np.float32)}
    result = prune(_encoder(), data=data, target="jetson", ratio=0.3, out=tmp_path / "pruned.pt2")
    original, pruned = result.networks
    assert pruned.parameters < original.parameters
    module = torch.export.load(str(tmp_path / "pruned.pt2")).module()
    one, other = torch.randn(7, 1, 16), torch.randn(7, 4, 16)
    with torch.no_grad():
        together = module(torch.cat([one, other], 1))
        torch.testing.assert_close(together, torch.cat([module(one), module(other)], 1), atol=1e-4, rtol=1e-4)


def test_work_is_counted_by_sample_and_another_number_of_samples_is_drawn() -> None:
    layer = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    network = load_network(layer, example=[np.ones((2, 7, 16), np.float32)], batch_axis={"": 1})
    assert network.graph is not None
    example = [torch.from_numpy(array) for array in network.sample]
    channels = find_channels(network.graph, example, (0, 1))
    assert channels.macs() == 7 * (16 * 8 + 8 * 3)
    [drawn] = random_batch(example, [True], axes=[1])
    assert drawn.shape == (7, 3, 16)
