"""What counts as a unit: what is computed with, whatever else lies beside it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.network.network import load_network
from compress.pruning import Channels, find_channels, random_batch, remove


def channels_of(module: nn.Module, *example: torch.Tensor) -> Channels:
    network = load_network(module.eval(), example=[each.numpy() for each in example])
    assert network.graph is not None
    return find_channels(network.graph, [torch.from_numpy(array) for array in network.sample])


class Positions(nn.Module):
    """Tokens with positions out of a table that is longer than any example."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.tokens = nn.Embedding(40, 16)
        self.first, self.second, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 5)
        self.table = nn.Parameter(torch.randn(1, 512, 16))
        self.places = nn.Embedding(512, 16)
        self.register_buffer("numbers", torch.arange(512)[None])
        self.register_buffer("types", torch.zeros(1, 512, dtype=torch.long))

    def forward(self, ids):
        length = ids.shape[1]
        if self.kind == "table":
            added = self.table[:, :length]
        elif self.kind == "buffer":
            added = self.places(self.numbers[:, :length])
        else:
            added = self.places(self.numbers[:, 3 : length + 3]) + self.places(
                self.types.expand(ids.shape[0], 512)[:, :length]
            )
        x = self.tokens(ids) + added
        return self.head((x + self.second(torch.relu(self.first(x)))).mean(1))


@pytest.mark.parametrize("kind", ["table", "buffer", "expanded"])
def test_rows_that_are_not_looked_up_are_no_units(kind: str) -> None:
    channels = channels_of(Positions(kind), torch.randint(0, 40, (2, 12)))
    assert sorted(len(group) for group in channels.groups) == [16, 32]
    assert all(group.macs > 0 for group in channels.groups)


class Attended(nn.Module):
    """Spatial attention on statistics over all channels, as CBAM has it."""

    def __init__(self, statistic) -> None:
        super().__init__()
        self.statistic = statistic
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.gate = nn.Conv2d(2, 1, 3, padding=1)
        self.last = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x):
        h = torch.relu(self.first(x))
        pooled = torch.cat([self.statistic(h), h.mean(1, keepdim=True)], 1)
        return self.last(h * torch.sigmoid(self.gate(pooled)))


STATISTICS = {
    "amax": lambda h: h.amax(1, keepdim=True),
    "max, first": lambda h: h.max(1, keepdim=True)[0],
    "min, values": lambda h: torch.min(h, dim=1, keepdim=True).values,
    "max, unpacked": lambda h: torch.max(h, dim=1, keepdim=True)[:1][0],
    "median": lambda h: h.median(1, keepdim=True).values,
    "std_mean": lambda h: torch.std_mean(h, dim=1, keepdim=True)[0],
    "aminmax": lambda h: torch.aminmax(h, dim=1, keepdim=True).max,
}


@pytest.mark.parametrize("name", STATISTICS)
def test_channels_go_from_under_a_statistic_over_them(name: str) -> None:
    torch.manual_seed(0)
    channels = channels_of(Attended(STATISTICS[name]), torch.randn(2, 3, 6, 6))
    assert {group.name: len(group) for group in channels.groups} == {"first": 8}
    assert not channels.notes
    smaller = remove(channels, {"first": [1, 4, 6]}, random_batch(channels.example, [True]))
    assert smaller.get_submodule("first").weight.shape[0] == 5


def test_channels_whose_positions_are_read_stay_and_it_is_told() -> None:
    channels = channels_of(Attended(lambda h: h.max(1, keepdim=True)[1].float()), torch.randn(2, 3, 6, 6))
    assert not channels.groups
    assert any("max" in note and "test_units.py" in note for note in channels.notes)


class Repeated(nn.Module):
    """One of two channels beside the features is repeated over all of them."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.first, self.pair, self.head = nn.Linear(6, 24), nn.Linear(24, 2), nn.Linear(24, 5)

    def forward(self, x):
        x = torch.relu(self.first(x))
        if self.how == "split":
            one, other = self.pair(x).split(1, dim=-1)
        elif self.how == "chunk":
            one, other = self.pair(x).chunk(2, dim=-1)
        else:
            one, other = self.pair(x)[..., :1], self.pair(x)[..., 1:]
        if self.how == "broadcast":
            return self.head(x * one + other)
        return self.head(torch.where(x > 1, one.expand(-1, 24), other.expand(-1, 24)))


@pytest.mark.parametrize("how", ["split", "chunk", "slice", "broadcast"])
def test_an_index_that_is_repeated_stays(how: str) -> None:
    channels = channels_of(Repeated(how), torch.randn(3, 6))
    assert sorted(len(group) for group in channels.groups) == [24]
    name = channels.groups[0].name
    sliced = remove(channels, {name: [0, 5]}, [torch.randn(4, 6)])
    assert sliced(torch.randn(4, 6)).shape == (4, 5)
