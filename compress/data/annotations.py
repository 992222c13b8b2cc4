"""Paths of a detector's annotations and images, read from the table ``[annotations]`` of ``compress-data.toml``.

The table, with every key it may have; all are optional, and what is not told is looked for::

    [annotations]
    file = "annotations/instances_val2017.json"   # COCO: which file, where there are several
    images = "val2017"                            # folder with the images
    categories = [1, 2, 3, 18]                    # COCO: the category of each class number of the network, by id

Paths are relative to the folder of ``compress-data.toml``. Without ``categories`` the ids in ascending order are the
class numbers 0, 1, …; with them, boxes of all other categories are left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.core.toml_schema import Field, List, Number, Text, check, read_toml
from compress.data.image_options import OPTIONS_FILE
from compress.errors import DataError

#: The table of ``compress-data.toml``.
TABLE = "annotations"

_FIELDS: dict[str, Field] = {
    "file": Text(),
    "images": Text(),
    "categories": List(Number("", 0, 2**53, whole=True), 1, 100_000),
}


#: Bytes of a file's name, as every file system of Linux has it.
_LONGEST = 255


@dataclass(frozen=True)
class AnnotationOptions:
    """Paths and categories of a detector's annotations.

    Attributes:
        file: The annotations' file, relative to the folder of the data; None looks for it.
        images: The images' folder, relative to the folder of the data; None looks for it.
        categories: COCO's category id of each class number; None takes all in ascending order.
    """

    file: str | None = None
    images: str | None = None
    categories: tuple[int, ...] | None = None

    @classmethod
    def read(cls, folder: Path) -> AnnotationOptions:
        """Read the options from the folder's ``compress-data.toml``, where there is one.

        Raises:
            DataError: The file or its table is wrong.
        """
        path = folder / OPTIONS_FILE
        table: Any = read_toml(path, DataError).get(TABLE, {}) if path.is_file() else {}
        if not isinstance(table, Mapping):
            raise DataError(
                f"a table [{TABLE}] in {path}", repr(table), f"write [{TABLE}] on a line of its own"
            )
        return cls(**check(table, _FIELDS, f"[{TABLE}] of {path}", DataError))

    def __post_init__(self) -> None:
        if self.categories is not None and len(set(self.categories)) < len(self.categories):
            raise DataError(
                "each category once", f"{list(self.categories)}", f"correct categories in [{TABLE}]"
            )


def inside(folder: Path, name: str, where: str) -> Path:
    """Return the path of a name that a file gives; the path must not lead out of the folder.

    Raises:
        DataError: The name is absolute or goes up, or no file can have it.
    """
    if (
        not name
        or "\0" in name
        or Path(name).is_absolute()
        or ".." in Path(name).parts
        or not _possible(name)
    ):
        raise DataError(
            f"names of files below {folder}", f"'{name[:200]}' in {where}", "make the name relative to it"
        )
    return folder / name


def _possible(name: str) -> bool:
    try:
        return all(len(os.fsencode(part)) <= _LONGEST for part in Path(name).parts)
    except UnicodeEncodeError:  # half a pair of UTF-16
        return False
