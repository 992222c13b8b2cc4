"""TorchScript that computes with sizes keeps its batch open and computes the same for every batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from compress.errors import LiftError
from compress.network.network import load_network
from tests.loading import refusal

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")

Forward = Callable[[nn.Module, torch.Tensor], torch.Tensor]


class Holder(nn.Module):
    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.given = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.given(self, x)


def windows(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    missing = (-x.shape[2]) % 4
    y = F.pad(net.conv(x), (0, missing, 0, missing))
    batch, channels, height, width = y.shape
    y = y.view(batch, channels, height // 4, 4, width // 4, 4).permute(0, 2, 4, 1, 3, 5)
    y = y.reshape(-1, channels, 4, 4)
    return y.reshape(batch, y.shape[0] // batch, -1).mean(1)


def crop(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = net.conv(x)
    smaller = y[:, :, 1:-2]
    missing = y.shape[2] - smaller.shape[2]
    return F.pad(smaller, (0, 0, missing // 2, missing - missing // 2)) + y


def shift(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = net.conv(x)
    part = y.shape[1] // 4
    out = torch.zeros_like(y)
    out[:, :part, :-1] = y[:, :part, 1:]
    out[:, part : 2 * part, 1:] = y[:, part : 2 * part, :-1]
    out[:, 2 * part :] = y[:, 2 * part :]
    return out


def mean_over_the_batch(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = net.conv(x)
    return y - y.sum((0, 2, 3), keepdim=True) / (x.size(0) * x.shape[2] * x.shape[3])


def boolean_index(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = net.conv(x).clone()
    y[y < 0] = 0.5
    return y


KINDS: dict[str, Forward] = {
    "windows": windows,
    "crop": crop,
    "shift": shift,
    "mean over the batch": mean_over_the_batch,
    "boolean index": boolean_index,
    "constant minus size": lambda net, x: net.conv(x)[:, :, : 18 - x.shape[2]],
    "power": lambda net, x: net.conv(x)[:, :, : x.shape[2] ** 2 - 90],
    "ceil": lambda net, x: F.pad(net.conv(x), (0, math.ceil(x.shape[2] / 4) * 4 - x.shape[2])),
    "scaled by a size": lambda net, x: net.conv(x) / x.shape[0] ** 0.5,
}


@pytest.mark.parametrize("kind", KINDS)
def test_traced_sizes_follow_the_batch(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    net, x = Holder(KINDS[kind]).eval(), torch.randn(4, 3, 10, 10)
    torch.jit.save(torch.jit.trace(net, x, check_trace=False), tmp_path / "traced")
    network = load_network(tmp_path / "traced", example=[x.numpy()])
    assert network.graph is not None
    assert network.inputs[0].shape == ("batch", 3, 10, 10)
    for rows in (1, 3, 6):
        batch = torch.randn(rows, 3, 10, 10)
        torch.testing.assert_close(network.graph(batch), net(batch), rtol=1e-4, atol=1e-5)
    assert list(dict(network.graph.named_parameters())) == ["conv.weight", "conv.bias"]


def test_scripted_loops_and_branches_over_sizes(tmp_path: Path) -> None:
    class Columns(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            columns = []
            for column in range(x.size(2)):
                if column % 2 == 0:
                    columns.append(x[:, :, column] * (column / x.size(2)))  # noqa: PERF401 scripted
            return torch.stack(columns, 2)

    torch.jit.save(torch.jit.script(Columns()), tmp_path / "scripted")
    x = torch.randn(4, 2, 5)
    graph = load_network(tmp_path / "scripted", example=[x.numpy()]).graph
    assert graph is not None
    torch.testing.assert_close(graph(x[:3]), Columns()(x[:3]))


def test_a_computed_convolution_weight_has_an_onnx_form(tmp_path: Path) -> None:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 8, 3))
    x = torch.randn(4, 4, 9)
    torch.jit.save(torch.jit.trace(conv.eval(), x), tmp_path / "traced")
    model = load_network(tmp_path / "traced", example=[x.numpy()]).to_onnx()
    assert "Conv" in {node.op_type for node in model.graph.node}


def test_what_was_traced_in_training_mode_is_refused_with_its_place(tmp_path: Path) -> None:
    net = Holder(lambda self, x: F.dropout(self.conv(x), training=self.training)).train()
    torch.jit.save(torch.jit.trace(net, torch.randn(4, 3, 6, 6), check_trace=False), tmp_path / "traced")
    error = refusal(LiftError, tmp_path / "traced", example=[torch.randn(4, 3, 6, 6).numpy()])
    assert "'dropout.default' in training mode at " in error.found
    assert "eval()" in error.todo


def test_a_loop_without_an_end_is_refused(tmp_path: Path) -> None:
    class Long(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rounds = 0
            while rounds < 5000:
                x = x + 1
                rounds += 1
            return x

    torch.jit.save(torch.jit.script(Long()), tmp_path / "scripted")
    error = refusal(LiftError, tmp_path / "scripted", example=[torch.ones(2, 3).numpy()])
    assert f"goes on at {__file__}:" in error.found


@pytest.mark.parametrize("kind", ["layer", "attention"])
def test_fused_attention_with_a_padding_mask_is_written_out(tmp_path: Path, kind: str) -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
            self.layer = layer if kind == "layer" else layer.self_attn

        def forward(self, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
            if kind == "layer":
                return self.layer(x, src_key_padding_mask=padding)
            return self.layer(x, x, x, key_padding_mask=padding, need_weights=False)[0]

    torch.manual_seed(0)
    net, x = Padded().eval(), torch.randn(4, 5, 16)
    padding = torch.arange(5)[None] >= torch.tensor([5, 3, 2, 4])[:, None]
    with torch.no_grad():
        traced = torch.jit.trace(net, (x, padding), check_trace=False)
    torch.jit.save(traced, tmp_path / "traced")
    network = load_network(tmp_path / "traced", example={"x": x.numpy(), "padding": padding.numpy()})
    assert network.graph is not None
    torch.testing.assert_close(network.graph(x, padding), net(x, padding), rtol=1e-4, atol=1e-4)
    assert "Softmax" in {node.op_type for node in network.to_onnx().graph.node}
