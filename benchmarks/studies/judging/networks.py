"""The networks of this study, each of 0.05 to 2 million parameters.

All are an :class:`Ended`: a body that gives scores (logits, cosines, vectors, values) and an ending that is part of the
exported network but not of what training sees.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.networks.reference import BasicBlock, ByteCNN, InvertedResidual, TextEncoder, TransformerLayer

#: Channels of a wider :func:`residual`.
WIDE = (24, 48, 96)


class Ended(nn.Module):
    """A body and how its scores leave the network.

    Args:
        body: Gives the scores.
        ending: ``softmax`` (over axis 1), ``sigmoid``, or empty for the scores themselves.
    """

    def __init__(self, body: nn.Module, ending: str = "") -> None:
        super().__init__()
        self.body, self.ending = body, ending

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.end(self.body(x))

    def end(self, scores: Tensor) -> Tensor:
        """The network's output for these scores."""
        if self.ending == "softmax":
            return scores.softmax(1)
        return scores.sigmoid() if self.ending == "sigmoid" else scores


def residual(channels: int, outputs: int, widths: tuple[int, int, int] = (16, 32, 64)) -> nn.Sequential:
    """A stem of stride 2 and three residual blocks; the mean over the plane goes into one matrix."""
    first, second, third = widths
    return nn.Sequential(
        *_convolution(channels, first, 5, 2),
        BasicBlock(first, first, 1),
        BasicBlock(first, second, 2),
        BasicBlock(second, third, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(third, outputs),
    )


def separable(channels: int, outputs: int, widths: tuple[int, int, int] = (24, 40, 64)) -> nn.Sequential:
    """Inverted residuals with depthwise convolutions, which int8 hurts most."""
    first, second, third = widths
    return nn.Sequential(
        nn.Conv2d(channels, first, 3, 2, 1, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU6(),
        InvertedResidual(first, first, 1, 3),
        InvertedResidual(first, second, 2, 3),
        InvertedResidual(second, second, 1, 3),
        InvertedResidual(second, third, 2, 3),
        nn.Conv2d(third, 4 * third, 1, bias=False),
        nn.BatchNorm2d(4 * third),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * third, outputs),
    )


def plain(channels: int, outputs: int) -> nn.Sequential:
    """Three convolutions and two matrices, without normalisation or shortcuts."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(32, 48, 3, 1, 1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(48, 64, 3, 1, 1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 9, 128),
        nn.ReLU(),
        nn.Linear(128, outputs),
    )


class CosineHead(nn.Module):
    """Cosines between the features and a direction for each class; no temperature."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(n, width)`` to cosines ``(n, classes)``."""
        return functional.linear(functional.normalize(x), functional.normalize(self.weight))


class Unit(nn.Module):
    """Vectors of length 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Divide each row by its length."""
        return functional.normalize(x)


def cosine_residual(channels: int, classes: int) -> nn.Sequential:
    """The residual network, ending in cosines."""
    return nn.Sequential(residual(channels, 64), CosineHead(64, classes))


def encoder(channels: int, width: int, *, unit: bool) -> nn.Sequential:
    """The residual network as an encoder into ``width`` numbers."""
    return nn.Sequential(residual(channels, width), *([Unit()] if unit else []))


def pitch_tracker(bins: int) -> nn.Sequential:
    """Convolutions along a frame of 1,024 samples, as in CREPE (arXiv 1802.06182), at a fraction of its size."""
    return nn.Sequential(
        *_along(1, 48, 128, 8),
        nn.MaxPool1d(2),
        *_along(48, 64, 16),
        nn.MaxPool1d(2),
        *_along(64, 64, 16),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(64 * 16, bins),
    )


class Tagger(nn.Module):
    """A class for every byte of a text, by dilated convolutions that see 63 bytes to both sides."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, 24)
        self.stem = nn.Sequential(*_along(24, width, 5))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(),
            )
            for dilation in (1, 2, 4, 8, 16)
        )
        self.head = nn.Conv1d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map bytes ``(n, length)`` to logits ``(n, length, classes)``."""
        features = self.stem(self.embedding(x).transpose(1, 2))
        for block in self.blocks:
            features = features + block(features)
        logits: Tensor = self.head(features).transpose(1, 2)
        return logits


class CausalLayer(TransformerLayer):
    """A transformer's layer in which no token sees a later one."""

    def _attention(self, x: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.query_key_value(x).chunk(3, dim=-1)
        )
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        projected: Tensor = self.projection(attended.transpose(1, 2).flatten(2))
        return projected


class Decoder(nn.Module):
    """A language model: logits of the next token at every position."""

    def __init__(self, vocabulary: int, length: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.layers = nn.Sequential(*(CausalLayer(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(n, length)`` to logits ``(n, length, vocabulary)``."""
        logits: Tensor = self.head(self.norm(self.layers(self.embedding(x) + self.position)))
        return logits


class MapNetwork(nn.Module):
    """A small U-Net (arXiv 1505.04597): twice down, twice up, with what was there beside it."""

    def __init__(self, channels: int, outputs: int, width: int = 24) -> None:
        super().__init__()
        self.down_1 = _twice(channels, width)
        self.down_2 = _twice(width, 2 * width)
        self.middle = _twice(2 * width, 3 * width)
        self.up_2 = _twice(5 * width, 2 * width)
        self.up_1 = _twice(3 * width, width)
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, channels, h, w)`` to scores ``(n, outputs, h, w)``."""
        first = self.down_1(x)
        second = self.down_2(functional.max_pool2d(first, 2))
        third = self.middle(functional.max_pool2d(second, 2))
        second = self.up_2(torch.cat([functional.interpolate(third, scale_factor=2.0), second], 1))
        first = self.up_1(torch.cat([functional.interpolate(second, scale_factor=2.0), first], 1))
        scores: Tensor = self.head(first)
        return scores


def package_encoder(classes: int) -> TextEncoder:
    """Encoder over 32 tokens that tells which package 256 bytes of source come from."""
    return TextEncoder(width=64, depth=2, heads=4, length=256, patch=8, classes=classes)


def fragment_network(classes: int) -> ByteCNN:
    """Classifier that tells which kind of file 512 bytes come from."""
    return ByteCNN(classes=classes)


def _convolution(channels: int, width: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(width), nn.ReLU()


def _along(channels: int, width: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """One convolution along a sequence; an even kernel at stride 1 makes it one longer, which pooling drops."""
    convolution = nn.Conv1d(channels, width, kernel, stride, kernel // 2, bias=False)
    return convolution, nn.BatchNorm1d(width), nn.ReLU()


def _twice(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(*_convolution(channels, width, 3), *_convolution(width, width, 3))
