"""Where Torch-Pruning (Fang et al. 2023, arXiv 2301.12900) can follow a network, it finds the same groups."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.network.network import load_network
from compress.pruning import find_channels
from compress.pruning.rules.layers import OUTPUT_AXIS
from tests.pruning.zoo import ZOO, build, dense, images, sequences

torch_pruning = pytest.importorskip("torch_pruning", reason="Torch-Pruning is not installed")

#: A layer, and which of its sides shrinks.
Side = tuple[str, str]

NETWORKS = [
    images.ResNet,
    images.PreActivationResNet,
    images.VGG,
    images.DenseNet,
    images.Inception,
    images.MobileNetV2,
    images.MobileNetV3,
    images.EfficientNet,
    dense.UNet,
    dense.FeaturePyramid,
    sequences.Siamese,
]


def theirs(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> set[frozenset[Side]]:
    graph = torch_pruning.DependencyGraph().build_dependency(module, example_inputs=inputs)
    names = {layer: name for name, layer in module.named_modules()}
    shown = [layer for name, layer in module.named_modules() if name in ("head", "classifier.4")]
    groups = set()
    for group in graph.get_all_groups(ignored_layers=shown):
        sides = {
            (
                names[item.dep.target.module],
                "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in",
            )
            for item in group
            if item.dep.target.module in names
        }
        groups.add(
            frozenset(
                side for side in sides if is_two_sided(module.get_submodule(side[0])) or side[1] == "out"
            )
        )
    return groups


def ours(module: nn.Module, kind: type[nn.Module]) -> set[frozenset[Side]]:
    graph = load_network(module, example=ZOO[kind]).graph
    assert graph is not None
    channels = find_channels(graph, [torch.from_numpy(array[:2]) for array in ZOO[kind].values()])
    groups = set()
    for group in channels.groups:
        sides = set()
        for member in group.members:
            layer, _, tensor = member.tensor.rpartition(".")
            axis = OUTPUT_AXIS.get(type(module.get_submodule(layer)), 0)
            sides.add((layer, "out" if tensor != "weight" or member.axis == axis else "in"))
        groups.add(frozenset(sides))
    return groups


def is_two_sided(layer: nn.Module) -> bool:
    """Whether a layer's inputs and outputs are other channels: not a norm, not a depthwise convolution."""
    if isinstance(layer, nn.Linear):
        return True
    convolutions = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
    return isinstance(layer, convolutions) and layer.groups == 1


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
def test_the_same_groups(kind: type[nn.Module]) -> None:
    module = build(kind)
    inputs = tuple(torch.from_numpy(array) for array in ZOO[kind].values())
    assert ours(module, kind) == theirs(build(kind), inputs)
