"""Spoken words: espeak-ng in many voices, speeds and pitches, with noise, as logarithmic mel spectra.

    apt-get install espeak-ng

The voices of the evaluation are not among those that were learned.
"""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.studies.judging.data import Array, Data, Samples
from compress.errors import DataError

WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "yes",
    "no",
    "stop",
    "go",
    "left",
    "right",
    "light",
    "night",
    "ship",
    "sheep",
    "bad",
    "bat",
    "bed",
    "pen",
    "pin",
    "ten",
    "tin",
    "fan",
    "van",
    "thin",
    "sin",
    "thing",
)
RATE = 22_050
BANDS, FRAMES = 40, 64
_HOP, _WINDOW = 256, 512
_LANGUAGES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
_LEARNED = ("m1", "m2", "m3", "m4", "m6", "f1", "f2", "f4", "klatt", "klatt3", "Andy", "linda", "steph")
_HELD_OUT = ("m5", "m7", "f3", "f5", "klatt2", "Annie", "max", "victor")


def words(seed: int = 4, training: int = 12_000, evaluation: int = 4000) -> Data:
    """Spectra ``(n, 1, 40, 64)`` and which of :data:`WORDS` each holds."""
    if shutil.which("espeak-ng") is None:
        raise DataError("espeak-ng, to speak the words", "no such program", "apt-get install espeak-ng")
    rng = np.random.default_rng(seed)
    return Data(_spoken(_LEARNED, 70, training, rng), _spoken(_HELD_OUT, 40, evaluation, rng))


def _spoken(voices: tuple[str, ...], renderings: int, count: int, rng: np.random.Generator) -> Samples:
    """``count`` noisy recordings from so many renderings of each word."""
    waves = [[_say(word, voices, rng) for _ in range(renderings)] for word in WORDS]
    labels = rng.integers(0, len(WORDS), count)
    which = rng.integers(0, renderings, count)
    spectra = np.concatenate(
        [
            _spectra(
                np.stack(
                    [
                        _recorded(waves[label][index], rng)
                        for label, index in zip(labels[at : at + 500], which[at : at + 500], strict=True)
                    ]
                )
            )
            for at in range(0, count, 500)
        ]
    )
    return Samples(spectra, labels)


def _say(word: str, voices: tuple[str, ...], rng: np.random.Generator) -> Array:
    voice = f"{rng.choice(_LANGUAGES)}+{rng.choice(voices)}"
    speed, pitch = rng.integers(110, 240), rng.integers(15, 85)
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", word]
    done = subprocess.run(command, capture_output=True, check=True)
    wave = np.frombuffer(done.stdout[44:], "<i2").astype(np.float32) / 32768
    loud = np.flatnonzero(np.abs(wave) > 0.02)
    return wave[loud[0] : loud[-1] + 1] if len(loud) else wave


def _recorded(wave: Array, rng: np.random.Generator) -> NDArray[np.float32]:
    """The word somewhere in as many samples as the spectrum holds, with coloured noise at -3 to 15 dB."""
    length = _HOP * (FRAMES - 1)
    heard = np.zeros(length, np.float32)
    wave = wave[:length]
    start = rng.integers(0, max(1, min(length - len(wave) + 1, 3000)))
    heard[start : start + len(wave)] = wave[: length - start]
    noise = rng.standard_normal(length).astype(np.float32)
    noise += rng.uniform(0, 1.5) * np.concatenate([[0], noise[:-1]]).astype(np.float32)
    power = np.sqrt((wave**2).mean() + 1e-9) * 10 ** (-rng.uniform(-3, 15) / 20)
    found: NDArray[np.float32] = (heard + noise / noise.std() * power).astype(np.float32)
    return found


def _spectra(waves: NDArray[np.float32]) -> Array:
    window = torch.hann_window(_WINDOW)
    found = torch.stft(torch.from_numpy(waves), _WINDOW, _HOP, window=window, return_complex=True).abs() ** 2
    bands = torch.log(torch.from_numpy(_mel()) @ found + 1e-5)
    bands = bands - bands.mean((1, 2), keepdim=True)
    return (bands / (bands.std((1, 2), keepdim=True) + 1e-5))[:, None].numpy().astype(np.float16)


def _mel() -> NDArray[np.float32]:
    """Triangular filters ``(bands, frequencies)``, equally wide on the mel scale."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), BANDS + 2) / 2595) - 1)
    frequencies = np.linspace(0, RATE / 2, _WINDOW // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
