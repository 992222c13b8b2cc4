"""Boxes as COCO stores them: one JSON file of images, categories and annotations.

    {"images":      [{"id": 7, "file_name": "7.jpg", "width": 640, "height": 480}, …],
     "categories":  [{"id": 1, "name": "person"}, …],
     "annotations": [{"image_id": 7, "category_id": 1, "bbox": [x, y, width, height], "iscrowd": 0}, …]}

All images are evaluated, also those without objects. The network's class number of a category is its place among the
ids in ascending order (COCO's ids have gaps: 1 to 90 are 80 classes), or in ``categories`` of the table
``[annotations]``. Masks and key points are not read. The images lie in the folder told there; else beside the file, or
in a folder ``images`` or ``val2017`` (for ``instances_val2017.json``) beside it or one level up.

Reference: Lin et al., 'Microsoft COCO: common objects in context', ECCV 2014; format at cocodataset.org.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress.core.bounded_reading import read_bytes
from compress.core.suggestions import did_you_mean
from compress.data.annotations import AnnotationOptions, inside
from compress.data.box_images import BoxSplit
from compress.data.detection_table import read_table
from compress.data.image_options import OPTIONS_FILE, ImageOptions
from compress.data.images import entries
from compress.errors import DataError

#: Larger files are not read; COCO's own of 118,000 training images has 450 MB.
MAX_BYTES = 1 << 30

_FOLDER = "annotations"
_PIXELS_OVER = 1.0  # rounding of boxes that touch the edge


def is_coco(folder: Path) -> bool:
    """Whether the folder holds ``annotations/*.json``."""
    return (folder / _FOLDER).is_dir() and bool(_json_files(folder / _FOLDER))


def open_coco(
    path: Path,
    image_options: Mapping[str, Any] | ImageOptions | None = None,
    annotation_options: AnnotationOptions | None = None,
) -> BoxSplit:
    """Images with boxes, from COCO's JSON file or the folder around it.

    Args:
        path: The JSON file, or a folder with ``annotations/*.json``.
        image_options: Preparation of images; wins over ``compress-data.toml``.
        annotation_options: Paths of the files; None reads ``compress-data.toml``.

    Raises:
        DataError: A file is missing, damaged or of another kind, or a box or class is wrong.
        UnavailableError: Pillow is not installed.
    """
    root = path if path.is_dir() else path.parent.parent if path.parent.name == _FOLDER else path.parent
    options = annotation_options or AnnotationOptions.read(root)
    file = path if path.is_file() else _annotation_file(root, options)
    content = _Content(_read(file), file)
    names = content.image_names()
    folder = _image_folder(root, file, names, options)
    files = [str(inside(folder, name, str(file)).relative_to(folder)) for name in names.values()]
    absent = next((name for name in files if not (folder / name).is_file()), None)
    if absent is not None:
        raise DataError(
            f"every image that {file} names", f"no {folder / absent}", "add it, or drop its entry"
        )
    classes, numbers = content.classes(options.categories)
    boxes, sizes, left_out = content.boxes(numbers)
    split = BoxSplit(
        folder,
        files,
        list(boxes.values()),
        classes,
        ImageOptions.read(root, image_options),
        "coco",
        list(sizes.values()),
    )
    split.origin = {
        **split.origin,
        "annotations": str(file),
        "boxes": sum(map(len, boxes.values())),
        **left_out,
    }
    split.detections = read_table(root)
    return split


class _Content:
    """Content of the JSON file, checked entry by entry."""

    def __init__(self, content: Any, file: Path) -> None:
        self._file = file
        if not isinstance(content, dict) or not isinstance(content.get("images"), list):
            keys = (
                f"the keys {', '.join(map(str, list(content)[:5]))}"
                if isinstance(content, dict)
                else type(content).__name__
            )
            raise DataError(
                "COCO's JSON with images, categories and annotations", f"{keys} in {file}", "check the file"
            )
        self._images = self._by_id(content, "images", file_name=str)
        self._categories = self._by_id(content, "categories", name=str)
        annotations = content.get("annotations")
        if not isinstance(annotations, list):
            raise DataError("a list of annotations", f"none in {file}", "check the file")
        self._annotations: list[Any] = annotations
        if not self._images:
            raise DataError("images", f"an empty list in {file}", "check the file")

    def image_names(self) -> dict[int, str]:
        """The file of each image by its id, in the file's order."""
        names = {number: str(image["file_name"]) for number, image in self._images.items()}
        seen: dict[str, int] = {}
        for number, name in names.items():
            if name in seen:
                problem = f"'{name}' as {seen[name]} and {number} in {self._file}"
                raise DataError("each image file once", problem, "drop one of the entries")
            seen[name] = number
        return names

    def classes(self, chosen: tuple[int, ...] | None) -> tuple[tuple[str, ...], dict[int, int]]:
        """Return the names of the classes, by class number, and the class number of each category id."""
        ids = tuple(sorted(self._categories)) if chosen is None else chosen
        unknown = next((number for number in ids if number not in self._categories), None)
        if unknown is not None:
            todo = "correct categories in the table [annotations]"
            raise DataError(f"category ids that {self._file} has", str(unknown), todo)
        if not ids:
            raise DataError("categories", f"none in {self._file}", "check the file")
        return tuple(str(self._categories[number]["name"]) for number in ids), {
            category: number for number, category in enumerate(ids)
        }

    def boxes(
        self, numbers: Mapping[int, int]
    ) -> tuple[dict[int, np.ndarray[Any, Any]], dict[int, tuple[int, int]], dict[str, int]]:
        """Return boxes and size of each image by its id, and the number of boxes left out, by reason."""
        sizes = {number: self._size(number, image) for number, image in self._images.items()}
        rows: dict[int, list[list[float]]] = {number: [] for number in self._images}
        left_out = {"boxes_without_area": 0, "boxes_of_other_categories": 0}
        seen: set[int] = set()
        for place, annotation in enumerate(self._annotations):
            where = f"annotation {place} of {self._file}"
            image, category = self._owner(annotation, where, seen)
            box = self._box(annotation.get("bbox"), sizes[image], where)
            if category not in numbers:
                left_out["boxes_of_other_categories"] += 1
            elif box[2] <= box[0] or box[3] <= box[1]:
                left_out["boxes_without_area"] += 1
            else:
                rows[image].append([*box, numbers[category], float(annotation.get("iscrowd") in (1, True))])
        boxes = {
            number: np.array(rows_of_image, dtype=np.float64).reshape(-1, 6)
            for number, rows_of_image in rows.items()
        }
        return boxes, sizes, {reason: count for reason, count in left_out.items() if count}

    def _owner(self, annotation: Any, where: str, seen: set[int]) -> tuple[int, int]:
        if not isinstance(annotation, dict):
            raise DataError(
                "an object for each annotation", f"{type(annotation).__name__}, {where}", "check the file"
            )
        number = annotation.get("id")
        if isinstance(number, int):
            if number in seen:
                raise DataError("each annotation id once", f"{number} twice, {where}", "drop one of the two")
            seen.add(number)
        image, category = annotation.get("image_id"), annotation.get("category_id")
        if not isinstance(image, int) or image not in self._images:
            raise DataError("the id of an image in the file as image_id", f"{image!r}, {where}", "correct it")
        if not isinstance(category, int) or category not in self._categories:
            todo = (
                did_you_mean(str(category), map(str, self._categories))
                or "add the category, or drop the annotation"
            )
            raise DataError("the id of a category in the file as category_id", f"{category!r}, {where}", todo)
        return image, category

    def _box(self, box: Any, size: tuple[int, int], where: str) -> list[float]:
        """Return the corners as shares of the image's width and height, cut at its edges."""
        if (
            not isinstance(box, list)
            or len(box) != 4
            or not all(isinstance(number, int | float) and math.isfinite(number) for number in box)
            or min(box[2:]) < 0
        ):
            raise DataError("bbox as [x, y, width, height] in pixels", f"{box!r:.80}, {where}", "correct it")
        x, y, width, height = map(float, box)
        if (
            x + width < -_PIXELS_OVER
            or y + height < -_PIXELS_OVER
            or x > size[0] + _PIXELS_OVER
            or y > size[1] + _PIXELS_OVER
        ):
            raise DataError(
                f"boxes inside the image of {size[0]}x{size[1]} pixels",
                f"{box}, {where}",
                "correct or drop it",
            )
        shares = [x / size[0], y / size[1], (x + width) / size[0], (y + height) / size[1]]
        return [min(max(share, 0.0), 1.0) for share in shares]

    def _size(self, number: int, image: Mapping[str, Any]) -> tuple[int, int]:
        width, height = image.get("width"), image.get("height")
        if not isinstance(width, int) or not isinstance(height, int) or min(width, height) < 1:
            problem = f"{width!r} and {height!r} for image {number} of {self._file}"
            raise DataError("width and height of each image in pixels", problem, "add them")
        return width, height

    def _by_id(self, content: Mapping[str, Any], key: str, **fields: type) -> dict[int, dict[str, Any]]:
        entries_of: dict[int, dict[str, Any]] = {}
        listed = content.get(key)
        if not isinstance(listed, list):
            raise DataError(f"a list of {key}", f"none in {self._file}", "check the file")
        for place, entry in enumerate(listed):
            where = f"entry {place} of {key} in {self._file}"
            if not isinstance(entry, dict) or not isinstance(entry.get("id"), int):
                raise DataError("an object with a whole number as id", where, "correct it")
            for name, kind in fields.items():
                if not isinstance(entry.get(name), kind):
                    raise DataError(f"{name} as a text", f"{entry.get(name)!r:.80}, {where}", "correct it")
            if entry["id"] in entries_of:
                raise DataError(
                    f"each id of {key} once", f"{entry['id']} twice in {self._file}", "drop one of the two"
                )
            entries_of[entry["id"]] = entry
        return entries_of


def _read(file: Path) -> Any:
    try:
        return json.loads(read_bytes(file, MAX_BYTES))
    except OSError as error:
        raise DataError(
            "annotations that can be read", f"{file}: {error.strerror}", "check the path"
        ) from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise DataError(
            "a whole JSON file", f"{file}, which is damaged ({reason})", "copy or save it again"
        ) from error


def _annotation_file(root: Path, options: AnnotationOptions) -> Path:
    if options.file is not None:
        return inside(root, options.file, str(root / OPTIONS_FILE))
    files = _json_files(root / _FOLDER)
    instances = [name for name in files if name.startswith("instances")] or files
    if len(instances) > 1:
        problem = f"{', '.join(instances[:5])} in {root / _FOLDER}"
        raise DataError(
            "one file of annotations", problem, f"give that file: {root / _FOLDER / instances[0]}"
        )
    return root / _FOLDER / instances[0]


def _json_files(folder: Path) -> list[str]:
    return [name for name in entries(folder) if name.endswith(".json")]


def _image_folder(root: Path, file: Path, names: Mapping[int, str], options: AnnotationOptions) -> Path:
    if options.images is not None:
        return inside(root, options.images, str(root / OPTIONS_FILE))
    subset = file.stem.rpartition("_")[2]
    places = dict.fromkeys(
        base / part
        for base in (file.parent, root)
        for part in ("", "images", subset, f"images/{subset}", "data")
    )
    first = next(iter(names.values()))
    for place in places:
        if inside(place, first, str(file)).is_file():
            return place
    tried = ", ".join(sorted({str(place) for place in places}))
    todo = f'set images = "…" in the table [annotations] of {root / OPTIONS_FILE}'
    raise DataError(f"'{first}' of {file} in one of {tried}", "no such file", todo)
