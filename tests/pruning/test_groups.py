from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import RecipeError
from compress.network.network import load_network
from compress.pruning import Channels, Group, find_channels
from tests.networks import NETWORKS as SIMPLE
from tests.networks import FusedAttention, LSTMNet, ResidualCNN, TiedWeights
from tests.networks import build as build_simple
from tests.pruning.zoo import ZOO, build, dense, images, transformers


def channels_of(module: nn.Module, *arrays: np.ndarray) -> Channels:
    graph = load_network(module, example=list(arrays)).graph
    assert graph is not None
    return find_channels(graph, [torch.from_numpy(array[:2].copy()) for array in arrays])


def simple(kind: type[nn.Module]) -> Channels:
    return channels_of(build_simple(kind), *SIMPLE[kind].values())


def of_zoo(kind: type[nn.Module]) -> Channels:
    return channels_of(build(kind), *ZOO[kind].values())


def places(group: Group) -> dict[tuple[str, int], list[list[int]]]:
    return {(member.tensor, member.axis): member.indices.tolist() for member in group.members}


def test_a_residual_sum_ties_what_it_adds() -> None:
    channels = simple(ResidualCNN)
    assert [(group.name, len(group)) for group in channels.groups] == [
        ("stem", 8),
        ("layers.0.conv1", 8),
        ("layers.1.conv1", 16),
        ("layers.1.conv2", 16),
    ]
    stem = places(channels.group("stem"))
    each = [[index] for index in range(8)]
    assert stem["stem.weight", 0] == stem["layers.0.conv2.weight", 0] == each
    assert stem["layers.0.bn2.running_var", 0] == stem["layers.1.shortcut.weight", 1] == each
    assert ("layers.0.conv2.weight", 1) not in stem


def test_fused_attention_has_heads_and_dimensions() -> None:
    heads, dimensions = simple(FusedAttention).groups
    assert places(heads)["qkv.weight", 0][1] == [4, 5, 6, 7, 20, 21, 22, 23, 36, 37, 38, 39]
    assert places(dimensions)["qkv.weight", 0][1] == [
        part * 16 + head * 4 + 1 for part in range(3) for head in range(4)
    ]
    assert places(heads)["project.weight", 1][0] == [0, 1, 2, 3]


def test_a_hidden_unit_is_a_row_in_every_gate() -> None:
    (units,) = simple(LSTMNet).groups
    held = places(units)
    assert held["lstm.weight_ih_l0", 0][5] == held["lstm.bias_hh_l0", 0][5] == [5, 17, 29, 41]
    assert held["lstm.weight_hh_l0", 1][5] == [5]
    assert held["head.weight", 1][5] == [5, 17]


def test_tied_weights_are_one() -> None:
    (group,) = simple(TiedWeights).groups
    assert sum(member.tensor in ("embedding.weight", "head.weight") for member in group.members) == 1
    assert group.parameters == 10 + 8 + 8 + 1


def test_grouped_queries_go_with_the_key_that_serves_them() -> None:
    groups = of_zoo(transformers.LLaMA).groups
    heads = next(group for group in groups if ("key.weight", 0) in places(group) and len(group) == 2)
    assert places(heads)["query.weight", 0][1] == list(range(16, 32))
    assert places(heads)["value.weight", 0][1] == list(range(8, 16))
    turned = next(group for group in groups if ("cos", 1) in places(group))
    assert places(turned)["cos", 1][1] == [1, 5]  # rotary positions turn pairs


def test_the_halves_of_a_convolution_are_groups_of_their_own() -> None:
    groups = [group for group in of_zoo(dense.YOLO).groups if ("block.first.0.weight", 0) in places(group)]
    assert [len(group) for group in groups] == [6, 6]
    tied = next(group for group in groups if ("block.blocks.0.second.0.weight", 0) in places(group))
    assert places(tied)["block.last.0.weight", 1][0] == [6, 12, 18]


def test_flattened_channels_are_columns_of_the_linear_layer() -> None:
    channels = of_zoo(images.VGG)
    assert places(channels.group("features.4"))["classifier.1.weight", 1][2] == [8, 9, 10, 11]


class _Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.sort(torch.relu(self.first(x)), 1)[0]
        return self.head(torch.relu(self.second(x)))


def test_an_unknown_operator_keeps_its_neighbours_and_is_named() -> None:
    channels = channels_of(_Unknown(), np.ones((2, 6), np.float32))
    assert [group.name for group in channels.groups] == ["second"]
    (note,) = channels.notes
    assert note.startswith("aten.sort.default at ")
    assert "test_groups.py" in note


def test_a_unit_costs_what_its_removal_saves() -> None:
    channels = simple(ResidualCNN)
    for group in channels.groups:
        one = {group.name: [0]}
        assert channels.parameters() - channels.parameters(one) == group.parameters
        assert channels.macs() - channels.macs(one) == pytest.approx(group.macs)


class ReadTwice(nn.Module):
    """The first of four units is read a second time, so that it costs other than they do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        units = torch.relu(self.first(x))
        return self.last(torch.cat([units, units[:, :1]], 1))


def test_a_unit_without_a_rival_is_no_group() -> None:
    (group,) = channels_of(ReadTwice(), np.ones((2, 6), np.float32)).groups
    assert places(group) == {
        ("first.weight", 0): [[1], [2], [3]],
        ("first.bias", 0): [[1], [2], [3]],
        ("last.weight", 1): [[1], [2], [3]],
    }


def test_an_unknown_group_is_refused_with_a_suggestion() -> None:
    with pytest.raises(RecipeError, match="did you mean stem"):
        simple(ResidualCNN).removed({"stemm": [0]})
