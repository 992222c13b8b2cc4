"""Segmentation folders: ``val/images/7.jpg`` with the class of each pixel in ``val/masks/7.png``.

A mask has one channel, gray or of palette indices, and a pixel's value is its class number. It is resized as its image
is, by the nearest pixel; what a letterbox leaves free gets -1, which is no class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data.image_options import ImageOptions
from compress.data.images import SUFFIXES, ImageFiles, as_gray, entries, file_digest, laid, opened
from compress.data.placement import Placement
from compress.data.split import Array
from compress.errors import DataError

#: What a pixel has that no mask covers.
NO_CLASS = -1

_IMAGES, _MASKS = "images", "masks"
_MODES = ("L", "P", "1")


def is_masks(folder: Path) -> bool:
    """Whether the folder has ``images`` and ``masks``."""
    return (folder / _IMAGES).is_dir() and (folder / _MASKS).is_dir()


class MaskSplit(ImageFiles):
    """Image files with a class map each.

    Args:
        root: The folder that holds ``images`` and ``masks``.
        files: Image files, relative to ``root``.
        masks: Mask files, relative to ``root``.
        options: Preparation of images, which applies to the masks too.
    """

    kind = "masks"

    def __init__(self, root: Path, files: Sequence[str], masks: Sequence[str], options: ImageOptions) -> None:
        super().__init__(root, files, options)
        self._masks = masks

    @classmethod
    def from_folder(cls, root: Path, options: Mapping[str, Any] | ImageOptions | None = None) -> MaskSplit:
        """Find the images of a folder, and the mask of each by its name.

        Raises:
            DataError: There is no image, an image has no mask, or a mask no image.
            UnavailableError: Pillow is not installed.
        """
        images, masks = (
            {Path(name).stem: name for name in entries(root / part) if Path(name).suffix.lower() in SUFFIXES}
            for part in (_IMAGES, _MASKS)
        )
        if not images:
            raise DataError(
                "images", f"none in {root / _IMAGES} (links and hidden files are skipped)", "add images"
            )
        for names_by_stem, others, part, other in (
            (images, masks, _MASKS, _IMAGES),
            (masks, images, _IMAGES, _MASKS),
        ):
            alone = next((name for stem, name in names_by_stem.items() if stem not in others), None)
            if alone is not None:
                problem = f"none for {root / other / alone}"
                raise DataError(
                    f"a file of the same name in {root / part}", problem, "add it, or drop the other"
                )
        files = [f"{_IMAGES}/{name}" for name in images.values()]
        return cls(
            root, files, [f"{_MASKS}/{masks[stem]}" for stem in images], ImageOptions.read(root, options)
        )

    def _taken(self, indices: NDArray[np.int64]) -> MaskSplit:
        files, masks = ([names[index] for index in indices] for names in (self._files, self._masks))
        return MaskSplit(self._root, files, masks, self._options)

    def _targets(self, rows: range, placements: Sequence[Placement]) -> Array:
        return np.stack(
            [
                decode_mask(self._root / self._masks[row], place)
                for row, place in zip(rows, placements, strict=True)
            ]
        )

    def _target_digest(self, row: int) -> bytes:
        return file_digest(self._root / self._masks[row])


def decode_mask(path: Path, placement: Placement) -> NDArray[np.int64]:
    """Decode one mask as class numbers, int64 ``(height, width)`` of the network's input.

    Args:
        path: The mask's file.
        placement: Placement of its image.

    Raises:
        DataError: The mask is damaged, has several channels, or another size than its image.
    """
    with opened(path) as image:
        if image.mode not in _MODES:
            problem = f"mode {image.mode} in {path}"
            raise DataError(
                "a mask of one channel of 8 bits, gray or palette", problem, "save class numbers as gray"
            )
        if image.size != placement.image:
            (width, height), (wide, high) = image.size, placement.image
            raise DataError(
                f"a mask of its image's {wide}x{high} pixels", f"{width}x{height} in {path}", "correct it"
            )
        numbers = as_gray(np.asarray(image).astype(np.uint8))  # a palette's numbers, not its colours
        classes = np.asarray(laid(numbers, placement, "nearest", 0), dtype=np.int64)
    (left, top), (width, height) = placement.offset, placement.scaled
    covered = np.zeros(classes.shape, dtype=bool)
    covered[max(top, 0) : top + height, max(left, 0) : left + width] = True
    return np.where(covered, classes, NO_CLASS)
