"""The table ``[detections]`` of a data folder's ``compress-data.toml``: how a detector's outputs are read.

Its keys are those of :class:`compress.metrics.detection_options.DetectionOptions`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress.core.toml_schema import check, read_toml
from compress.data.image_options import OPTIONS_FILE
from compress.errors import DataError
from compress.metrics.detection_options import FIELDS, TABLE


def read_table(folder: Path) -> dict[str, Any]:
    """The table ``[detections]`` of the folder's ``compress-data.toml``, checked; empty where there is none.

    Raises:
        DataError: The file or the table is wrong.
    """
    path = folder / OPTIONS_FILE
    table = read_toml(path, DataError).get(TABLE, {}) if path.is_file() else {}
    if not isinstance(table, dict):
        raise DataError(f"a table [{TABLE}] in {path}", repr(table), f"write [{TABLE}] on a line of its own")
    values: dict[str, Any] = check(table, FIELDS, f"[{TABLE}] of {path}", DataError)
    return values
