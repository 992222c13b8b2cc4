"""Importance of a decoder's neurons and heads: about how much the loss grows without them.

With the gradient G of a text's mean loss by a gate at 1, and T tokens in the text, the loss grows by about

    ½ · T · mean(G²)   over texts

where a gate is closed: the diagonal of the Fisher information, as in Kwon et al. 2022, arXiv 2204.09656.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from compress.language.module import DecoderModule

Scores = dict[str, NDArray[np.float64]]


def unit_scores(decoder: DecoderModule, batches: Iterable[Tensor]) -> Scores:
    """Return the growth of the loss without each unit, in nats a token, by the name of the part that has it.

    Args:
        decoder: The decoder; its gates are set meanwhile.
        batches: Ids of tokens, negative behind the last one of a text, int64 [texts, tokens].
    """
    config = decoder.config
    sizes: dict[str, int] = {}
    for layer in range(config.layers):
        sizes[f"model.layers.{layer}.self_attn"] = config.kv_heads
        sizes[f"model.layers.{layer}.mlp"] = config.width(layer)
    sums = {name: np.zeros(size) for name, size in sizes.items()}
    texts = 0
    try:
        for ids in batches:
            gates = {name: torch.ones(len(ids), size, requires_grad=True) for name, size in sizes.items()}
            decoder.gates = dict(gates)
            targets = ids[:, 1:]
            is_judged = targets >= 0
            losses = F.cross_entropy(
                decoder(ids[:, :-1]).transpose(1, 2), targets.clamp(min=0), reduction="none"
            )
            tokens = is_judged.sum(1)
            mean = ((losses * is_judged).sum(1) / tokens).sum()
            gradients = torch.autograd.grad(mean, list(gates.values()))
            for name, gradient in zip(gates, gradients, strict=True):
                weighed = gradient.square() * tokens[:, None]
                sums[name] += 0.5 * weighed.sum(0).double().numpy()
            texts += len(ids)
    finally:
        decoder.gates = {}
    return {name: sum_of_part / texts for name, sum_of_part in sums.items()}
