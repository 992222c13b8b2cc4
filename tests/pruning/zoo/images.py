"""Classifiers of images, one small module for every family."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv(inputs, outputs, 3, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class ResNet(nn.Module):
    """He et al. 2016, arXiv 1512.03385."""

    def __init__(self, width: int = 8, blocks: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(3, width)]
        inputs = width
        for outputs in (width, 2 * width, 4 * width):
            for _ in range(blocks):
                layers.append(Residual(inputs, outputs, 1 if inputs == outputs else 2))
                inputs = outputs
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Bottleneck(nn.Module):
    """ResNeXt's block: Xie et al. 2017, arXiv 1611.05431."""

    def __init__(self, width: int = 16, groups: int = 4) -> None:
        super().__init__()
        self.down, self.middle = conv(width, width, 1), conv(width, width, 3, groups=groups)
        self.up = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.up(self.middle(self.down(x))))


class ResNeXt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16), Bottleneck(), Bottleneck())
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class PreActivationResNet(nn.Module):
    """He et al. 2016, arXiv 1603.05027: norm and ReLU before each convolution, nothing after the sum."""

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
            self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv1(F.relu(self.norm1(x)))
            return x + self.conv2(F.relu(self.norm2(y)))

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.blocks = nn.Sequential(self.Block(12), self.Block(12))
        self.norm, self.head = nn.BatchNorm2d(12), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.norm(self.blocks(self.stem(x)))).mean((2, 3)))


class VGG(nn.Module):
    """Simonyan and Zisserman 2015, arXiv 1409.1556: flattened before the first linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *conv(3, 8), nn.MaxPool2d(2), *conv(8, 16), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2)
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Dropout(), nn.Linear(24, 5)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x))


class DenseNet(nn.Module):
    """Huang et al. 2017, arXiv 1608.06993."""

    class Layer(nn.Module):
        def __init__(self, inputs: int, growth: int) -> None:
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.block = nn.Sequential(*(self.Layer(8 + 6 * step, 6) for step in range(3)))
        self.transition = nn.Sequential(nn.BatchNorm2d(26), nn.ReLU(), nn.Conv2d(26, 12, 1), nn.AvgPool2d(2))
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.transition(self.block(self.stem(x))).mean((2, 3)))


class Inception(nn.Module):
    """Szegedy et al. 2015, arXiv 1409.4842: branches that are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.one, self.three = conv(8, 6, 1), nn.Sequential(conv(8, 4, 1), conv(4, 8, 3))
        self.five = nn.Sequential(conv(8, 4, 1), conv(4, 4, 5))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(8, 4, 1))
        self.mix, self.head = conv(22, 12, 1), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = self.mix(torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1))
        return self.head(x.mean((2, 3)))


class InvertedResidual(nn.Module):
    """MobileNetV2's block; with squeeze-and-excitation it is MobileNetV3's and EfficientNet's."""

    def __init__(self, width: int, expanded: int, squeezed: int, activation: nn.Module) -> None:
        super().__init__()
        self.expand = nn.Sequential(
            nn.Conv2d(width, expanded, 1, bias=False), nn.BatchNorm2d(expanded), activation
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(expanded, expanded, 3, 1, 1, groups=expanded, bias=False),
            nn.BatchNorm2d(expanded),
            activation,
        )
        self.squeeze = nn.Conv2d(expanded, squeezed, 1) if squeezed else None
        self.excite = nn.Conv2d(squeezed, expanded, 1) if squeezed else None
        self.project = nn.Sequential(nn.Conv2d(expanded, width, 1, bias=False), nn.BatchNorm2d(width))
        self.gate = nn.Hardsigmoid() if isinstance(activation, nn.Hardswish) else nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.depthwise(self.expand(x))
        if self.squeeze is not None and self.excite is not None:
            y = y * self.gate(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        return x + self.project(y)


class _Inverted(nn.Module):
    squeezed = 0

    def __init__(self) -> None:
        super().__init__()
        activation = self.activation()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), self.activation())
        self.blocks = nn.Sequential(*(InvertedResidual(8, 24, self.squeezed, activation) for _ in range(2)))
        self.head = nn.Linear(8, 5)

    def activation(self) -> nn.Module:
        return nn.ReLU6(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class MobileNetV2(_Inverted):
    """Sandler et al. 2018, arXiv 1801.04381."""


class MobileNetV3(_Inverted):
    """Howard et al. 2019, arXiv 1905.02244: squeeze-and-excitation, hard-swish."""

    squeezed = 6

    def activation(self) -> nn.Module:
        return nn.Hardswish(inplace=True)


class EfficientNet(_Inverted):
    """Tan and Le 2019, arXiv 1905.11946: the same with SiLU."""

    squeezed = 4

    def activation(self) -> nn.Module:
        return nn.SiLU(inplace=True)


class ShuffleNet(nn.Module):
    """Ma et al. 2018, arXiv 1807.11164: half the channels pass, the halves are shuffled."""

    class Unit(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            half = width // 2
            self.branch = nn.Sequential(
                conv(half, half, 1),
                nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False),
                nn.BatchNorm2d(half),
                conv(half, half, 1),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            passed, changed = x.chunk(2, 1)
            x = torch.cat([passed, self.branch(changed)], 1)
            batch, width, height, length = x.shape
            x = x.view(batch, 2, width // 2, height, length).transpose(1, 2)
            return x.reshape(batch, width, height, length)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, 3, 2), self.Unit(16), self.Unit(16))
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class GroupedShuffle(nn.Module):
    """Zhang et al. 2018, arXiv 1707.01083: grouped convolutions, ``channel_shuffle`` between them, PReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PReLU(12))
        self.first = nn.Conv2d(12, 24, 1, groups=3)
        self.second = nn.Conv2d(24, 12, 3, padding=1, groups=3)
        self.norm, self.head = nn.GroupNorm(3, 12), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.channel_shuffle(F.relu(self.first(self.stem(x))), 3)
        return self.head(F.relu(self.norm(self.second(x))).mean((2, 3)))


class ConvNeXt(nn.Module):
    """Liu et al. 2022, arXiv 2201.03545: depthwise 7×7, layer norm over channels, a scale for each."""

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
            self.norm = nn.LayerNorm(width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.scale = nn.Parameter(torch.full((width,), 0.5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
            y = self.scale * self.down(F.gelu(self.up(y)))
            return x + y.permute(0, 3, 1, 2)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 4, 4)
        self.blocks = nn.Sequential(self.Block(12), self.Block(12))
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.stem(x)).mean((2, 3))))
