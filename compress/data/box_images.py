"""Image files with boxes, of any storage format."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.data.boxes import ragged
from compress.data.image_options import ImageOptions
from compress.data.images import ImageFiles
from compress.data.placement import Placement
from compress.data.split import Array
from compress.errors import DataError


class BoxSplit(ImageFiles):
    """Image files with boxes.

    Args:
        root: The folder that the files' names are relative to.
        files: Image files, relative to ``root``.
        boxes: Boxes of each file, float64 ``(k, 6)``: x1, y1, x2, y2 as shares of the image's width and height, class
            number, and 1 for a crowd.
        classes: Names of the classes, by class number; None where they are unknown.
        options: Preparation of images, which applies to the boxes too.
        kind: Format of the annotations, ``coco`` or ``yolo``, for provenance.
        sizes: (width, height) in pixels that each file must have; None where it is not stated.
    """

    def __init__(
        self,
        root: Path,
        files: Sequence[str],
        boxes: Sequence[Array],
        classes: tuple[str, ...] | None,
        options: ImageOptions,
        kind: str,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.kind = kind
        super().__init__(root, files, options)
        self._boxes = boxes
        self._sizes = sizes
        self.classes = classes

    def _taken(self, indices: NDArray[np.int64]) -> BoxSplit:
        files, boxes = [self._files[index] for index in indices], [self._boxes[index] for index in indices]
        sizes = None if self._sizes is None else [self._sizes[index] for index in indices]
        subset = BoxSplit(self._root, files, boxes, self.classes, self._options, self.kind, sizes)
        subset.origin = self.origin
        return subset

    def _targets(self, rows: range, placements: Sequence[Placement]) -> Array:
        for row, placement in zip(rows, placements, strict=True):
            if self._sizes is not None and self._sizes[row] != placement.image:
                (width, height), (told_width, told_height) = placement.image, self._sizes[row]
                raise DataError(
                    f"an image of {told_width}x{told_height} pixels, as its annotations say",
                    f"{width}x{height} in {self._root / self._files[row]}",
                    "give the images that were annotated, not resized or turned ones",
                )
        return ragged(
            [placement.boxes(self._boxes[row]) for row, placement in zip(rows, placements, strict=True)]
        )

    def _target_digest(self, row: int) -> bytes:
        boxes = np.ascontiguousarray(self._boxes[row])
        return hashlib.blake2b(boxes.tobytes(), digest_size=16).digest()
