"""Rotary position embedding: the angles by which a position turns each pair of a head's values.

angle[position, i] = position · theta^(−2i / head size) / divisor[i],  i from 0 to head size / 2 − 1

A model that was stretched to longer texts has divisors above 1, for all pairs (``linear``) or for the slow ones
(``llama3``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.core.suggestions import did_you_mean
from compress.errors import NetworkError
from compress.language.fields import Fields

#: Kinds of stretching that can be computed here.
KINDS = ("default", "linear", "llama3")


@dataclass(frozen=True)
class Rope:
    """Angles of a decoder's rotary embedding.

    Attributes:
        theta: Base of the frequencies, above 1.
        divisors: Divisor of each frequency, one for each pair of values; None for ones.
    """

    theta: float
    divisors: tuple[float, ...] | None = None

    def tables(self, positions: int, head_dim: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return cosines and sines, each float32 [positions, head size / 2]."""
        frequencies = _frequencies(self.theta, head_dim)
        if self.divisors is not None:
            frequencies = frequencies / np.asarray(self.divisors, np.float64)
        # In float32, as the networks were trained: in float64, angles of far positions are others.
        angles = np.arange(positions, dtype=np.float32)[:, np.newaxis] * frequencies.astype(np.float32)
        return np.cos(angles), np.sin(angles)


def read_rope(fields: Fields, head_dim: int, default_theta: float = 10000.0) -> Rope:
    """Read the rotary embedding from a config.json, in the form before transformers 5 or the one since.

    Args:
        fields: Fields of the file.
        head_dim: Number of values of a head.
        default_theta: Base of the frequencies where the file names none.

    Raises:
        NetworkError: A field is wrong, or the kind of stretching is not known.
    """
    inner = fields.inner("rope_parameters")
    if inner is not None:
        theta = inner.number("rope_theta", 1.0, 1e12, default_theta)
    else:
        theta = fields.number("rope_theta", 1.0, 1e12, default_theta)
        inner = fields.inner("rope_scaling")
    if inner is None:
        return Rope(theta)
    kind = inner.text("rope_type", inner.text("type", "default"))
    if kind not in KINDS:
        raise NetworkError(
            f"a rotary embedding of kind {', '.join(KINDS)}",
            f"{fields.where}: '{kind}'",
            did_you_mean(kind, KINDS) or "choose a model with one of these kinds",
        )
    if kind == "default":
        return Rope(theta)
    factor = inner.number("factor", 1.0, 1e6)
    if kind == "linear":
        return Rope(theta, (factor,) * (head_dim // 2))
    low = inner.number("low_freq_factor", 1e-6, 1e6)
    high = inner.number("high_freq_factor", 1e-6, 1e6)
    if high <= low:
        raise inner.wrong("high_freq_factor", f"a number above low_freq_factor, {low:g},")
    original = inner.count("original_max_position_embeddings", 1 << 30)
    return Rope(theta, _llama3(_frequencies(theta, head_dim), factor, low, high, original))


def _frequencies(theta: float, head_dim: int) -> NDArray[np.float64]:
    """Return the frequency of each pair of a head's values, in radians per position, [head size / 2]."""
    frequencies: NDArray[np.float64] = theta ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    return frequencies


def _llama3(
    frequencies: NDArray[np.float64], factor: float, low: float, high: float, original: int
) -> tuple[float, ...]:
    """Return 1 for frequencies that turn often within the original context, ``factor`` for slow ones, and between."""
    turns = original * frequencies / (2 * math.pi)
    share = np.clip((turns - low) / (high - low), 0, 1)  # 1: fast enough to stay
    return tuple(float(frequency) for frequency in 1 / ((1 - share) / factor + share))
