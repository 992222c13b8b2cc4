"""Embeddings with ``max_norm``, which shorten the weight rows that they look up: done once for all rows here."""

from __future__ import annotations

import torch
from torch import nn


def bound_embeddings(module: nn.Module) -> None:
    """Shorten every row of the module's embeddings that is too long, so that looking it up changes nothing."""
    for part in module.modules():
        if not isinstance(part, nn.Embedding | nn.EmbeddingBag) or part.max_norm is None:
            continue
        every = torch.arange(part.num_embeddings)
        with torch.no_grad():
            torch.embedding_renorm_(part.weight.detach(), every, float(part.max_norm), part.norm_type)
        part.max_norm = None
