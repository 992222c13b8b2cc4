"""Architectures written with torch alone, as people write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from benchmarks.studies.architectures.samples import Architecture, floats, tokens


def _convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class Inverted(nn.Module):
    """MobileNetV2's block: wider, depthwise, narrow again, around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(width, 4 * width, 1),
            _convolution(4 * width, 4 * width, 3, groups=4 * width),
            nn.Conv2d(4 * width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape [batch, width, height, width]."""
        found: Tensor = x + self.body(x)
        return found


class Attended(nn.Module):
    """A convolution whose channels and places are weighed (CBAM), with the maximum as ``max(dim)[0]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = _convolution(width, width)
        self.channels = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width))
        self.places = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape [batch, width, height, width]."""
        x = self.convolution(x)
        weights = self.channels(x.mean((2, 3))) + self.channels(x.flatten(2).max(2)[0])
        x = x * torch.sigmoid(weights)[:, :, None, None]
        spread = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        found: Tensor = x * torch.sigmoid(self.places(spread))
        return found


class UNet(nn.Module):
    """Down, up, and what was seen on the way down beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = _convolution(3, 16), _convolution(16, 32, stride=2)
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.last, self.head = _convolution(32, 16), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, 3, height, width] to scores [batch, 4, height, width]."""
        first = self.first(x)
        up = self.up(self.down(first))
        found: Tensor = self.head(self.last(torch.cat([first, up], 1)))
        return found


class Recurrent(nn.Module):
    """Recurrent layers and a class for every step, or for the last one."""

    def __init__(
        self,
        layer: type[nn.LSTM] | type[nn.GRU],
        batch_first: bool,
        *,
        last: bool = False,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.layer = layer(12, 32, 2, batch_first=batch_first, bidirectional=bidirectional)
        self.head = nn.Linear(64 if bidirectional else 32, 6)
        self.last, self.batch_first = last, batch_first

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, time, 12] or [time, batch, 12] to scores of the same layout, or of the last step."""
        found, _ = self.layer(x)
        if self.last:
            found = found[:, -1] if self.batch_first else found[-1]
        scores: Tensor = self.head(found)
        return scores


class States(nn.Module):
    """A GRU that gives its last states [layers, batch, width] beside its scores."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.GRU(12, 32, 2, batch_first=True), nn.Linear(32, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map [batch, time, 12] to scores and states."""
        found, states = self.layer(x)
        return self.head(found), states


def _encoder(batch_first: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=batch_first)
    return nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Linear(32, 6))


class Causal(nn.Module):
    """A residual block of a temporal convolutional network, padded on the left alone."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.convolution = parametrizations.weight_norm(nn.Conv1d(width, width, 3, dilation=dilation))
        self.left = 2 * dilation

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape [batch, width, time]."""
        found: Tensor = x + functional.relu(self.convolution(functional.pad(x, (self.left, 0))))
        return found


class Gated(nn.Module):
    """WaveNet's blocks: tanh times sigmoid of dilated convolutions, with skips that are summed."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 16, 1)
        self.filters = nn.ModuleList(nn.Conv1d(16, 32, 2, dilation=2**depth) for depth in range(4))
        self.mixes = nn.ModuleList(nn.Conv1d(16, 16, 1) for _ in range(4))
        self.head = nn.Conv1d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map sound [batch, 1, time] to scores [batch, 8, time]."""
        x = self.first(x)
        skips = torch.zeros_like(x)
        for depth, (filters, mix) in enumerate(zip(self.filters, self.mixes, strict=True)):
            values, gates = filters(functional.pad(x, (2**depth, 0))).chunk(2, 1)
            found = mix(torch.tanh(values) * torch.sigmoid(gates))
            skips, x = skips + found, x + found
        scores: Tensor = self.head(torch.relu(skips))
        return scores


class Recogniser(nn.Module):
    """CRNN: convolutions over a line of text, then an LSTM along it; log-probabilities for CTC, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(_convolution(1, 16), nn.MaxPool2d(2), _convolution(16, 24))
        self.layer, self.head = nn.LSTM(24, 24, bidirectional=True), nn.Linear(48, 11)

    def forward(self, x: Tensor) -> Tensor:
        """Map lines [batch, 1, 16, length] to log-probabilities [length / 2, batch, 11]."""
        steps = self.convolutions(x).mean(2).permute(2, 0, 1)
        scores: Tensor = self.head(self.layer(steps)[0]).log_softmax(2)
        return scores


class Detector(nn.Module):
    """Boxes from two levels, and the scores of their classes, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = _convolution(3, 16, stride=2), _convolution(16, 32, stride=2)
        self.heads = nn.ModuleList(nn.Conv2d(width, 4 + 5, 3, padding=1) for width in (16, 32))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images [batch, 3, 32, 32] to boxes [batch, 320, 4], corners in pixels, and scores [batch, 320, 5]."""
        first = self.first(x)
        maps = [head(level) for head, level in zip(self.heads, (first, self.second(first)), strict=True)]
        found = torch.cat([each.flatten(2).transpose(1, 2) for each in maps], 1)
        middle, size = found[..., :2].sigmoid() * 32, found[..., 2:4].exp().clamp(max=32)
        boxes = torch.cat([middle - size / 2, middle + size / 2], -1)
        return {"boxes": boxes, "scores": found[..., 4:].sigmoid()}


class Siamese(nn.Module):
    """Two images, one network, and how alike their unit vectors are, beside the vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(3, 16, stride=2), _convolution(16, 32), nn.AdaptiveAvgPool2d(1)
        )
        self.head = nn.Linear(32, 16)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map two images [batch, 3, 32, 32] to their likeness [batch] and their vectors [batch, 16]."""
        one, other = (
            functional.normalize(self.head(self.body(each).flatten(1)), dim=1) for each in (left, right)
        )
        return (one * other).sum(1), one, other


class Experts(nn.Module):
    """A mixture of four experts that are all computed, the best two weighed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(4)
        )
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, 16] to scores [batch, 5]."""
        best, which = self.gate(x).topk(2, dim=1)
        weights = torch.zeros_like(self.gate(x)).scatter(1, which, best.softmax(1))
        found = torch.stack([expert(x) for expert in self.experts], 1)
        scores: Tensor = self.head((weights[:, :, None] * found).sum(1))
        return scores


class Variational(nn.Module):
    """An autoencoder that draws nothing when it is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.SiLU(), nn.Linear(64, 16))
        self.decoder = nn.Sequential(
            nn.Linear(8, 64), nn.SiLU(), nn.Linear(64, 256), nn.Unflatten(1, (1, 16, 16)), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map [batch, 1, 16, 16] to its likeness, a mean and the logarithm of a variance [batch, 8]."""
        mean, variance = self.encoder(x).chunk(2, 1)
        if self.training:
            mean = mean + torch.randn_like(mean) * (variance / 2).exp()
        return self.decoder(mean), mean, variance


class TwoTowers(nn.Module):
    """A recommender: indices looked up, numbers beside them, a wide and a deep part."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.wide = nn.EmbeddingBag(100, 16, mode="mean"), nn.Linear(8, 1)
        self.deep = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 1))

    def forward(self, items: Tensor, numbers: Tensor) -> Tensor:
        """Map indices [batch, 6] and numbers [batch, 8] to a chance [batch]."""
        joined = torch.cat([self.table(items), numbers], 1)
        chance: Tensor = torch.sigmoid(self.deep(joined) + self.wide(numbers)).squeeze(-1)
        return chance


def _mobile() -> nn.Module:
    return nn.Sequential(
        _convolution(3, 16, stride=2), Inverted(16), Inverted(16), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 10),
    )  # fmt: skip


def _cbam() -> nn.Module:
    return nn.Sequential(
        _convolution(3, 16),
        Attended(16),
        Attended(16),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def _tcn() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 16, 1), *(Causal(16, 2**depth) for depth in range(3)), nn.Conv1d(16, 6, 1)
    )


def _autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 8, 3, 2, 1), nn.ReLU(),
        nn.Upsample(scale_factor=2), nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid(),
    )  # fmt: skip


def _generator() -> nn.Module:
    return nn.Sequential(
        nn.Linear(16, 32 * 16), nn.Unflatten(1, (32, 4, 4)), nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


def _critic() -> nn.Module:
    spectral = parametrizations.spectral_norm
    return nn.Sequential(
        spectral(nn.Conv2d(3, 16, 4, 2, 1)), nn.LeakyReLU(0.2), spectral(nn.Conv2d(16, 32, 4, 2, 1)),
        nn.LeakyReLU(0.2), nn.InstanceNorm2d(32, affine=True), nn.Flatten(), nn.Linear(32 * 64, 1),
    )  # fmt: skip


def _perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Linear(16, 64), nn.LayerNorm(64), nn.PReLU(), nn.Linear(64, 64), nn.Mish(), nn.Linear(64, 3)
    )


def _video() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d((1, 2, 2)),
        nn.Conv3d(8, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.Hardswish(), nn.AdaptiveAvgPool3d(1),
        nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


def _upscaler() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, padding_mode="reflect"),
        nn.ELU(),
        nn.Conv2d(16, 12, 3, 1, 1),
        nn.PixelShuffle(2),
    )


_IMAGE = {"x": floats(3, 32, 32)}

OWN: dict[str, Architecture] = {
    "mobilenet": Architecture(_mobile, _IMAGE, "pt2"),
    "cbam": Architecture(_cbam, _IMAGE, "torchscript"),
    "unet": Architecture(UNet, _IMAGE, "pt2"),
    "lstm, time first": Architecture(lambda: Recurrent(nn.LSTM, False), {"x": floats(9, 12)}, batch_axis=1),
    "lstm, last step": Architecture(lambda: Recurrent(nn.LSTM, True, last=True), {"x": floats(9, 12)}, "pt2"),
    "gru, time first, last step": Architecture(
        lambda: Recurrent(nn.GRU, False, last=True), {"x": floats(9, 12)}, batch_axis=1
    ),
    "gru, both ways": Architecture(
        lambda: Recurrent(nn.GRU, True, bidirectional=True), {"x": floats(9, 12)}, "state_dict"
    ),
    "gru with its states": Architecture(States, {"x": floats(9, 12)}),
    "encoder, time first": Architecture(lambda: _encoder(False), {"x": floats(7, 32)}, batch_axis=1),
    "encoder, batch first": Architecture(lambda: _encoder(True), {"x": floats(7, 32)}, "torchscript"),
    "tcn": Architecture(_tcn, {"x": floats(4, 40)}),
    "wavenet": Architecture(Gated, {"x": floats(1, 64)}, "pt2"),
    "ctc recogniser": Architecture(Recogniser, {"x": floats(1, 16, 48)}),
    "detector": Architecture(Detector, _IMAGE, "state_dict"),
    "autoencoder": Architecture(_autoencoder, {"x": floats(1, 16, 16)}, "torchscript"),
    "variational autoencoder": Architecture(Variational, {"x": floats(1, 16, 16)}, "state_dict"),
    "gan generator": Architecture(_generator, {"x": floats(16)}, "pt2"),
    "gan critic, spectral": Architecture(_critic, _IMAGE),
    "siamese": Architecture(Siamese, {"left": floats(3, 32, 32), "right": floats(3, 32, 32)}, "pt2"),
    "mixture of experts": Architecture(Experts, {"x": floats(16)}, "torchscript"),
    "recommender": Architecture(TwoTowers, {"items": tokens(6), "numbers": floats(8)}),
    "perceptron": Architecture(_perceptron, {"x": floats(16)}, "state_dict"),
    "video": Architecture(_video, {"x": floats(3, 4, 16, 16)}, "pt2"),
    "upscaler": Architecture(_upscaler, {"x": floats(3, 16, 16)}, "torchscript"),
}
