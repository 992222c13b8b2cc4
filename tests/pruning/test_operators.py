"""One operator at a time, between two layers: what it ties, and that random units can go through it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from compress.pruning import random_batch, remove
from tests.pruning.test_groups import channels_of


class Between(nn.Module):
    """Channels, an operator, a layer that reads whatever comes out of it."""

    def __init__(
        self, operator: Callable[[torch.Tensor], torch.Tensor], rank: int, **layers: nn.Module
    ) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8) if rank < 4 else nn.Conv2d(3, 8, 3, padding=1)
        self.operator, self.layers = operator, nn.ModuleDict(layers)
        shape = operator(self.first(example(rank)), **self.layers).shape
        self.axis = 1 if rank == 4 and len(shape) == 4 else -1
        self.second = nn.Linear(shape[self.axis], 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.operator(self.first(x), **self.layers).movedim(self.axis, -1))


def example(rank: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn({2: (4, 3), 3: (4, 6, 3), 4: (4, 3, 4, 4)}[rank], generator=generator)


def masked(x: torch.Tensor) -> torch.Tensor:
    return x.masked_fill(x < 0, -1.0)


def with_mask(x: torch.Tensor) -> torch.Tensor:
    heads = x.view(-1, 6, 2, 4).transpose(1, 2)
    mask = torch.ones(6, 6).tril().log()
    return F.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask).transpose(1, 2).flatten(2)


def grouped_queries(x: torch.Tensor, key: nn.Module) -> torch.Tensor:
    query, keys = x.view(-1, 6, 4, 2).transpose(1, 2), key(x).view(-1, 6, 2, 2).transpose(1, 2)
    return F.scaled_dot_product_attention(query, keys, keys, enable_gqa=True).transpose(1, 2).flatten(2)


def batched_products(x: torch.Tensor) -> torch.Tensor:
    rows = x.view(-1, 6, 2, 4).permute(2, 0, 1, 3).reshape(-1, 6, 4)
    mixed = torch.bmm(torch.bmm(rows, rows.transpose(1, 2)), rows)
    return mixed.view(2, -1, 6, 4).permute(1, 2, 0, 3).reshape(-1, 6, 8)


def repeated(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x.repeat(1, 1, 2), x.unsqueeze(-1).expand(-1, -1, -1, 3).flatten(2)], -1)


def from_constants(x: torch.Tensor) -> torch.Tensor:
    zeros = torch.zeros(x.shape[0], 6, 8)
    return torch.cat([x, zeros + x.flip(-1), torch.full_like(x, 0.5)], -1)


def rotated(x: torch.Tensor) -> torch.Tensor:
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even - odd, even + odd], -1).flatten(-2)


def parts(x: torch.Tensor) -> torch.Tensor:
    first, second, third = x.tensor_split(3, -1)
    return torch.cat([third, second.neg(), first, x.narrow(-1, 2, 3), x[..., -3:]], -1)


def root_mean_square(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, dim=-1) + x / x.norm(dim=-1, keepdim=True) + F.rms_norm(x, (8,))


def statistics(x: torch.Tensor) -> torch.Tensor:
    both = torch.cat(
        [x.sigmoid().sum(-1, keepdim=True), x.var(-1, keepdim=True), x.amax(-1, keepdim=True)], -1
    )
    return torch.cat([x, both], -1)


OPERATORS: dict[str, tuple[Callable[..., torch.Tensor], int, dict[str, nn.Module], int]] = {
    # name: (operator, rank of the channels' tensor, its layers, free units in all)
    "masked_fill": (masked, 3, {}, 8),
    "attention_mask": (with_mask, 3, {}, 6),
    # The keys' heads, the queries of each, and dimensions.
    "grouped_queries": (grouped_queries, 3, {"key": nn.Linear(8, 4)}, 2 + 2 + 2),
    "bmm": (batched_products, 3, {}, 6),
    "repeat_and_expand": (repeated, 3, {}, 8 + 3),
    "zeros_and_full": (from_constants, 3, {}, 8),
    "every_second": (rotated, 3, {}, 4),
    "parts": (parts, 3, {}, 8),
    "root_mean_square": (root_mean_square, 3, {}, 8),
    "statistics": (statistics, 3, {}, 8),
    "glu": (lambda x: F.glu(x, -1), 3, {}, 4),
    "movedim": (lambda x: x.movedim(-1, 1).movedim(1, 2), 3, {}, 8),
    "where": (lambda x: torch.where(x > 0, x, 0.1 * x), 3, {}, 8),
    "roll": (lambda x: torch.roll(x, 1, 1), 3, {}, 8),
    "einsum_ellipsis": (lambda x: torch.einsum("...d,...d->...", x, x)[..., None] * x, 3, {}, 8),
    "group_norm": (lambda x: F.group_norm(x, 4), 4, {}, 6),
    "pad_and_crop": (lambda x: F.pad(x, (1, 2, 1, 1))[..., 1:-1, 1:-2], 4, {}, 8),
    "padded_channels": (lambda x: F.pad(x, (0, 0, 0, 0, 0, 2)), 4, {}, 0),
    "im2col": (lambda x: F.unfold(x, 2).transpose(1, 2), 4, {}, 8),
    "max_pool": (lambda x: F.max_pool2d(x, 2, ceil_mode=True), 4, {}, 8),
    "channel_attention": (lambda x: x * x.mean(1, keepdim=True) + x.amax(1, keepdim=True), 4, {}, 8),
    "softmax_over_channels": (lambda x: x.softmax(1), 4, {}, 0),
    "argmax_over_channels": (lambda x: x + x.argmax(1, keepdim=True), 4, {}, 0),
    "spatial_softmax": (lambda x: x * x.flatten(2).softmax(2).view(x.shape), 4, {}, 8),
    "grouped_transposed": (
        lambda x, up: up(x),
        4,
        {"up": nn.ConvTranspose2d(8, 12, 2, 2, groups=2)},
        2 + 4 + 6,
    ),
    "lstm_projected": (
        lambda x, lstm: lstm(x)[0],
        3,
        {"lstm": nn.LSTM(8, 10, proj_size=6, batch_first=True)},
        8 + 10 + 6,
    ),
    "rnn": (lambda x, rnn: rnn(x)[0], 3, {"rnn": nn.RNN(8, 6, 2, batch_first=True)}, 8 + 6),
    "layer_norm_of_two_axes": (lambda x, norm: norm(x), 3, {"norm": nn.LayerNorm((6, 8))}, 8),
    "multi_head_attention": (
        lambda x, mix: mix(x, x, x)[0],
        3,
        {"mix": nn.MultiheadAttention(8, 2, batch_first=True)},
        8 + 2 + 4 + 8,
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_units_can_go(name: str) -> None:
    torch.manual_seed(0)
    operator, rank, layers, free = OPERATORS[name]
    x = example(rank)
    channels = channels_of(Between(operator, rank, **layers).eval(), x.numpy())
    assert free == 0 or channels.notes == ()
    assert sum(map(len, channels.groups)) == free
    generator = np.random.default_rng(0)
    units = {
        group.name: generator.choice(len(group), max(1, len(group) // 3), replace=False)
        for group in channels.groups
    }
    smaller = remove(channels, units, random_batch([x], [True]))
    assert sum(each.numel() for each in smaller.parameters()) == channels.parameters(units)
