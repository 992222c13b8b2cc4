"""Decomposed calls and calls without an ONNX form, written as what they compute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from compress.network.network import load_network
from tests.lifting import lifted, modules

Forward = Callable[[nn.Module, torch.Tensor], torch.Tensor]


class Holder(nn.Module):
    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 8)), nn.Parameter(torch.randn(4))
        self.given = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.given(self, x)


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: torch.addmm(net.bias, x, net.weight.t(), beta=0.5, alpha=2.0),
        lambda net, x: torch.addmm(net.bias * torch.nan, x, net.weight.t(), beta=0),
        lambda net, x: torch.addmm(x[:, :4], x, net.weight.t()),
        lambda net, x: torch.addmm(net.bias, x, net.weight.t()),
    ],
    ids=["factors", "no bias", "matrix", "linear"],
)
def test_addmm_keeps_its_factors_and_becomes_a_layer(forward: Forward) -> None:
    torch.manual_seed(0)
    net, x = Holder(forward), torch.randn(4, 8)
    graph, _, _ = lifted(net, x.numpy())
    assert [type(each) for each in modules(graph).values()] == [nn.Linear]
    torch.testing.assert_close(graph(x), net(x))


@pytest.mark.parametrize(
    ("forward", "shape"),
    [
        (lambda net, x: x.mean((2, 3), keepdim=True).squeeze(), (3,)),
        (lambda net, x: x.mean((2, 3), keepdim=True).squeeze().squeeze() * 1, (3,)),
        (lambda net, x: (x * 2).squeeze(0), (3, 1, 6)),
        (lambda net, x: (x * 2).squeeze((0, 2)), (3, 6)),
    ],
)
def test_squeeze_never_drops_the_batch(forward: Forward, shape: tuple[int, ...]) -> None:
    net, x = Holder(forward), torch.randn(4, 3, 1, 6)
    network = load_network(net, example=[x.numpy()])
    assert network.graph is not None
    assert network.outputs[0].shape == ("batch", *shape)
    assert network.graph(x[:1]).shape == (1, *shape)
    torch.testing.assert_close(network.graph(x), net(x))
    assert [each.dim_param for each in network.to_onnx().graph.output[0].type.tensor_type.shape.dim][:1] == [
        "batch"
    ]


def by_sample(kernel: int, *, bias: bool = False, **settings: object) -> Forward:
    def forward(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        mean = x.mean((2, 3))
        weight = mean[:, None, :, None, None] * net.weight[None, :, :3, None, None]
        weight = weight.expand(-1, -1, -1, kernel, kernel).reshape(batch * 4, channels, kernel, kernel)
        added = (mean.sum(1, keepdim=True) * net.bias).reshape(-1) if bias else None
        y = F.conv2d(x.reshape(1, -1, height, width), weight, added, groups=batch, **settings)
        return y.reshape(batch, 4, y.shape[2], y.shape[3])

    return forward


def correlation(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    batch, channels, _, width = x.shape
    x = x[:, :, 0]
    y = F.conv1d(x.reshape(1, -1, width), x[:, :, 1:4].reshape(-1, 1, 3), groups=batch * channels)
    return y.reshape(batch, channels, -1)


def transposed(kernel: int, *, bias: bool = False, **settings: object) -> Forward:
    def forward(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        mean = x.mean((2, 3))
        places = torch.arange(kernel * kernel, dtype=x.dtype).cos().reshape(kernel, kernel)
        weight = (mean[:, :, None] * net.weight[None, :, :3].mT)[..., None, None] * places
        weight = weight.reshape(batch * channels, 4, kernel, kernel)
        added = (mean.sum(1, keepdim=True) * net.bias).reshape(-1) if bias else None
        y = F.conv_transpose2d(x.reshape(1, -1, height, width), weight, added, groups=batch, **settings)
        return y.reshape(batch, 4, y.shape[2], y.shape[3])

    return forward


def transposed_signal(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    batch, channels, _, width = x.shape
    x = x[:, :, 0]
    weight = x[:, :, 1:5].reshape(batch * channels, 1, 4)
    y = F.conv_transpose1d(x.reshape(1, -1, width), weight, groups=batch, stride=2, padding=1)
    return y.reshape(batch, 1, -1)


@pytest.mark.parametrize(
    "forward",
    [
        transposed(3),
        transposed(3, stride=2, padding=1, output_padding=1),
        transposed(3, bias=True, stride=(1, 2), padding=(2, 0), dilation=(2, 1)),
        transposed(2, padding=2),
        transposed_signal,
        by_sample(3, padding=1),
        by_sample(3, bias=True, stride=(1, 2), padding=(2, 0), dilation=(2, 1)),
        by_sample(1, bias=True),
        correlation,
    ],
)
def test_convolutions_with_a_group_for_every_sample_have_an_onnx_form(forward: Forward) -> None:
    torch.manual_seed(0)
    net, x = Holder(forward), torch.randn(4, 3, 6, 8)
    network = load_network(net, example=[x.numpy()])
    assert network.graph is not None
    assert network.inputs[0].shape == ("batch", 3, 6, 8)
    torch.testing.assert_close(network.graph(x[:3]), net(x[:3]), rtol=1e-4, atol=1e-4)
    assert network.to_onnx().graph.node


def test_attention_without_heads_has_an_onnx_form() -> None:
    def forward(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(x, x, x, attn_mask=x[:, :, :5] > -1, scale=0.3)

    network = load_network(Holder(forward), example=[np.random.default_rng(0).normal(size=(4, 5, 8))])
    assert "Softmax" in {node.op_type for node in network.to_onnx().graph.node}
