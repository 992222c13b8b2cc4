"""Small networks of every kind that compress has to take, each with a batch of inputs."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class ResidualCNN(nn.Module):
    """Convolutions, batch norm, in-place ReLU, a residual sum, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.layers = nn.Sequential(_Residual(8, 8), _Residual(8, 16, stride=2))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layers(self.stem(x))
        return self.head(self.dropout(x.mean((2, 3))))


class _Residual(nn.Module):
    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        same = stride == 1 and channels == width
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return self.relu(y)


class DepthwiseCNN(nn.Module):
    """Depthwise convolutions, squeeze-and-excitation, hard-swish."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 16, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.squeeze = nn.Conv2d(16, 4, 1)
        self.excite = nn.Conv2d(4, 16, 1)
        self.activation = nn.Hardswish(inplace=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activation(self.bn(self.depthwise(self.expand(x))))
        scale = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x * scale, 1), 1))


class VisionTransformer(nn.Module):
    """Patches, a class token, learned positions, ``nn.MultiheadAttention``, layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 5, 16))
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(x)
        return self.head(x[:, 0])


class FusedAttention(nn.Module):
    """Query, key and value from one linear layer; ``scaled_dot_product_attention``."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        self.project = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        y = F.scaled_dot_product_attention(query, key, value)
        return self.project(y.transpose(1, 2).reshape(batch, length, width)).mean(1)


class GRUNet(nn.Module):
    """A bidirectional GRU of two layers, the last step classified."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrence = nn.GRU(8, 12, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.recurrence(x)[0][:, -1])


class LSTMNet(nn.Module):
    """An LSTM over time-first input whose last hidden and cell state are used."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 12)
        self.head = nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, (hidden, cell) = self.lstm(x.transpose(0, 1))
        return self.head(torch.cat([hidden[-1], cell[-1]], 1))


class TwoInputs(nn.Module):
    """An image and a token sequence; floats and integers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(image).mean((2, 3)) + self.embedding(tokens).mean(1))


class TwoOutputs(nn.Module):
    """Outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 8)
        self.classes = nn.Linear(8, 5)
        self.box = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.relu(self.body(x))
        return {"logits": self.classes(x), "box": self.box(x)}


class TiedWeights(nn.Module):
    """One matrix is the embedding and the head, and one layer is applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.shared = nn.Linear(8, 8)
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.shared(torch.tanh(self.shared(self.embedding(tokens))))
        return self.head(x.mean(1))


class Functional(nn.Module):
    """Plain parameters used by ``F`` calls, one of them through a computed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, 3, 3, 3) * 0.2)
        self.matrix = nn.Parameter(torch.randn(8, 8) * 0.2)
        self.gain = nn.Parameter(torch.ones(8, 1))
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(F.conv2d(x - self.mean, self.kernel, padding=1))
        x = F.max_pool2d(x, 2).mean((2, 3))
        x = F.linear(x, self.matrix * self.gain)
        return F.linear(F.layer_norm(x, (8,)), self.matrix)


def _floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _tokens(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 10, size=shape)


#: Every network with its example, by class.
NETWORKS: dict[type[nn.Module], dict[str, np.ndarray]] = {
    ResidualCNN: {"x": _floats(4, 3, 8, 8)},
    DepthwiseCNN: {"x": _floats(4, 3, 8, 8)},
    VisionTransformer: {"x": _floats(4, 3, 8, 8)},
    FusedAttention: {"x": _floats(4, 6, 16)},
    GRUNet: {"x": _floats(4, 3, 8)},
    LSTMNet: {"x": _floats(4, 3, 8)},
    TwoInputs: {"image": _floats(4, 3, 8, 8), "tokens": _tokens(4, 6)},
    TwoOutputs: {"x": _floats(4, 8)},
    TiedWeights: {"tokens": _tokens(4, 6)},
    Functional: {"x": _floats(4, 3, 8, 8)},
}


def build(kind: type[nn.Module]) -> nn.Module:
    """The network with weights from a fixed seed; its batch norms have seen data."""
    torch.manual_seed(0)
    module = kind()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = torch.randn(part.num_features) * 0.1
            part.running_var = torch.rand(part.num_features) + 0.5
    return module.eval()


def build_residual_cnn() -> ResidualCNN:
    """What ``--factory tests.networks:build_residual_cnn`` names."""
    return ResidualCNN()


def load_example(kind: type[nn.Module]) -> list[torch.Tensor]:
    """The network's example as tensors."""
    return [torch.from_numpy(array.copy()) for array in NETWORKS[kind].values()]
