"""Attention in its forms: fused and separate projections, windows, causal, grouped queries, einsum."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Attention(nn.Module):
    """Query, key and value from one linear layer."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        x = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.project(x.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """Norm first; attention, then two linear layers."""

    def __init__(self, attention: nn.Module, width: int) -> None:
        super().__init__()
        self.attention, self.norm1, self.norm2 = attention, nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Dosovitskiy et al. 2021, arXiv 2010.11929."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 4, 4)
        self.token, self.positions = (
            nn.Parameter(torch.randn(1, 1, 24)),
            nn.Parameter(torch.randn(1, 5, 24)),
        )
        self.blocks = nn.Sequential(*(Block(Attention(24, 4), 24) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class Swin(nn.Module):
    """Liu et al. 2021, arXiv 2103.14030: attention in shifted windows with a bias for each head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm1 = nn.Conv2d(3, 16, 2, 2), nn.LayerNorm(16)
        self.qkv, self.project = nn.Linear(16, 48), nn.Linear(16, 16)
        self.bias = nn.Parameter(torch.randn(1, 2, 4, 4) * 0.1)
        self.merge, self.head = nn.Linear(64, 24, bias=False), nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        batch, height, length, width = x.shape
        y = torch.roll(self.norm1(x), (-1, -1), (1, 2))
        y = y.view(batch, height // 2, 2, length // 2, 2, width).permute(0, 1, 3, 2, 4, 5)
        y = y.reshape(-1, 4, width)
        query, key, value = self.qkv(y).reshape(-1, 4, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-2, -1) * (width // 2) ** -0.5 + self.bias
        y = self.project((scores.softmax(-1) @ value).transpose(1, 2).reshape(-1, 4, width))
        y = y.view(batch, height // 2, length // 2, 2, 2, width).permute(0, 1, 3, 2, 4, 5)
        x = x + torch.roll(y.reshape(batch, height, length, width), (1, 1), (1, 2))
        parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.head(self.merge(torch.cat(parts, -1)).mean((1, 2)))


class BERT(nn.Module):
    """Devlin et al. 2019, arXiv 1810.04805: norm after each sum, separate projections, a pooled first token."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(20, 16), nn.Embedding(6, 16)
        self.norm0, self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16), nn.LayerNorm(16)
        self.query, self.key, self.value = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.project, self.up, self.down = nn.Linear(16, 16), nn.Linear(16, 32), nn.Linear(32, 16)
        self.pooler, self.head = nn.Linear(16, 16), nn.Linear(16, 3)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], 4, 4).permute(0, 2, 1, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.norm0(self.words(tokens) + self.places(torch.arange(tokens.shape[1])))
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        weights = torch.softmax(torch.matmul(query, key.transpose(-1, -2)) / 2.0, -1)
        y = torch.matmul(weights, value).permute(0, 2, 1, 3).contiguous()
        x = self.norm1(x + self.project(y.view(y.shape[0], y.shape[1], 16)))
        x = self.norm2(x + self.down(F.gelu(self.up(x))))
        return self.head(torch.tanh(self.pooler(x[:, 0])))


class GPT(nn.Module):
    """Radford et al. 2019: causal, the embedding is the head, logits for every place."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 16)
        self.places = nn.Parameter(torch.randn(6, 16) * 0.1)
        self.blocks = nn.Sequential(*(Block(Attention(16, 2, causal=True), 16) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 20, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.words(tokens) + self.places)))


class RMSNorm(nn.Module):
    """Written out, as most language models have it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class LLaMA(nn.Module):
    """Touvron et al. 2023, arXiv 2302.13971 and 2307.09288: grouped queries, rotary positions, SwiGLU, RMS norm."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.norm1, self.norm2 = nn.Embedding(20, 32), RMSNorm(32), nn.RMSNorm(32)
        self.query, self.key = nn.Linear(32, 32, bias=False), nn.Linear(32, 16, bias=False)
        self.value, self.project = nn.Linear(32, 16, bias=False), nn.Linear(32, 32, bias=False)
        self.gate, self.up = nn.Linear(32, 48, bias=False), nn.Linear(32, 48, bias=False)
        self.down, self.head = nn.Linear(48, 32, bias=False), nn.Linear(32, 20, bias=False)
        angles = torch.outer(torch.arange(6.0), 1 / 10 ** (torch.arange(4.0) / 4)).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def turned(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, -1)
        return x * self.cos + torch.cat([-second, first], -1) * self.sin

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens)
        batch, length, width = x.shape
        y = self.norm1(x)
        query = self.turned(self.query(y).view(batch, length, 4, 8).transpose(1, 2))
        key = self.turned(self.key(y).view(batch, length, 2, 8).transpose(1, 2))
        value = self.value(y).view(batch, length, 2, 8).transpose(1, 2)
        key = key[:, :, None].expand(batch, 2, 2, length, 8).reshape(batch, 4, length, 8)
        value = value.repeat_interleave(2, dim=1)
        y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.project(y.transpose(1, 2).reshape(batch, length, width))
        y = self.norm2(x)
        return self.head(x + self.down(F.silu(self.gate(y)) * self.up(y)))


class Mixer(nn.Module):
    """Tolstikhin et al. 2021, arXiv 2105.01601: linear layers over places, then over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm1, self.norm2 = nn.Conv2d(3, 16, 2, 2), nn.LayerNorm(16), nn.LayerNorm(16)
        self.places = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
        self.channels = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.places(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return self.head((x + self.channels(self.norm2(x))).mean(1))


class EinsumAttention(nn.Module):
    """Heads as an axis of the weights, as networks that came from JAX have them; queries from another input."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Parameter(torch.randn(16, 2, 6) * 0.3) for _ in range(3))
        self.project, self.head = nn.Parameter(torch.randn(2, 6, 12) * 0.3), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        query = torch.einsum("btc,chd->bthd", x, self.query)
        key = torch.einsum("bsc,chd->bshd", memory, self.key)
        value = torch.einsum("bsc,chd->bshd", memory, self.value)
        weights = torch.einsum("bthd,bshd->bhts", query, key).mul(6**-0.5).softmax(-1)
        y = torch.einsum("bhts,bshd->bthd", weights, value)
        return self.head(torch.einsum("bthd,hdo->bto", y, self.project).mean(1))


class TorchEncoder(nn.Module):
    """``nn.TransformerEncoderLayer``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x).mean(1))
