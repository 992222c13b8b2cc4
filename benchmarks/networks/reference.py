"""Small reference networks, one for each family that compression treats differently.

    resnet20       images   dense 3×3 convolutions with residual additions
    mobilenet      images   depthwise convolutions and linear bottlenecks
    vit            images   attention, layer normalisation and GELU
    gru            images   recurrence
    byte_cnn       bytes    an embedding and depthwise separable convolutions along one axis
    text_encoder   bytes    an embedding and a transformer encoder, nearly all of it in matrices

Each of these names is a callable without arguments that returns the untrained network, so a state_dict is loaded with
``--factory benchmarks.networks:resnet20``. Those of images (Fashion-MNIST) map float32 [batch, 1, 28, 28] to float32
logits [batch, 10]; those of bytes (:mod:`benchmarks.data.sequences`) int64 [batch, length] in 0–255 to [batch,
classes].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10
SIDE = 28  # pixels, height and width of an image


def resnet20() -> nn.Module:
    """Residual network of 20 layers in the CIFAR shape (He et al. 2015, arXiv 1512.03385, section 4.2)."""
    return ResNet(blocks_per_stage=3, widths=(16, 32, 64))


def resnet20_of_width(width: float) -> nn.Module:
    """The same with all channels times ``width``: a student family for ``compress distill --widths``."""
    first, second, third = (max(1, round(channels * width)) for channels in (16, 32, 64))
    return ResNet(blocks_per_stage=3, widths=(first, second, third))


def mobilenet() -> nn.Module:
    """Inverted residuals with depthwise convolutions (MobileNetV2, Sandler et al. 2018, arXiv 1801.04381)."""
    return MobileNet()


def vit() -> nn.Module:
    """Vision transformer over 4×4-pixel patches (Dosovitskiy et al. 2020, arXiv 2010.11929)."""
    return VisionTransformer(width=128, depth=4, heads=4, patch=4)


def gru() -> nn.Module:
    """Gated recurrent units (Cho et al. 2014, arXiv 1406.1078) that read an image row by row."""
    return RowGRU(hidden=128, layers=2)


def byte_cnn() -> nn.Module:
    """Classifier that tells which of seven kinds of files 512 bytes come from (Xception, arXiv 1610.02357)."""
    return ByteCNN(classes=7)


def text_encoder() -> nn.Module:
    """Transformer over 16 tokens of 16 bytes that tells which of eight packages 256 bytes of source come from."""
    return TextEncoder(width=256, depth=3, heads=4, length=256, patch=16, classes=8)


FACTORIES: dict[str, Callable[[], nn.Module]] = {
    "resnet20": resnet20,
    "mobilenet": mobilenet,
    "vit": vit,
    "gru": gru,
    "byte_cnn": byte_cnn,
    "text_encoder": text_encoder,
}


class ResNet(nn.Module):
    """A 3×3 stem and three stages of basic blocks, each stage at half the resolution of the one before.

    Args:
        blocks_per_stage: n in the paper's 6n + 2 layers.
        widths: Channels of the three stages.
    """

    def __init__(self, blocks_per_stage: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(1, widths[0], 3), nn.ReLU())
        blocks: list[nn.Module] = []
        channels = widths[0]
        for stage, width in enumerate(widths):
            for index in range(blocks_per_stage):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(BasicBlock(channels, width, stride))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, 1, 28, 28] to logits [batch, 10]."""
        features = self.blocks(self.stem(x))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut; the shortcut is a 1×1 convolution where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_convolution(channels, width, 3, stride), nn.ReLU(), *_convolution(width, width, 3)
        )
        same_shape = stride == 1 and channels == width
        self.shortcut = (
            nn.Identity() if same_shape else nn.Sequential(*_convolution(channels, width, 1, stride))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels, h, w] to [batch, width, h / stride, w / stride]."""
        return functional.relu(self.residual(x) + self.shortcut(x))


class MobileNet(nn.Module):
    """MobileNetV2's plan at a scale for 28×28 images: the stages run at 14×14, 14×14, 7×7 and 7×7 pixels."""

    # expansion, channels out, blocks, stride of the first block
    stages = ((1, 24, 1, 2), (4, 24, 2, 1), (4, 40, 3, 2), (4, 64, 3, 1))
    stem_width = 16
    head_width = 256

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(1, self.stem_width, 3), nn.ReLU6())
        blocks: list[nn.Module] = []
        channels = self.stem_width
        for expansion, width, count, first_stride in self.stages:
            for index in range(count):
                stride = first_stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, width, stride, expansion))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(*_convolution(channels, self.head_width, 1), nn.ReLU6())
        self.head = nn.Linear(self.head_width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, 1, 28, 28] to logits [batch, 10]."""
        features = self.last(self.blocks(self.stem(x)))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class InvertedResidual(nn.Module):
    """Expand by 1×1 (not at expansion 1), filter each channel by 3×3, project by 1×1, not activated."""

    def __init__(self, channels: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.adds_input = stride == 1 and channels == width
        expand = (*_convolution(channels, hidden, 1), nn.ReLU6()) if expansion > 1 else ()
        self.residual = nn.Sequential(
            *expand,
            *_convolution(hidden, hidden, 3, stride, groups=hidden),
            nn.ReLU6(),
            *_convolution(hidden, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels, h, w] to [batch, width, h / stride, w / stride]."""
        residual: Tensor = self.residual(x)
        return x + residual if self.adds_input else residual


class VisionTransformer(nn.Module):
    """Pre-norm transformer over image patches; the logits are read from the mean of all tokens.

    Args:
        width: Features per token.
        depth: Number of layers.
        heads: Attention heads per layer; divides ``width``.
        patch: Side of a patch in pixels; divides 28.
    """

    def __init__(self, width: int, depth: int, heads: int, patch: int) -> None:
        super().__init__()
        tokens = (SIDE // patch) ** 2
        self.patches = nn.Conv2d(1, width, kernel_size=patch, stride=patch)
        self.position = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.layers = nn.Sequential(*(TransformerLayer(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, 1, 28, 28] to logits [batch, 10]."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.norm(self.layers(tokens)).mean(dim=1))
        return logits


class TransformerLayer(nn.Module):
    """Self-attention, then a two-layer perceptron of twice the width, each added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [batch, tokens, width] to the same shape."""
        x = x + self._attention(self.attention_norm(x))
        updated: Tensor = x + self.perceptron(self.perceptron_norm(x))
        return updated

    def _attention(self, x: Tensor) -> Tensor:
        # Each of the three becomes [batch, heads, tokens, width / heads].
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.query_key_value(x).chunk(3, dim=-1)
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.projection(attended.transpose(1, 2).flatten(2))
        return projected


class RowGRU(nn.Module):
    """A GRU whose time steps are the 28 rows; the logits are read from the last state.

    Args:
        hidden: Features of the state.
        layers: Stacked GRU layers.
    """

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        self.recurrence = nn.GRU(SIDE, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, 1, 28, 28] to logits [batch, 10]."""
        states, _ = self.recurrence(x.squeeze(1))
        logits: Tensor = self.head(states[:, -1])
        return logits


class ByteCNN(nn.Module):
    """An embedding of bytes, a strided stem, separable convolutions, and the mean over what is left of the length.

    Args:
        classes: Classes of the last layer.
    """

    # channels out, stride
    blocks = ((96, 2), (96, 1), (160, 2), (160, 1), (256, 2))
    embedded = 16
    stem_width = 64

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, self.embedded)
        self.stem = nn.Sequential(
            nn.Conv1d(self.embedded, self.stem_width, 8, stride=4, padding=2, bias=False),
            nn.BatchNorm1d(self.stem_width),
            nn.ReLU(),
        )
        widths = (self.stem_width, *(width for width, _ in self.blocks))
        self.features = nn.Sequential(
            *(
                _separable(channels, width, stride)
                for channels, (width, stride) in zip(widths, self.blocks, strict=False)
            )
        )
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map bytes [batch, length] to logits [batch, classes]."""
        features = self.features(self.stem(self.embedding(x).transpose(1, 2)))
        logits: Tensor = self.head(features.mean(dim=2))
        return logits


def _separable(channels: int, width: int, stride: int) -> nn.Sequential:
    """Filter each channel along the sequence, then mix channels at each place."""
    return nn.Sequential(
        nn.Conv1d(channels, channels, 5, stride=stride, padding=2, groups=channels, bias=False),
        nn.BatchNorm1d(channels),
        nn.ReLU(),
        nn.Conv1d(channels, width, 1, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
    )


class TextEncoder(nn.Module):
    """Tokens hold which short strings are near; the logits are read from the mean of all tokens.

    Args:
        width: Features per token.
        depth: Number of layers.
        heads: Attention heads per layer; divides ``width``.
        length: Length of the text, in bytes.
        patch: Bytes of a token; divides ``length``.
        classes: Classes of the last layer.
    """

    embedded = 32

    def __init__(self, width: int, depth: int, heads: int, length: int, patch: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, self.embedded)
        self.strings = nn.Conv1d(self.embedded, width, 5, padding=2)
        self.pool = nn.MaxPool1d(patch)
        self.position = nn.Parameter(torch.randn(1, length // patch, width) * 0.02)
        self.layers = nn.Sequential(*(TransformerLayer(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map bytes [batch, length] to logits [batch, classes]."""
        strings = self.strings(self.embedding(x).transpose(1, 2))
        tokens = self.pool(strings).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.norm(self.layers(tokens)).mean(dim=1))
        return logits


def _convolution(
    channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Convolution that keeps h and w at stride 1, and the batch normalisation in place of its bias."""
    convolution = nn.Conv2d(
        channels, width, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )
    return convolution, nn.BatchNorm2d(width)
