"""Fewer values of a token between layers, chosen by what norms give on texts (Minitron, arXiv 2407.14679).

The importance of a value is the sum over all norms of the mean of its magnitude behind them. A norm over the values
that stay divides by another root mean square than the whole one did; the mean of that on the texts goes into its
scales, so that what stays is of the size that it was:

    scales' = scales · sqrt(mean of squares of those that stay / mean of squares of all)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from compress.language.module import DecoderModule
from compress.language.structure import Structure, pruned_arrays, pruned_config

if TYPE_CHECKING:
    from torch import Tensor

    from compress.language.config import DecoderConfig

#: Shares of a token's values that may stay.
SHARES = (0.875, 0.75, 0.5)

#: Numbers that widths are multiples of: what suits kernels where there is much to choose from, else a group of weights.
MULTIPLE, SMALL_MULTIPLE = 64, 32

_WIDE = 512


@dataclass(frozen=True)
class HiddenScores:
    """Importance and size of each value of a token, as the norms meet them on texts.

    Attributes:
        importance: Importance of each value, [hidden].
        squares: Mean square of each value before each norm, [hidden], by the norm's name.
    """

    importance: NDArray[np.float64]
    squares: dict[str, NDArray[np.float64]]

    def kept(self, width: int) -> NDArray[np.int64]:
        """Return the numbers of the most important values, ascending."""
        return np.sort(np.argsort(-self.importance, kind="stable")[:width])

    def structure(self, config: DecoderConfig, width: int) -> Structure:
        """Return the structure of a whole decoder but for its hidden width."""
        kept = self.kept(width)
        scales = {
            name: float(np.sqrt(squares[kept].mean() / max(squares.mean(), 1e-30)))
            for name, squares in self.squares.items()
        }
        whole = Structure.whole(config)
        return Structure(
            whole.layers, whole.neurons, whole.groups, kept, scales if config.norm == "rms" else {}
        )


def widths_below(config: DecoderConfig) -> list[int]:
    """Return the numbers of a token's values that may stay, below the whole number, the largest first.

    There are none where the embedding is scaled by the root of that number, as Gemma's is.
    """
    if config.embedding_scale != 1:
        return []
    step = MULTIPLE if config.hidden >= _WIDE else SMALL_MULTIPLE
    rounded = {max(step, round(config.hidden * share / step) * step) for share in SHARES}
    return sorted((width for width in rounded if width < config.hidden), reverse=True)


def hidden_scores(decoder: DecoderModule, batches: Iterable[Tensor]) -> HiddenScores:
    """Return what the norms of a decoder see on texts.

    Args:
        decoder: The decoder.
        batches: Ids of tokens, negative behind the last one of a text, int64 [texts, tokens].
    """
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    tokens = 0

    def seen(name: str, before: Tensor, after: Tensor) -> None:
        more_squares = before[is_token].double().square().sum(0)
        more_magnitudes = after[is_token].double().abs().sum(0)
        squares, magnitudes = sums.get(
            name, (torch.zeros_like(more_squares), torch.zeros_like(more_magnitudes))
        )
        sums[name] = squares + more_squares, magnitudes + more_magnitudes

    decoder.seen = seen
    try:
        with torch.no_grad():
            for ids in batches:
                is_token = ids >= 0
                tokens += int(is_token.sum())
                decoder(ids)
    finally:
        decoder.seen = None
    importance = sum(magnitudes.numpy() for _, magnitudes in sums.values()) / tokens
    return HiddenScores(
        np.asarray(importance), {name: (squares / tokens).numpy() for name, (squares, _) in sums.items()}
    )


def narrower(decoder: DecoderModule, structure: Structure) -> DecoderModule:
    """Return a decoder with the parts that stay, as a module that is not trained."""
    config = pruned_config(decoder.config, structure)
    smaller = DecoderModule(config, pruned_arrays(decoder.config, decoder.arrays(), structure))
    return smaller.eval().requires_grad_(False)
