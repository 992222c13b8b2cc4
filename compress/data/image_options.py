"""Preparation of image files as arrays, by a folder's ``compress-data.toml`` or the caller's options.

The file, with every key it may have; all are optional::

    size = [224, 224]                 # height, width in pixels
    resize = "center-crop"            # or "letterbox"; "stretch" is the default
    pad_value = 114                   # gray of what "letterbox" leaves free, 0 to 255
    pad_position = "center"           # or "top-left": where "letterbox" puts the image
    shorter = 256                     # shorter side in pixels before the crop; by default it just covers the size
    interpolation = "bilinear"        # or "bicubic", "nearest"
    mode = "RGB"                      # or "L" for one channel of gray
    scale = 255                       # pixel values are divided by it,
    mean = [0.485, 0.456, 0.406]      # then this is subtracted, a value a channel,
    std = [0.229, 0.224, 0.225]       # and the result divided by this
    layout = "NCHW"                   # or "NHWC"
    classes = ["cat", "dog"]          # names of the class folders, in the network's order

Detectors have tables of their own in it: ``[annotations]`` (:mod:`compress.data.annotations`) and ``[detections]``
(:mod:`compress.data.detection_options`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress.core.toml_schema import Field, List, Number, Text, check, read_toml
from compress.data.class_order import ClassOrder, OrderField
from compress.errors import DataError

#: The file in a folder of images that says how they are prepared.
OPTIONS_FILE = "compress-data.toml"

#: Tables of that file that say something else; who reads them checks them.
OTHER_TABLES = ("annotations", "detections")

#: Channels of an image in each mode.
CHANNELS = {"RGB": 3, "L": 1}

_PER_CHANNEL = List(Number("", -1e6, 1e6), 1, 3)
_FIELDS: dict[str, Field] = {
    "size": List(Number("pixels", 1, 16384, whole=True), 2, 2),
    "resize": Text(("stretch", "center-crop", "letterbox")),
    "pad_value": Number("", 0, 255, whole=True),
    "pad_position": Text(("center", "top-left")),
    "shorter": Number("pixels", 1, 16384, whole=True),
    "interpolation": Text(("bilinear", "bicubic", "nearest")),
    "mode": Text(tuple(CHANNELS)),
    "scale": Number("", 1e-6, 1e6),
    "mean": _PER_CHANNEL,
    "std": _PER_CHANNEL,
    "layout": Text(("NCHW", "NHWC")),
    "classes": OrderField(),
}


def keys_told(folder: Path) -> set[str]:
    """Return the keys that a folder's ``compress-data.toml`` has, tables of other readers left out; empty without one.

    Raises:
        DataError: The file is no TOML.
    """
    path = folder / OPTIONS_FILE
    return set(read_toml(path, DataError)) - set(OTHER_TABLES) if path.is_file() else set()


@dataclass(frozen=True)
class ImageOptions:
    """Options that turn an image file into a float32 array.

    Attributes:
        size: (height, width) in pixels; None leaves images unchanged, which then must all have one size.
        resize: Method of resizing: ``stretch`` to the size; ``center-crop``: scale, then cut the middle out; or
            ``letterbox``: scale until the whole image fits, and fill the rest.
        pad_value: Gray that ``letterbox`` fills with, 0 to 255, before scale, mean and std.
        pad_position: Position of the image under ``letterbox``: ``center`` or ``top-left``.
        shorter: Length in pixels that ``center-crop`` scales the shorter side to; None just covers ``size``.
        interpolation: Interpolation: ``bilinear``, ``bicubic`` or ``nearest``.
        mode: Colour mode: ``RGB`` or ``L`` (gray).
        scale: Divisor of the pixel values, 0 to 255.
        mean: Value subtracted after that, one for each channel; None for 0.
        std: Divisor after that, one for each channel; None for 1.
        layout: Order of the axes: ``NCHW`` or ``NHWC``.
        classes: Names of the class folders in the network's order, one class may have several; None for the order of
            the alphabet.
    """

    size: tuple[int, int] | None = None
    resize: str = "stretch"
    pad_value: int = 114
    pad_position: str = "center"
    shorter: int | None = None
    interpolation: str = "bilinear"
    mode: str = "RGB"
    scale: float = 255.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: str = "NCHW"
    classes: ClassOrder | None = None

    @classmethod
    def read(cls, folder: Path, given: Mapping[str, Any] | ImageOptions | None = None) -> ImageOptions:
        """Read the options from the folder's ``compress-data.toml``; the caller's options win, key by key.

        Raises:
            DataError: A key is unknown, a value has another type or is out of range, or values do not fit together.
        """
        if isinstance(given, ImageOptions):
            return given
        path = folder / OPTIONS_FILE
        table = read_toml(path, DataError) if path.is_file() else {}
        image_table = {key: value for key, value in table.items() if key not in OTHER_TABLES}
        values = check(image_table, _FIELDS, str(path), DataError)
        chosen = {key: value for key, value in dict(given or {}).items() if value is not None}
        values |= check(chosen, _FIELDS, "the image options", DataError)
        return cls(**values)

    @classmethod
    def recorded(cls, values: Mapping[str, Any], where: str) -> ImageOptions:
        """Read the options from a bundle's manifest.

        Args:
            values: Every option by its name, as :func:`dataclasses.asdict` gave it; lists stand for tuples.
            where: Source of the values, for messages.

        Raises:
            DataError: A key is unknown, a value has another type or is out of range, or values do not fit together.
        """
        not_none = {key: value for key, value in values.items() if value is not None}
        return cls(**check(not_none, _FIELDS, where, DataError))

    def preparation(self) -> dict[str, Any]:
        """Return what is done to the pixels, by key; the order of the classes is none of it."""
        return {key: value for key, value in asdict(self).items() if key != "classes"}

    def __post_init__(self) -> None:
        channels = CHANNELS[self.mode]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != channels:
                wanted = f"{name} with a value for each of the {channels} channels of mode {self.mode}"
                raise DataError(wanted, str(list(values)), f"change {name} or mode")
        if self.std is not None and min(self.std) <= 0:
            raise DataError("std above 0", str(list(self.std)), "change std")
        if self.resize != "stretch" and self.size is None:
            raise DataError(
                "the size to resize to", f"resize = '{self.resize}' alone", "add size = [height, width]"
            )
        if self.shorter is not None and (self.resize != "center-crop" or self.size is None):
            raise DataError("resize = 'center-crop' with shorter", f"'{self.resize}'", "change resize")
        if self.shorter is not None and self.size is not None and self.shorter < max(self.size):
            problem = f"{self.shorter} for size {list(self.size)}"
            raise DataError("shorter of at least the size", problem, "change shorter or size")
