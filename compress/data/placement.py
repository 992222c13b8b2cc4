"""Placement of an image in the network's input, the same for pixels, boxes and masks.

An image is scaled to a width and height and then laid into a frame of the input's size: it may be cut there (crop), or
leave a rest that is filled (letterbox)::

    stretch       scaled to the size itself
    center-crop   scaled until both sides are covered, or the shorter one has ``shorter`` pixels; the middle is cut out
    letterbox     scaled until both sides fit; the rest lies around it, or below and to the right
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress.data.image_options import ImageOptions
from compress.data.split import Array


@dataclass(frozen=True)
class Placement:
    """Placement of one image in the network's input.

    Attributes:
        image: (width, height) of the image in pixels.
        scaled: (width, height) after resizing, in pixels.
        offset: (left, top) of its corner in the frame, in pixels; negative where the image is cut.
        frame: (width, height) of the network's input, in pixels.
    """

    image: tuple[int, int]
    scaled: tuple[int, int]
    offset: tuple[int, int]
    frame: tuple[int, int]

    @classmethod
    def of(cls, width: int, height: int, options: ImageOptions) -> Placement:
        """Return the placement of an image of this size in pixels."""
        image = (width, height)
        if options.size is None:
            return cls(image, image, (0, 0), image)
        frame = (options.size[1], options.size[0])
        if options.resize == "stretch":
            return cls(image, frame, (0, 0), frame)
        if options.resize == "letterbox":
            return cls._letterboxed(image, frame, centred=options.pad_position == "center")
        if options.shorter is not None:
            target, side = options.shorter, min(image)
        else:  # just enough to cover both sides
            target, side = max(zip(frame, image, strict=True), key=lambda pair: pair[0] / pair[1])
        # Truncated here and rounded below, as torchvision's Resize and CenterCrop do.
        scaled = (int(target * width / side), int(target * height / side))
        left, top = round((scaled[0] - frame[0]) / 2), round((scaled[1] - frame[1]) / 2)
        return cls(image, scaled, (-left, -top), frame)

    @classmethod
    def _letterboxed(cls, image: tuple[int, int], frame: tuple[int, int], centred: bool) -> Placement:
        scale = min(frame[0] / image[0], frame[1] / image[1])
        scaled = (max(1, round(image[0] * scale)), max(1, round(image[1] * scale)))
        left, top = frame[0] - scaled[0], frame[1] - scaled[1]
        return cls(image, scaled, (left // 2, top // 2) if centred else (0, 0), frame)

    def boxes(self, boxes: Array) -> Array:
        """Return boxes of the image as boxes of the network's input, cut at its edges.

        Args:
            boxes: float64 ``(k, 4 or more)``: x1, y1, x2, y2 as shares of the image's width and height, and columns
            that
                stay as they are.

        Returns:
            The boxes in pixels of the input, without those that lie outside.
        """
        placed = boxes.astype(np.float64)
        for axis in (0, 1):
            for column in (axis, axis + 2):
                moved = placed[:, column] * self.scaled[axis] + self.offset[axis]
                low = max(0, self.offset[axis])  # beyond the image itself there is only padding
                high = min(self.frame[axis], self.offset[axis] + self.scaled[axis])
                placed[:, column] = np.clip(moved, low, high)
        return placed[(placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1])]
