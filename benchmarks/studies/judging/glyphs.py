"""Letters of three scripts in the DejaVu fonts, turned, scaled and noisy; evaluated in fonts that were not learned.

Some letters look alike in two scripts, so that no network can tell them: it is as right with one as with the other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from benchmarks.studies.judging.data import Data, Samples
from compress.errors import DataError

FONTS = Path("/usr/share/fonts/truetype/dejavu")
CHARACTERS = (
    "".join(chr(code) for code in (*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B)))
    + "".join(chr(code) for code in range(0xC0, 0x100))
    + "".join(chr(code) for code in (*range(0x393, 0x3A2), *range(0x3A3, 0x3AA), *range(0x3B1, 0x3CA)))
    + "".join(chr(code) for code in range(0x410, 0x450))
)
SIDE = 32
_HELD_OUT = 5


def letters(seed: int = 3, training: int = 30_000, evaluation: int = 4000) -> Data:
    """Images ``(n, 1, 32, 32)`` and which of :data:`CHARACTERS` each shows."""
    fonts = sorted(FONTS.glob("*.ttf"))
    if len(fonts) <= _HELD_OUT:
        raise DataError("the DejaVu fonts", f"{len(fonts)} in {FONTS}", "apt-get install fonts-dejavu")
    drawn = torch.stack([_alphabet(font) for font in fonts])  # fonts, characters, side, side
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(fonts))
    return Data(
        _varied(drawn[order[_HELD_OUT:]], training, rng), _varied(drawn[order[:_HELD_OUT]], evaluation, rng)
    )


def placed(
    images: Tensor, side: int, shift: Tensor, angle: Tensor, scale: Tensor, *, mode: str = "bilinear"
) -> Tensor:
    """Images ``(n, 1, h, w)`` turned, scaled and moved onto an empty square.

    Args:
        images: Images that are placed; 0 is empty.
        side: Side of the square, in pixels.
        shift: Centre ``(n, 2)``, x and y, from -1 to 1.
        angle: In radians, ``(n,)``.
        scale: Share of the square that the image takes, ``(n,)``.
        mode: Mode of the interpolation.
    """
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    x, y = shift[:, 0], shift[:, 1]
    theta = torch.stack(
        [cosine, sine, -(cosine * x + sine * y), -sine, cosine, sine * x - cosine * y], 1
    ).view(-1, 2, 3)
    grid = functional.affine_grid(theta, [len(images), 1, side, side], align_corners=False)
    return functional.grid_sample(images, grid, mode=mode, align_corners=False)


def alphabet_of(font: Path, characters: str, side: int = SIDE) -> Tensor:
    """The characters ``(n, side, side)``, 1 where there is ink."""
    face = ImageFont.truetype(str(font), round(side * 0.7))
    images = []
    for character in characters:
        image = Image.new("L", (side, side))
        ImageDraw.Draw(image).text((side / 2, side / 2), character, 255, font=face, anchor="mm")
        images.append(np.asarray(image, np.float32) / 255)
    return torch.from_numpy(np.stack(images))


def _alphabet(font: Path) -> Tensor:
    return alphabet_of(font, CHARACTERS)


def _varied(drawn: Tensor, count: int, rng: np.random.Generator) -> Samples:
    labels = rng.integers(0, len(CHARACTERS), count)
    chosen = drawn[rng.integers(0, len(drawn), count), labels][:, None]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, *shape)).astype(np.float32))

    x = placed(chosen, SIDE, uniform(-0.15, 0.15, 2), uniform(-0.25, 0.25), uniform(0.75, 1.15))
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
    x = uniform(0.4, 1.5, 1, 1, 1) * x + 0.25 * noise
    return Samples(x.numpy().astype(np.float16), labels)
