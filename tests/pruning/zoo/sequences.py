"""Recurrence, convolutions over time, and networks of unusual form: shared weights, several inputs or outputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class BiLSTM(nn.Module):
    """Two bi-directional layers; the last step and the last states are classified."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 10)
        self.lstm = nn.LSTM(10, 12, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(36, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps, (hidden, _) = self.lstm(F.relu(self.embed(x)))
        return self.head(torch.cat([steps[:, -1], hidden[-1]], 1))


class GRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 12, batch_first=True)
        self.first = nn.Linear(6, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = torch.tanh(self.first(x[:, 0])).unsqueeze(0)
        return self.head(self.gru(x, start)[0].mean(1))


class CRNN(nn.Module):
    """Shi et al. 2017, arXiv 1507.05717: columns of the feature maps are the steps of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.lstm, self.head = nn.LSTM(32, 10, bidirectional=True), nn.Linear(20, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        x = x.flatten(1, 2).permute(2, 0, 1)
        return self.head(self.lstm(x)[0]).permute(1, 0, 2)


class Audio(nn.Module):
    """Separable convolutions over a waveform, gated linear units."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.norm = nn.Conv1d(1, 12, 8, 4), nn.BatchNorm1d(12)
        self.depthwise, self.pointwise = nn.Conv1d(12, 12, 5, padding=2, groups=12), nn.Conv1d(12, 24, 1)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.elu(self.norm(self.front(x)))
        x = F.glu(self.pointwise(self.depthwise(x)), 1)
        return self.head(F.adaptive_avg_pool1d(x, 1).squeeze(-1))


class TCN(nn.Module):
    """Bai et al. 2018, arXiv 1803.01271: padded, dilated, the end cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 10, 3, padding=2, dilation=1)
        self.second = nn.Conv1d(10, 10, 3, padding=4, dilation=2)
        self.match, self.head = nn.Conv1d(3, 10, 1), nn.Linear(10, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.first(x)[..., :-2])
        y = F.relu(self.second(y)[:, :, :-4])
        return self.head(F.relu(y + self.match(x))[..., -1])


class Siamese(nn.Module):
    """One encoder for two inputs; their distance is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.BatchNorm1d(12))
        self.head = nn.Linear(12, 2)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.head((self.encode(left) - self.encode(right)).abs())


class MultiInput(nn.Module):
    """An image and numbers; each feature of the image is scaled and shifted by the numbers (FiLM)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.film = nn.Conv2d(3, 10, 3, padding=1), nn.Linear(4, 20)
        self.head = nn.Linear(10, 5)

    def forward(self, image: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        scale, shift = self.film(numbers).split(10, 1)
        x = self.conv(image) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
        return self.head(F.relu(x).mean((2, 3)))


class MultiOutput(nn.Module):
    """Classes, a vector of unit length, and a feature map that the user sees as well."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.hidden, self.classes, self.vector = nn.Linear(6, 16), nn.Linear(16, 5), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = F.relu(self.second(F.relu(self.stem(x))))
        hidden = torch.sigmoid(self.hidden(features.mean((2, 3))))
        vector = F.normalize(self.vector(hidden), dim=1)
        return {"classes": self.classes(hidden), "vector": vector, "features": features}


class Tied(nn.Module):
    """An autoencoder whose decoder is the encoder, transposed, and a layer that is applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.again = nn.Linear(8, 12), nn.Linear(12, 12)
        self.shift = nn.Parameter(torch.zeros(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.encode(x))
        x = self.again(torch.relu(self.again(x)))
        return F.linear(x, self.encode.weight.t(), self.shift)
