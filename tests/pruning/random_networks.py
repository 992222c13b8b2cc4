"""Networks drawn at random from the operators that channel groups have rules for."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import strategies as st
from torch import nn

Draw = st.DataObject

SIZE = 4  # height and width of every map


class Step(nn.Module):
    """One operation: layers, and what is computed from maps with them."""

    def __init__(self, compute: Callable[..., torch.Tensor], *operands: int, **layers: nn.Module) -> None:
        super().__init__()
        self.compute, self.operands = compute, operands
        self.layers = nn.ModuleDict(layers)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return self.compute(*(maps[operand] for operand in self.operands), **self.layers)


class RandomNetwork(nn.Module):
    """Steps that take any maps before them; the last two are joined and classified."""

    def __init__(self, data: Draw, steps: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.widths = [8]
        self.steps = nn.ModuleList()
        for _ in range(steps):
            step, width = data.draw(st.sampled_from(KINDS))(data, self.widths)
            self.steps.append(step)
            self.widths.append(width)
        self.head = nn.Linear(self.widths[-1] + self.widths[-2], 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [self.stem(x)]
        for step in self.steps:
            maps.append(step(maps))
        return self.head(torch.cat(maps[-2:], 1).mean((2, 3)))


Kind = Callable[[Draw, list[int]], tuple[Step, int]]


def _one(data: Draw, widths: list[int]) -> tuple[int, int]:
    """A map, recent ones more often, and its width."""
    operand = data.draw(st.integers(max(0, len(widths) - 3), len(widths) - 1))
    return operand, widths[operand]


def convolution(data: Draw, widths: list[int]) -> tuple[Step, int]:
    operand, width = _one(data, widths)
    groups = data.draw(st.sampled_from([each for each in (1, 2, 4) if width % each == 0]))
    outputs = data.draw(st.sampled_from([4, 8, 12]))
    layer = nn.Conv2d(width, outputs, 3, padding=1, groups=groups)
    return Step(lambda x, layer: layer(x), operand, layer=layer), outputs


def transposed(data: Draw, widths: list[int]) -> tuple[Step, int]:
    operand, width = _one(data, widths)
    groups = data.draw(st.sampled_from([each for each in (1, 2) if width % each == 0]))
    layer = nn.ConvTranspose2d(width, 8, 3, padding=1, groups=groups)
    return Step(lambda x, layer: layer(x), operand, layer=layer), 8


def depthwise(data: Draw, widths: list[int]) -> tuple[Step, int]:
    operand, width = _one(data, widths)
    layer = nn.Conv2d(width, width, 3, padding=1, groups=width)
    return Step(lambda x, layer: layer(x), operand, layer=layer), width


def norm(data: Draw, widths: list[int]) -> tuple[Step, int]:
    operand, width = _one(data, widths)
    kinds = [nn.BatchNorm2d(width), nn.InstanceNorm2d(width, affine=True), nn.PReLU(width)]
    kinds += [nn.GroupNorm(groups, width) for groups in (1, 2, 4) if width % groups == 0]
    layer = data.draw(st.sampled_from(kinds))
    return Step(lambda x, layer: layer(x), operand, layer=layer), width


def activation(data: Draw, widths: list[int]) -> tuple[Step, int]:
    operand, width = _one(data, widths)
    functions = [
        F.relu,
        torch.sigmoid,
        F.silu,
        F.hardswish,
        lambda x: x.flip(1),
        lambda x: F.avg_pool2d(x, 3, 1, 1),
    ]
    return Step(data.draw(st.sampled_from(functions)), operand), width


def addition(data: Draw, widths: list[int]) -> tuple[Step, int]:
    one, width = _one(data, widths)
    other, other_width = _one(data, widths)
    layer = nn.Identity() if width == other_width else nn.Conv2d(other_width, width, 1)
    return Step(lambda x, y, layer: x + layer(y), one, other, layer=layer), width


def joined(data: Draw, widths: list[int]) -> tuple[Step, int]:
    one, width = _one(data, widths)
    other, other_width = _one(data, widths)
    layer = nn.Conv2d(width + other_width, 8, 1)
    return Step(lambda x, y, layer: layer(torch.cat([x, y], 1)), one, other, layer=layer), 8


def halves(data: Draw, widths: list[int]) -> tuple[Step, int]:
    operand, width = _one(data, widths)

    def compute(x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
        passed, changed = x.chunk(2, 1)
        return torch.cat([layer(changed), passed], 1)

    return Step(compute, operand, layer=nn.Conv2d(width // 2, width // 2, 1)), width // 2 * 2


def uneven(data: Draw, widths: list[int]) -> tuple[Step, int]:
    operand, width = _one(data, widths)
    first = data.draw(st.integers(1, width - 1))

    def compute(x: torch.Tensor, one: nn.Module, other: nn.Module) -> torch.Tensor:
        left, right = x.split([first, width - first], 1)
        return one(left) * torch.tanh(other(right)) + one(x[:, :first])

    return Step(compute, operand, one=nn.Conv2d(first, 6, 1), other=nn.Conv2d(width - first, 6, 1)), 6


def shuffled(data: Draw, widths: list[int]) -> tuple[Step, int]:
    operand, width = _one(data, widths)
    groups = data.draw(st.sampled_from([each for each in (2, 3, 4) if width % each == 0]))

    def compute(x: torch.Tensor) -> torch.Tensor:
        grid = x.view(-1, groups, width // groups, SIZE, SIZE)
        return grid.transpose(1, 2).reshape(-1, width, SIZE, SIZE)

    return Step(compute, operand), width


def excited(data: Draw, widths: list[int]) -> tuple[Step, int]:
    operand, width = _one(data, widths)

    def compute(x: torch.Tensor, down: nn.Module, up: nn.Module) -> torch.Tensor:
        scale = torch.sigmoid(up(F.relu(down(x.mean((2, 3))))))
        return x * scale[:, :, None, None].expand_as(x)

    return Step(compute, operand, down=nn.Linear(width, 3), up=nn.Linear(3, width)), width


def resized(data: Draw, widths: list[int]) -> tuple[Step, int]:
    operand, width = _one(data, widths)

    def compute(x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
        return F.max_pool2d(F.pixel_shuffle(layer(x), 2), 2)

    return Step(compute, operand, layer=nn.Conv2d(width, 16, 1)), 4


def attention(data: Draw, widths: list[int]) -> tuple[Step, int]:
    operand, width = _one(data, widths)
    heads = data.draw(st.sampled_from([1, 2, 3]))
    fused = data.draw(st.booleans())

    def compute(x: torch.Tensor, norm: nn.Module, qkv: nn.Module, out: nn.Module) -> torch.Tensor:
        tokens = norm(x.flatten(2).transpose(1, 2))
        if fused:
            parts = qkv(tokens).view(-1, SIZE * SIZE, 3, heads, 4).permute(2, 0, 3, 1, 4)
            query, key, value = parts[0], parts[1], parts[2]
        else:
            query, key, value = (
                part.view(-1, SIZE * SIZE, heads, 4).transpose(1, 2) for part in qkv(tokens).chunk(3, -1)
            )
        y = F.scaled_dot_product_attention(query, key, value)
        y = out(y.transpose(1, 2).reshape(-1, SIZE * SIZE, heads * 4))
        return x + y.transpose(1, 2).view(-1, width, SIZE, SIZE)

    layers = {
        "norm": nn.LayerNorm(width),
        "qkv": nn.Linear(width, 12 * heads),
        "out": nn.Linear(4 * heads, width),
    }
    return Step(compute, operand, **layers), width


KINDS: list[Kind] = [
    convolution,
    transposed,
    depthwise,
    norm,
    activation,
    addition,
    joined,
    halves,
    uneven,
    shuffled,
    excited,
    resized,
    attention,
]
