"""Every family: found, pruned by 30 %, equal to the masked network, smaller, trained, exported, run."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from compress.network.network import Network, load_network
from compress.pruning import Channels, choose, find_channels, magnitude, random_batch, remove
from tests.pruning.zoo import ZOO, build, dense, images, sequences, transformers

RATIO = 0.3

#: Exporting takes seconds: of every kind of network one; the others are marked slow.
EXPORTED_ALWAYS = (
    images.ResNet,
    images.ShuffleNet,
    dense.YOLO,
    transformers.ViT,
    transformers.LLaMA,
    sequences.BiLSTM,
    sequences.MultiOutput,
)


@cache
def loaded(kind: type[nn.Module]) -> Network:
    return load_network(build(kind), example=ZOO[kind])


def example(kind: type[nn.Module]) -> list[torch.Tensor]:
    return [torch.from_numpy(array[:2].copy()) for array in ZOO[kind].values()]


@cache
def found(kind: type[nn.Module]) -> Channels:
    graph = loaded(kind).graph
    assert graph is not None
    return find_channels(graph, example(kind))


@cache
def pruned(kind: type[nn.Module]) -> torch.fx.GraphModule:
    channels = found(kind)
    batch = random_batch(example(kind), [spec.dynamic_batch for spec in loaded(kind).inputs])
    return remove(channels, choose(channels, magnitude(channels), RATIO), batch)


@pytest.fixture(params=list(ZOO), ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[nn.Module]:
    architecture: type[nn.Module] = request.param
    return architecture


def test_every_operator_is_known(kind: type[nn.Module]) -> None:
    assert found(kind).notes == ()
    assert found(kind).groups


def test_pruned_equals_masked_and_is_smaller(kind: type[nn.Module]) -> None:
    graph = pruned(kind)  # remove() compares it with the masked network
    channels = found(kind)
    units = choose(channels, magnitude(channels), RATIO)
    wanted = sum(len(group) for group in channels.groups) * RATIO
    assert sum(map(len, units.values())) >= 0.8 * wanted
    size = sum(each.numel() for each in graph.parameters())
    assert size == channels.parameters(units) < 0.85 * channels.parameters()
    assert channels.macs(units) < channels.macs()


def test_trains_a_step(kind: type[nn.Module]) -> None:
    graph = copy.deepcopy(pruned(kind)).train()
    before = {name: each.clone() for name, each in graph.named_parameters()}
    results = graph(*(torch.from_numpy(array) for array in ZOO[kind].values()))
    outputs = results if isinstance(results, tuple) else (results,)
    sum((each**2).sum() for each in outputs).backward()
    torch.optim.SGD(graph.parameters(), 0.1).step()
    assert any(not torch.equal(each, before[name]) for name, each in graph.named_parameters())


@pytest.mark.parametrize(
    "kind",
    [each if each in EXPORTED_ALWAYS else pytest.param(each, marks=pytest.mark.slow) for each in ZOO],
    ids=lambda kind: kind.__name__,
)
def test_runs_in_onnx_runtime(kind: type[nn.Module]) -> None:
    network = loaded(kind).with_graph(pruned(kind))
    session = onnxruntime.InferenceSession(network.to_onnx().SerializeToString())
    names = [spec.name for spec in network.inputs]
    results = session.run(None, dict(zip(names, ZOO[kind].values(), strict=True)))
    with torch.no_grad():
        expected = pruned(kind)(*(torch.from_numpy(array) for array in ZOO[kind].values()))
    expected = expected if isinstance(expected, tuple) else (expected,)
    for result, wanted, spec in zip(results, expected, network.outputs, strict=True):
        assert result.shape[1:] == tuple(spec.shape[1:])
        np.testing.assert_allclose(result, wanted.numpy(), atol=1e-4 * float(wanted.abs().max()))
