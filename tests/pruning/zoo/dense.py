"""Networks that give images, maps or boxes: what they show the user keeps its shape."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.pruning.zoo.images import conv


class UNet(nn.Module):
    """Ronneberger et al. 2015, arXiv 1505.04597: transposed convolution up, skips that are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = conv(3, 8), conv(8, 12), conv(12, 16)
        self.up2, self.up1 = nn.ConvTranspose2d(16, 12, 2, 2), nn.ConvTranspose2d(12, 8, 2, 2)
        self.join2, self.join1 = conv(24, 12), conv(16, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        x = self.bottom(F.max_pool2d(two, 2))
        x = self.join2(torch.cat([self.up2(x), two], 1))
        return self.head(self.join1(torch.cat([self.up1(x), one], 1)))


class FeaturePyramid(nn.Module):
    """Lin et al. 2017, arXiv 1612.03144: lateral sums after resizing; two maps are returned."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = conv(3, 8, 3, 2), conv(8, 16, 3, 2)
        self.lateral_low, self.lateral_high = nn.Conv2d(8, 12, 1), nn.Conv2d(16, 12, 1)
        self.smooth, self.head = conv(12, 12), nn.Conv2d(12, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        low = self.low(x)
        high = self.lateral_high(self.high(low))
        low = self.lateral_low(low) + F.interpolate(high, scale_factor=2.0, mode="nearest")
        return self.head(self.smooth(low)), self.head(self.smooth(high))


class C2f(nn.Module):
    """YOLOv8's block: the halves of one convolution, each bottleneck's result joined to them."""

    class Bottleneck(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.first, self.second = conv(width, width), conv(width, width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.second(self.first(x))

    def __init__(self, inputs: int, outputs: int, blocks: int = 2) -> None:
        super().__init__()
        self.half = outputs // 2
        self.first = conv(inputs, 2 * self.half, 1)
        self.blocks = nn.ModuleList(self.Bottleneck(self.half) for _ in range(blocks))
        self.last = conv((2 + blocks) * self.half, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.first(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.last(torch.cat(parts, 1))


class YOLO(nn.Module):
    """C2f blocks, pooled pyramid (SPPF), a head whose boxes and classes are joined and flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = conv(3, 8, 3, 2), C2f(8, 12)
        self.narrow, self.widen = conv(12, 6, 1), conv(18, 12, 1)
        self.boxes = nn.Sequential(conv(12, 8), nn.Conv2d(8, 4, 1))
        self.classes = nn.Sequential(conv(12, 8), nn.Conv2d(8, 3, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.narrow(self.block(self.stem(x)))
        once = F.max_pool2d(x, 5, 1, 2)
        x = self.widen(torch.cat([x, once, F.max_pool2d(once, 5, 1, 2)], 1))
        return torch.cat([self.boxes(x), self.classes(x)], 1).flatten(2)


class SuperResolution(nn.Module):
    """Shi et al. 2016, arXiv 1609.05158: pixel shuffle, here twice, with channels left between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.up1, self.up2 = nn.Conv2d(8, 24, 3, padding=1), nn.Conv2d(6, 12, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pixel_shuffle(self.up1(F.relu(self.first(x))), 2)
        return F.pixel_shuffle(self.up2(F.relu(x)), 2)


class SpaceToDepth(nn.Module):
    """Pixel unshuffle, instance norm and reflected padding, as style transfer and denoising have them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6, affine=True)
        self.second, self.last = nn.Conv2d(24, 12, 1), nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.norm(self.first(F.pad(x, (1, 1, 1, 1), mode="reflect"))), 0.2)
        x = F.relu(self.second(F.pixel_unshuffle(x, 2)))
        return self.last(F.interpolate(x, scale_factor=2.0, mode="bilinear"))


class Video(nn.Module):
    """3-D convolutions, one of them grouped, and the maximum over time and space."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv3d(2, 8, 3, padding=1), nn.BatchNorm3d(8)
        self.second, self.head = nn.Conv3d(8, 12, 3, padding=1, groups=2), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool3d(F.relu(self.norm(self.first(x))), 2)
        return self.head(F.relu(self.second(x)).amax((2, 3, 4)))
