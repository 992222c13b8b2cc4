"""Published networks that take text, or the bytes of files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.zoo import sources
from benchmarks.studies.zoo.network import Published, Samples
from benchmarks.studies.zoo.sources import Source

_PIPER = "pypi:piper-tts==1.8.0"
_ENDS, _PADDING = 1024, 256
_HEBREW = "".join(chr(code) for code in range(0x5D0, 0x5EB))
_ARABIC = "".join(chr(code) for code in range(0x621, 0x64B) if not 0x63B <= code <= 0x640)
_THAI = "".join(chr(code) for code in range(0xE01, 0xE5B))


def _content(source: Source, count: int) -> Samples:
    """The first and the last bytes of files, without blanks around them."""
    rows = np.full((count, 2 * _ENDS), _PADDING, np.int32)
    for row, content in zip(rows, sources.files(source, count), strict=True):
        first, last = content[: 4 * _ENDS].lstrip()[:_ENDS], content[-4 * _ENDS :].rstrip()[-_ENDS:]
        row[: len(first)] = np.frombuffer(first, np.uint8)
        row[2 * _ENDS - len(last) :] = np.frombuffer(last, np.uint8)
    return {"bytes": rows}


def _numbers(texts: list[str], alphabet: str, length: int, first: int, other: int) -> NDArray[np.int64]:
    """Characters as numbers from ``first`` on; ``other`` for those outside the alphabet, and behind the text's end."""
    known = {character: first + index for index, character in enumerate(alphabet)}
    rows = [[known.get(character, other) for character in text[:length]] for text in texts]
    return np.array([row + [other] * (length - len(row)) for row in rows], np.int64)


def _arabic(source: Source, count: int) -> Samples:
    texts = sources.translations(source, "ar", count, 24)
    characters = _numbers(texts, _ARABIC, 40, 18, 1)
    lengths = np.full(count, 40, np.int64)
    return {"char_inputs": characters, "diac_inputs": np.ones_like(characters), "input_lengths": lengths}


def _hebrew(source: Source, count: int) -> Samples:
    texts = sources.translations(source, "he", count, 24)
    return {"x": _numbers(texts, _HEBREW, 48, 16, 4).astype(np.float32)}


def _thai(source: Source, count: int) -> Samples:
    texts = sources.translations(source, "th", count, 24)
    characters = _numbers(texts, _THAI, 64, 49, 3)
    syllables = np.where(characters == 3, 3, (characters * 37) % 6000 + 5)
    return {"x": np.stack([characters, syllables], 1)}


TEXTS: dict[str, Published] = {
    "file types": Published(
        "what kind of file it is (Magika)", "pypi:magika==1.0.3", "magika/models/standard_v3_3/model.onnx", _content,
        classes=-1,
    ),
    "arabic": Published(
        "vowel signs of Arabic (libtashkeel)", _PIPER, "piper/tashkeel/model.onnx", _arabic, given=128
    ),
    "hebrew": Published(
        "vowel signs of Hebrew (Nakdimon)", _PIPER, "piper/hebrew/nakdimon.onnx", _hebrew, classes=-1, given=128
    ),
    "thai words": Published(
        "where words begin (AttaCut)", "pypi:attacut==1.0.6", "attacut/artifacts/attacut-sc/model.pth", _thai,
        factory="benchmarks.studies.zoo.modules:words",
    ),
}  # fmt: skip
