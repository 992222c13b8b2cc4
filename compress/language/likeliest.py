"""First choices of the original at each token, which every build is held against.

A whole distribution has as many numbers as the vocabulary has tokens. The original's likeliest ones are kept, and the
rest counts as one: the divergence of what is so lumped together is never larger than that of the whole (the
data-processing inequality), and close to it where the rest is unlikely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Number of tokens that are kept of each distribution; all of them where the vocabulary is smaller.
KEPT = 64

#: Probabilities below this are none: what is left of 1 after subtracting many of them is rounding.
_LEAST = 1e-12


@dataclass(frozen=True)
class Likeliest:
    """The original's first choices behind each token of a document.

    Attributes:
        ids: Ids of the tokens, the likeliest first, int32 [tokens, kept].
        logs: Logarithms of their probabilities, float32 [tokens, kept].
    """

    ids: NDArray[np.int32]
    logs: NDArray[np.float32]


def log_probabilities(logits: Array) -> NDArray[np.float64]:
    """Return the logarithms of the probabilities that logits [tokens, vocabulary] stand for."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def likeliest(logs: Array, kept: int = KEPT) -> Likeliest:
    """Return the first choices of a decoder.

    Args:
        logs: Logarithms of probabilities, float64 [tokens, vocabulary].
        kept: Number of tokens to keep of each distribution.
    """
    count = min(kept, logs.shape[1])
    some = np.argpartition(-logs, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(logs, some, axis=1), axis=1, kind="stable")
    ids = np.take_along_axis(some, order, axis=1)
    return Likeliest(ids.astype(np.int32), np.take_along_axis(logs, ids, axis=1).astype(np.float32))


def divergence(logs: Array, original: Likeliest, places: Array | None = None) -> NDArray[np.float64]:
    """Return the least divergence of a decoder from the original at each token, in nats, [tokens].

    It is Σ p · log(p / q) over the original's first choices and the rest as one, with p of the original.

    Args:
        logs: Logarithms of the decoder's probabilities, float64 [tokens, vocabulary].
        original: The original's first choices behind the same tokens.
        places: Number of each of these choices in the decoder's own vocabulary, [tokens, kept]; negative where it has
            none, and the choice then counts to the rest. None where both have one vocabulary.
    """
    ids = original.ids.astype(np.int64) if places is None else places
    is_known = ids >= 0
    theirs = original.logs.astype(np.float64)
    ours = np.take_along_axis(logs, np.maximum(ids, 0), axis=1)
    over_known = np.where(is_known, np.exp(theirs) * (theirs - ours), 0.0).sum(axis=1)
    their_rest, our_rest = (
        np.maximum(1 - np.where(is_known, np.exp(logs_of_one), 0.0).sum(axis=1), _LEAST)
        for logs_of_one in (theirs, ours)
    )
    return np.asarray(np.maximum(over_known + their_rest * np.log(their_rest / our_rest), 0.0))
