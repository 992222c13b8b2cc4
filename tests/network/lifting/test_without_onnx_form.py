"""Calls that ONNX has no form of are written as calls that it has, and compute the same in ONNX Runtime."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from compress.errors import LiftError
from compress.network.network import load_network

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.standard_normal((6, 7, 8)).astype(np.float32)
IMAGES = RANDOM.standard_normal((6, 8, 9, 9)).astype(np.float32)
TOKENS = RANDOM.integers(0, 20, (6, 7))


class Called(nn.Module):
    """A layer with weights, and a function of what it gives."""

    def __init__(self, function: Callable[..., torch.Tensor], images: bool = False) -> None:
        super().__init__()
        self.layer: nn.Module = nn.Conv2d(8, 8, 1) if images else nn.Linear(8, 8)
        self.codes = nn.Parameter(torch.randn(5, 8))
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layer(x), self.codes)


class Volumes(nn.Module):
    """A mean over cubes of a volume, with a divisor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.pool = nn.Conv3d(1, 4, 1), nn.AvgPool3d(2, divisor_override=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.layer(x[:, None]))


class Shortened(nn.Module):
    def __init__(self, bag: bool) -> None:
        super().__init__()
        kind = nn.EmbeddingBag if bag else nn.Embedding
        self.table, self.head = kind(20, 8, max_norm=0.7, norm_type=3.0), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.table(x)
        return self.head(found if found.dim() == 2 else found.mean(1))


def same(module: nn.Module, samples: np.ndarray[Any, Any]) -> None:
    """Whether the exported network computes what the module does, for another number of samples too."""
    wanted = copy.deepcopy(module)(torch.from_numpy(samples)).detach().numpy()
    network = load_network(module, example=[samples])
    session = onnxruntime.InferenceSession(network.to_onnx().SerializeToString())
    name = session.get_inputs()[0].name
    for number in (1, 3, len(samples)):
        (found,) = session.run(None, {name: samples[:number]})
        np.testing.assert_allclose(found, wanted[:number], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "function",
    {
        "distances": lambda x, codes: torch.cdist(x, codes[None]),
        "distances p=1": lambda x, codes: torch.cdist(x, codes[None], p=1.0),
        "distances p=inf": lambda x, codes: torch.cdist(x, codes[None], p=float("inf")),
        "running product": lambda x, codes: (1 + 0.1 * x).cumprod(1),
        "running product of the last": lambda x, codes: (1 + 0.1 * x).cumprod(-1),
        "running maximum": lambda x, codes: x.cummax(1)[0],
        "running minimum": lambda x, codes: x.cummin(2).values,
        "third smallest kept": lambda x, codes: x.kthvalue(3, -1, keepdim=True)[0],
        "third smallest": lambda x, codes: x.kthvalue(3, 1)[0],
        "searched": lambda x, codes: torch.searchsorted(codes[:, 0].sort()[0], x),
        "searched right": lambda x, codes: torch.searchsorted(torch.tensor([-1.0, 0, 1]), x, right=True),
        "hypotenuse": lambda x, codes: torch.hypot(x, x.flip(1)),
        "larger": lambda x, codes: torch.fmax(torch.where(x > 1, torch.nan, x), x.flip(1)),
        "smaller": lambda x, codes: torch.fmin(x, torch.where(x > 1, torch.nan, x.flip(1)).nan_to_num()),
        "with a sign": lambda x, codes: torch.copysign(x, x.flip(1)),
        "randomised relu": lambda x, codes: nn.functional.rrelu(x, 0.1, 0.4),
    }.values(),
)
def test_rows(function: Callable[..., torch.Tensor]) -> None:
    torch.manual_seed(0)
    same(Called(function).eval(), ROWS)


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(3, divisor_override=4),
        nn.AvgPool2d((3, 2), stride=(2, 1), padding=1, divisor_override=5),
        nn.AvgPool2d(2, count_include_pad=False, divisor_override=1),
    ],
    ids=str,
)
def test_a_mean_with_a_divisor_of_its_own(pool: nn.Module) -> None:
    torch.manual_seed(0)
    same(Called(lambda x, codes: pool(x), images=True).eval(), IMAGES)


def test_a_mean_over_cubes_with_a_divisor_of_its_own() -> None:
    torch.manual_seed(0)
    same(Volumes().eval(), IMAGES)


def test_a_divisor_where_windows_end_over_the_edge_is_refused() -> None:
    pool = nn.AvgPool2d(2, ceil_mode=True, divisor_override=3)
    with pytest.raises(LiftError, match="divisor_override without ceil_mode"):
        load_network(Called(lambda x, codes: pool(x), images=True).eval(), example=[IMAGES])


@pytest.mark.parametrize("bag", [False, True], ids=["embedding", "bag"])
def test_rows_that_are_too_long_are_shortened_once(bag: bool) -> None:
    torch.manual_seed(0)
    module = Shortened(bag).eval()
    before = copy.deepcopy(module.state_dict())
    same(module, TOKENS)
    for name, value in module.state_dict().items():  # the caller's own stays as it is
        assert torch.equal(value, before[name])
