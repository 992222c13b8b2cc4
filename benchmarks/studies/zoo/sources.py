"""Real data that networks of other people can be run on: photographs, drawn text, speech, music and files.

    apt-get install espeak-ng fonts-dejavu fonts-liberation

What compress is given and what judges its builds differ: other parts of the photographs, other fonts, voices, seeds
and files.
"""

from __future__ import annotations

import functools
import gettext
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.signal import resample_poly  # type: ignore[import-untyped]

from compress.errors import DataError

Array = NDArray[np.generic]
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_FONTS = Path("/usr/share/fonts/truetype")
_LOCALE = "/usr/share/locale"
_VOICES = (("m1", "m2", "m3", "f1", "f2", "klatt", "Andy"), ("m5", "m7", "f3", "Annie", "max"))
_SPOKEN_RATE = 22_050
_SPEECHES = 10


@dataclass(frozen=True)
class Source:
    """Source that samples are drawn from.

    Attributes:
        held_out: Part of the data that judges builds, none of which compress is given.
        seed: Seed of every choice.
    """

    held_out: bool
    seed: int = 0

    def random(self) -> np.random.Generator:
        """A new source of randomness; the same at each call."""
        return np.random.default_rng([self.seed, int(self.held_out)])


def photographs(source: Source, count: int, height: int, width: int) -> Bytes:
    """Crops ``(count, height, width, 3)`` of scikit-learn's photographs: their left parts, or the right of them."""
    from sklearn.datasets import load_sample_images

    random = source.random()
    found = np.empty((count, height, width, 3), np.uint8)
    pictures = [Image.fromarray(each) for each in load_sample_images().images]
    for row in found:
        picture = pictures[random.integers(len(pictures))]
        split = round(0.6 * picture.width)
        left, right = (split, picture.width) if source.held_out else (0, split)
        share = random.uniform(0.4, 1)
        size = min(right - left, picture.height) * share
        x, y = random.uniform(left, right - size), random.uniform(0, picture.height - size)
        crop = picture.resize((width, height), box=(x, y, x + size, y + size))
        bright = random.uniform(0.7, 1.3) * np.asarray(crop, np.float32)
        row[:] = np.clip(bright[:, ::-1] if random.random() < 0.5 else bright, 0, 255)
    return found


def pages(source: Source, count: int, height: int, width: int, lines: int, size: int) -> Bytes:
    """Paper ``(count, height, width, 3)`` with so many lines of text, or photographs with text on them."""
    random = source.random()
    words, fonts = _words(source.held_out), _fonts(source.held_out)
    found = photographs(source, count, height, width)
    for row in found:
        if random.random() < 0.8:
            row[:] = random.integers(200, 256, 3)
        image = Image.fromarray(row)
        ink = tuple(int(each) for each in random.integers(0, 120, 3))
        font = ImageFont.truetype(str(fonts[random.integers(len(fonts))]), size)
        for line in range(lines):
            text = " ".join(words[each] for each in random.integers(len(words), size=1 + width // (5 * size)))
            place = (random.uniform(0, 0.1) * width, (line + random.uniform(0.05, 0.3)) * height / lines)
            ImageDraw.Draw(image).text(place, text, ink, font=font)
        noise = random.normal(0, random.uniform(0, 12), row.shape)
        row[:] = np.clip(np.asarray(image) + noise, 0, 255)
    return found


def speech(source: Source, count: int, samples: int, rate: int = 16_000) -> Floats:
    """Parts ``(count, samples)`` of spoken sentences, -1 to 1, with noise at 5 to 40 dB."""
    random = source.random()
    voices = [_resampled(source.held_out, voice, rate) for voice in range(_SPEECHES)]
    found = np.empty((count, samples), np.float32)
    for row in found:
        wave = voices[random.integers(len(voices))]
        wave = np.tile(wave, 1 + samples // len(wave))
        start = random.integers(len(wave) - samples + 1)
        part = wave[start : start + samples]
        noise = random.standard_normal(samples) * part.std() * 10 ** (-random.uniform(5, 40) / 20)
        row[:] = np.clip(random.uniform(0.3, 1) * (part + noise), -1, 1)
    return found


def music(source: Source, count: int, samples: int, rate: int) -> Floats:
    """Chords ``(count, samples)`` of plucked strings that follow each other."""
    random = source.random()
    found = np.zeros((count, samples), np.float32)
    step = rate // 4
    for row in found:
        for start in range(0, samples, step):
            for note in random.choice(np.arange(40, 88), random.integers(1, 4), replace=False):
                length = samples - start
                time = np.arange(length) / rate
                pitch = 440 * 2 ** ((note - 69) / 12)
                for harmonic in range(1, 7):
                    decay = np.exp(-time * random.uniform(2, 5) * harmonic)
                    row[start:] += (decay * np.sin(2 * np.pi * harmonic * pitch * time) / harmonic).astype(
                        "f4"
                    )
        row /= np.abs(row).max()
    return found


def files(source: Source, count: int) -> list[bytes]:
    """The bytes of so many files of the Python installation; those of other packages where they are held out."""
    random = source.random()
    chosen: list[bytes] = []
    there = _files(source.held_out)
    while len(chosen) < count:
        content = there[random.integers(len(there))].read_bytes()
        if len(content) >= 64:
            chosen.append(content)
    return chosen


def translations(source: Source, language: str, count: int, at_least: int = 20) -> list[str]:
    """So many sentences in a language, of the programs installed here; every fourth program is held out."""
    random = source.random()
    sentences = [
        text
        for text in _translated(language, source.held_out)
        if at_least <= len(text) <= 12 * at_least and "<" not in text
    ]
    if not sentences:
        raise DataError(f"translations into '{language}'", f"none in {_LOCALE}", "apt-get install gtk2.0")
    return [sentences[each] for each in random.integers(len(sentences), size=count)]


def mel(
    waves: Floats, rate: int, bands: int, window: int, hop: int, frequencies: int | None = None
) -> Floats:
    """Power in bands on the mel scale, ``(n, frames, bands)``; ``frequencies`` is the length of the transform."""
    length = frequencies or window
    frames = 1 + (waves.shape[1] - window) // hop
    index = np.arange(window) + hop * np.arange(frames)[:, None]
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 1400), bands + 2) / 2595) - 1)
    line = np.linspace(0, rate / 2, length // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = np.maximum(0, np.minimum((line - low) / (middle - low), (high - line) / (high - middle)))
    found = [
        np.abs(np.fft.rfft(wave[index] * np.hanning(window), length)) ** 2 @ (filters * 2 / (high - low)).T
        for wave in waves
    ]
    return np.stack(found).astype(np.float32)


def decibels(power: Floats, floor: float = 80.0) -> Floats:
    """Power in dB below the largest of each sample, from ``-floor`` to 0."""
    largest = power.max(tuple(range(1, power.ndim)), keepdims=True)
    found: Floats = np.maximum(10 * np.log10(np.maximum(power, 1e-10) / largest), -floor).astype(np.float32)
    return found


def channels_first(images: Bytes, mean: float = 0.5, deviation: float = 0.5) -> Floats:
    """Images ``(n, h, w, 3)`` as ``(n, 3, h, w)``, from 0 to 1, less the mean, over the deviation."""
    scaled = (images.astype(np.float32) / 255 - np.float32(mean)) / np.float32(deviation)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


@functools.cache
def _fonts(held_out: bool) -> list[Path]:
    there = sorted(path for path in _FONTS.rglob("*.ttf") if "Math" not in path.name)
    if len(there) < 8:
        raise DataError("fonts", f"{len(there)} in {_FONTS}", "apt-get install fonts-dejavu fonts-liberation")
    return [path for index, path in enumerate(there) if (index % 4 == 0) == held_out]


@functools.cache
def _files(held_out: bool) -> list[Path]:
    found = sorted(
        path
        for folder in sorted(Path(sysconfig.get_path("stdlib")).iterdir())
        if folder.is_dir() and folder.name != "site-packages"
        for path in sorted(folder.rglob("*"))[:400]
        if path.is_file() and path.suffix not in {".exe"} and path.stat().st_size < 4_000_000
    )
    return [path for index, path in enumerate(found) if (index % 4 == 0) == held_out]


@functools.cache
def _words(held_out: bool) -> list[str]:
    text = Path(functools.__file__).read_text() if held_out else Path(subprocess.__file__).read_text()
    return [word for word in text.split() if word.isalnum()]


@functools.cache
def _speech(held_out: bool, voice: int) -> Floats:
    if shutil.which("espeak-ng") is None:
        raise DataError("espeak-ng, to speak", "no such program", "apt-get install espeak-ng")
    random = np.random.default_rng([voice, int(held_out)])
    names, words = _VOICES[held_out], _words(held_out)
    text = " ".join(words[each] for each in random.integers(len(words), size=40))
    spoken = f"en-us+{names[voice % len(names)]}"
    command = ["espeak-ng", "-v", spoken, "-s", str(random.integers(120, 200)), "--stdout", text]
    done = subprocess.run(command, capture_output=True, check=True)
    return (np.frombuffer(done.stdout[44:], "<i2") / 32768).astype(np.float32)


@functools.cache
def _resampled(held_out: bool, voice: int, rate: int) -> Floats:
    wave = _speech(held_out, voice)
    common = int(np.gcd(rate, _SPOKEN_RATE))
    found: Floats = resample_poly(wave, rate // common, _SPOKEN_RATE // common).astype(np.float32)
    return found


@functools.cache
def _translated(language: str, held_out: bool) -> list[str]:
    found: list[str] = []
    for index, path in enumerate(sorted(Path(_LOCALE, language).rglob("*.mo"))):
        if (index % 4 == 0) != held_out:
            continue
        with path.open("rb") as file:
            catalogue = vars(gettext.GNUTranslations(file)).get("_catalog", {})
        found += [text for text in catalogue.values() if isinstance(text, str)]
    return found
