"""Boxes as YOLO stores them: a text file of labels for each image.

    val/images/7.jpg     val/labels/7.txt     val/data.yaml (or beside val), which may name the classes

A line of a label file is an object: class number, then centre x, centre y, width and height as shares of the image's
size; or the points of a polygon, x y x y …, whose box is taken. An image without a label file, or with an empty one,
has no object. The folder ``images/val`` is taken as well, where its labels lie in ``labels/val``.

Reference: the detection format of Darknet and Ultralytics (docs.ultralytics.com/datasets/detect).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress.core.bounded_reading import read_bytes, read_text
from compress.core.installation import install_command
from compress.data.box_images import BoxSplit
from compress.data.detection_table import read_table
from compress.data.image_options import ImageOptions
from compress.data.images import SUFFIXES, entries
from compress.errors import DataError, UnavailableError

_IMAGES, _LABELS, _NAMES = "images", "labels", "data.yaml"
_MAX_LABEL_BYTES = 16_000_000
_MAX_NAMES_BYTES = 1_000_000
_OVER = 1e-3  # shares that rounding pushes over the edge

Rows = np.ndarray[Any, np.dtype[np.float64]]


def is_yolo(folder: Path) -> bool:
    """Whether the folder has ``images`` and ``labels``, or is such a folder of images itself."""
    return _places(folder) is not None


def open_yolo(folder: Path, image_options: Mapping[str, Any] | ImageOptions | None = None) -> BoxSplit:
    """Images with boxes, from a folder with ``images`` and ``labels``.

    Args:
        folder: Folder that holds both, or the folder ``images``, or one inside it.
        image_options: Preparation of images; wins over ``compress-data.toml`` in the folder that holds both.

    Raises:
        DataError: There are no images, a label file is damaged or has no image, or a box or class is wrong.
        UnavailableError: Pillow is not installed, or a ``data.yaml`` is there and PyYAML is not.
    """
    root, images, labels = _places(folder) or (folder, folder / _IMAGES, folder / _LABELS)
    files = _image_files(images)
    if not files:
        inner = entries(images, folders=True)
        todo = f"give {images / inner[0]}" if inner else "add images"
        raise DataError("images", f"none in {images} (links and hidden files are skipped)", todo)
    _check_pairs(images, files, labels)
    classes = _class_names(root)
    read = [_read(labels / f"{Path(name).stem}.txt", classes) for name in files]
    boxes = [rows for rows, _ in read]
    split = BoxSplit(images, files, boxes, classes, ImageOptions.read(root, image_options), "yolo")
    repeated = sum(count for _, count in read)
    counts = {"boxes": sum(map(len, boxes))} | ({"boxes_repeated": repeated} if repeated else {})
    split.origin = {**split.origin, "labels": str(labels), **counts}
    split.detections = read_table(root)
    return split


def _places(folder: Path) -> tuple[Path, Path, Path] | None:
    """Return the folders of everything, of the images and of the labels; None where these are missing."""
    if (folder / _IMAGES).is_dir() and (folder / _LABELS).is_dir():
        return folder, folder / _IMAGES, folder / _LABELS
    parts = folder.absolute().parts
    if _IMAGES not in parts:
        return None
    at = len(parts) - 1 - parts[::-1].index(_IMAGES)
    labels = Path(*parts[:at], _LABELS, *parts[at + 1 :])
    return (Path(*parts[:at]), folder, labels) if labels.is_dir() and _image_files(folder) else None


def _image_files(folder: Path) -> list[str]:
    return [name for name in entries(folder) if Path(name).suffix.lower() in SUFFIXES]


def _check_pairs(images: Path, files: list[str], labels: Path) -> None:
    stems: dict[str, str] = {}
    for name in files:
        stem = Path(name).stem
        if stem in stems:
            problem = f"{stems[stem]} and {name} in {images}"
            raise DataError("one image for each label file", problem, "rename one of the two, and its labels")
        stems[stem] = name
    texts = [Path(name).stem for name in entries(labels) if name.endswith(".txt")]
    alone = next((stem for stem in texts if stem not in stems and stem != "classes"), None)
    if alone is not None:
        raise DataError(
            f"an image for every file in {labels}", f"only {alone}.txt", f"add it to {images}, or drop it"
        )
    if not set(texts) & set(stems):
        raise DataError("label files", f"none in {labels} for the images in {images}", "check the folder")


def _read(path: Path, classes: tuple[str, ...] | None) -> tuple[Rows, int]:
    """Read the boxes, float64 ``(k, 6)``, each once, and the number of lines that repeat another."""
    try:
        if not path.exists():
            return np.zeros((0, 6)), 0
        lines = read_text(path, _MAX_LABEL_BYTES).splitlines()
    except UnicodeDecodeError as error:
        raise DataError("label files of text", f"{path}: {error.reason}", "save it again") from error
    except OSError as error:
        raise DataError("label files that can be read", f"{path}: {error.strerror}", "check it") from error
    boxes = [
        _box(line, f"line {place} of {path}", classes) for place, line in enumerate(lines, 1) if line.strip()
    ]
    distinct = list(dict.fromkeys(boxes))
    return np.array(distinct, dtype=np.float64).reshape(-1, 6), len(boxes) - len(distinct)


def _box(line: str, where: str, classes: tuple[str, ...] | None) -> tuple[float, ...]:
    try:
        number, *places = (float(part) for part in line.split())
    except ValueError as error:
        raise DataError("numbers in a label file", f"'{line.strip():.60}', {where}", "correct it") from error
    if number < 0 or not number.is_integer():
        raise DataError("a class number from 0", f"{number:g}, {where}", "correct it")
    if classes is not None and number >= len(classes):
        todo = "complete names, or correct the class"
        raise DataError(
            f"class numbers below {len(classes)}, the names in {_NAMES}", f"{number:g}, {where}", todo
        )
    if len(places) == 4:
        x, y, width, height = places
        corners = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        has_area = width > 0 and height > 0
    elif len(places) >= 6 and len(places) % 2 == 0:
        points = np.array(places).reshape(-1, 2)
        corners = np.concatenate([points.min(axis=0), points.max(axis=0)])
        has_area = bool((corners[2:] > corners[:2]).all())
    else:
        problem = f"{len(places)} numbers after the class, {where}"
        raise DataError(
            "centre x, centre y, width and height, or the points of a polygon", problem, "correct it"
        )
    coordinates = np.array(places)
    if (
        not np.isfinite(coordinates).all()
        or coordinates.min() < -_OVER
        or coordinates.max() > 1 + _OVER
        or not has_area
    ):
        problem = f"{' '.join(f'{place:g}' for place in places[:4])}, {where}"
        raise DataError(
            "boxes with an area inside the image, as shares of its size from 0 to 1", problem, "correct it"
        )
    return (*np.clip(corners, 0.0, 1.0).tolist(), number, 0.0)


def _class_names(folder: Path) -> tuple[str, ...] | None:
    """Read the class names from ``data.yaml`` in the folder or the one above; None where there is none."""
    path = next((file for file in (folder / _NAMES, folder.parent / _NAMES) if file.is_file()), None)
    if path is None:
        return None
    try:
        import yaml
    except ImportError as error:
        raise UnavailableError(
            f"PyYAML, which reads {path}", "it is not installed", install_command("detection")
        ) from error
    try:
        content = yaml.safe_load(read_bytes(path, _MAX_NAMES_BYTES))
    except OSError as error:
        raise DataError(f"a {_NAMES} that can be read", f"{path}: {error.strerror}", "check it") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError("valid YAML", f"{path}: {error}", "correct the file") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[number] for number in range(len(names))]
    # A text of a name that is a list would be as long as its aliases make it.
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str | int | float) for name in names)
    ):
        problem = f"a {type(names).__name__} of something else"
        raise DataError(f"names of the classes in {path}", problem, "add names = a list, or remove the file")
    return tuple(str(name) for name in names)
