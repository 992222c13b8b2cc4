"""Tones of known pitch: harmonics of random strength in noise, and how CREPE tells their pitch (arXiv 1802.06182)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.judging.data import Array, Data, Samples

RATE, LENGTH = 16_000, 1024
BINS = 360
#: In cents above 10 Hz: 20 cents apart from 32.7 Hz on.
CENTS = np.linspace(0, 7180, BINS) + 1997.3794084376191
RIGHT = 50.0  # cents
_WIDTH = 25.0  # cents, of the bump that is learned


def tones(seed: int = 5, training: int = 10_000, evaluation: int = 2000) -> Data:
    """Frames ``(n, 1, 1024)`` of mean 0 and deviation 1, and their pitch in cents."""
    rng = np.random.default_rng(seed)
    return Data(_frames(training, rng), _frames(evaluation, rng))


def bumps(cents: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the right values of the bins, ``(n, 360)``."""
    return np.exp(-((CENTS - cents[:, None]) ** 2) / (2 * _WIDTH**2)).astype(np.float32)


def pitch(y: Array) -> NDArray[np.float64]:
    """The pitch that bins ``(n, 360)`` tell, in cents: their mean around the largest one."""
    places = y.argmax(1)[:, None] + np.arange(-4, 5)
    inside = (places >= 0) & (places < BINS)
    places = places.clip(0, BINS - 1)
    weights = np.take_along_axis(y.astype(np.float64), places, 1) * inside
    told: NDArray[np.float64] = (weights * CENTS[places]).sum(1) / (weights.sum(1) + 1e-9)
    return told


def _frames(count: int, rng: np.random.Generator) -> Samples:
    cents = rng.uniform(3200, 7700, count)  # 63 to 855 Hz
    time = (np.arange(LENGTH) - LENGTH / 2) / RATE
    phase = 2 * np.pi * (10 * 2 ** (cents / 1200))[:, None] * time
    phase += rng.uniform(0, 0.5, (count, 1)) * np.sin(2 * np.pi * rng.uniform(4, 7, (count, 1)) * time)
    wave = np.zeros((count, LENGTH), np.float32)
    steep = rng.uniform(0.2, 1.5, count)
    for harmonic in range(1, 13):
        strength = rng.exponential(1.0, count) * harmonic**-steep
        strength *= 10 * 2 ** (cents / 1200) * harmonic < RATE / 2
        wave += strength[:, None] * np.sin(harmonic * phase + rng.uniform(0, 2 * np.pi, (count, 1)))
    wave /= wave.std(1, keepdims=True)
    loud = 10 ** (-rng.uniform(-8, 20, (count, 1)) / 20)
    wave += loud * rng.standard_normal((count, LENGTH))
    wave = (wave - wave.mean(1, keepdims=True)) / wave.std(1, keepdims=True)
    return Samples(wave[:, None].astype(np.float16), cents.astype(np.float32))
