"""The preparation of images that a network was trained with, as the files of its directory tell it.

transformers writes ``preprocessor_config.json``; timm writes ``pretrained_cfg`` into ``config.json``. Both become
:class:`compress.data.image_options.ImageOptions` by key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from compress.network.formats.directory import ModelDirectory, settings_beside

#: Pillow's numbers of interpolations.
_INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}


def image_settings(directory: ModelDirectory) -> dict[str, Any] | None:
    """Return the preparation of images by key; None where none is told, or one that the image options do not have.

    Raises:
        NetworkError: A file of the directory cannot be read.
    """
    try:
        if directory.library == "timm":
            return _of_timm(directory.config.get("pretrained_cfg"))
        return _of_transformers(settings_beside(directory, "preprocessor_config.json"))
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
    ):  # written by another program
        return None


def _of_transformers(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    if "size" not in settings or not settings.get("do_resize", True) or settings.get("do_pad"):
        return None
    size, crop = settings["size"], settings.get("crop_size") if settings.get("do_center_crop") else None
    shorter = size if isinstance(size, int) else size.get("shortest_edge")
    options: dict[str, Any] = {"interpolation": _INTERPOLATIONS[settings.get("resample", 2)]}
    if (
        settings.get("crop_pct") is not None and shorter is not None
    ):  # ConvNeXT: below 384 pixels, the rest is cut off
        options |= {"size": [shorter, shorter], "resize": "center-crop"}
        options |= (
            {"shorter": int(shorter / settings["crop_pct"])} if shorter < 384 else {"resize": "stretch"}
        )
    elif crop is not None:
        shape = _pair(crop)
        if shorter is None and _pair(size) != shape:
            return None
        options |= {"size": shape}
        options |= {"resize": "center-crop", "shorter": shorter} if shorter is not None else {}
    elif isinstance(size, int) or "height" in size:
        options["size"] = _pair(size)
    else:
        return None
    if settings.get("do_rescale", True):
        options["scale"] = 1 / settings.get("rescale_factor", 1 / 255)
    else:
        options["scale"] = 1.0
    if settings.get("do_normalize", True):
        options |= {"mean": settings.get("image_mean"), "std": settings.get("image_std")}
    return _tidied(options)


def _of_timm(settings: Any) -> dict[str, Any] | None:
    if not isinstance(settings, Mapping) or "input_size" not in settings:
        return None
    channels, height, width = settings["input_size"]
    share, mode = settings.get("crop_pct", 0.875), settings.get("crop_mode", "center")
    options: dict[str, Any] = {
        "size": [height, width],
        "interpolation": settings.get("interpolation", "bilinear"),
    }
    if share == 1 and mode == "squash":
        options["resize"] = "stretch"
    elif mode == "center" and height == width:
        options |= {"resize": "center-crop", "shorter": math.floor(height / share)}
    else:
        return None
    if channels == 1:
        options["mode"] = "L"
    options |= {"mean": settings.get("mean"), "std": settings.get("std")}
    return _tidied(options)


def _tidied(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs from no preparation, with a scale of 255 written so."""
    tidy = {key: value for key, value in options.items() if value is not None}
    if "scale" in tidy and abs(tidy["scale"] - 255) < 1e-6 * 255:
        del tidy["scale"]
    return tidy


def _pair(size: Any) -> list[int]:
    if isinstance(size, int):
        return [size, size]
    return [int(size["height"]), int(size["width"])]
