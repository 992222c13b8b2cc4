"""Opening of data of any kind as a :class:`Split`: the content tells the kind, never a file's ending."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.core.object_references import is_reference, resolve, working_directory_importable
from compress.core.suggestions import did_you_mean
from compress.core.user_code import users_code
from compress.data.arrays import ArraySplit
from compress.data.image_options import ImageOptions
from compress.data.loaders import LoaderSplit, from_iterator
from compress.data.readers import read_path
from compress.data.split import Split
from compress.errors import DataError

_KINDS = (
    "an .npz file, a folder of images (in class folders, or with COCO's or YOLO's boxes, or masks), COCO's JSON file, "
    "or package.module:callable"
)
_IN_PYTHON = "give (x, y), a mapping of arrays by input name, a DataLoader, or a path"


def follow_reference(source: Any) -> Any:
    """Return the result of calling ``package.module:callable`` without arguments; any other value unchanged.

    Raises:
        DataError: The reference names nothing, or the call fails.
    """
    if not isinstance(source, str) or not is_reference(source) or Path(source).exists():
        return source
    resolved = resolve(source, kind="data", error=DataError)
    if not callable(resolved):
        return resolved
    with working_directory_importable():
        try:
            with users_code():
                return resolved()
        except DataError:
            raise
        except Exception as error:
            raise DataError(
                f"data from {source}, called without arguments",
                f"{type(error).__name__}: {error}",
                "call it alone to see where it fails",
            ) from error


def open_data(
    source: Any, image_options: Mapping[str, Any] | ImageOptions | None = None, reference: str | None = None
) -> Split:
    """Open data of any kind.

    Args:
        source: A path to an ``.npz``, a folder of images (in class folders, or with COCO's or YOLO's boxes or with
            masks) or COCO's JSON file; ``package.module:callable`` that returns any of what follows; ``(x, y)``;
            arrays by input name with targets as ``y``; one array; a DataLoader or another iterable of batches; a
            Split.
        image_options: Options for folders of images; see :class:`ImageOptions`.
        reference: The reference that ``source`` came from, where it is one that was followed already.

    Raises:
        DataError: The source is none of these, or damaged.
        UnavailableError: The data is images, and Pillow is not installed.
    """
    followed = follow_reference(source)
    if followed is not source:
        return open_data(followed, image_options, reference=source)
    if isinstance(source, Split):
        return source
    if isinstance(source, str | os.PathLike):
        split = _open_path(Path(source), image_options)
    else:
        split = _open_object(source, reference or "the data given")
    if reference is not None:
        split.origin = {**split.origin, "reference": reference}
    return split


def _open_object(source: Any, where: str) -> Split:
    if isinstance(source, tuple) and len(source) == 2:
        inputs, targets = source
        named = dict(inputs) if isinstance(inputs, Mapping) else {"x": inputs}
        return ArraySplit.from_arrays({**named, "y": targets}, where)
    if isinstance(source, Mapping):
        return ArraySplit.from_arrays(source, where)
    if hasattr(source, "shape"):
        return ArraySplit.from_arrays({"x": source}, where)
    if hasattr(source, "__next__"):
        return from_iterator(source, where)
    if hasattr(source, "__iter__") and not isinstance(source, tuple):
        return LoaderSplit(source, where)
    problem = f"{type(source).__name__} as {where}"
    if hasattr(source, "__getitem__") and not isinstance(source, tuple):
        raise DataError(
            "batches of samples", f"{problem}, a data set of single samples", "wrap it in a DataLoader"
        )
    raise DataError("data", problem, _IN_PYTHON)


def _open_path(path: Path, image_options: Mapping[str, Any] | ImageOptions | None) -> Split:
    try:
        if not path.exists():
            raise DataError("data", f"nothing at {path}", _advice(path))
        if not path.is_dir() and not path.is_file():
            raise DataError(_KINDS, f"{path}, which is neither a file nor a folder", "check the path")
        start = b"" if path.is_dir() else _start(path)
        split = read_path(path, start, image_options)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            "data that can be read", f"{path}: {reason}", "check the path and its permissions"
        ) from error
    if split is not None:
        return split
    if start.startswith(b"\x93NUMPY"):
        problem = f"a single array without a name, {path}"
        raise DataError("an .npz file", problem, "save it with np.savez(path, x=…, y=…)")
    problem = "an empty file" if not start else "a file of another kind"
    raise DataError(_KINDS, f"{problem}, {path}", "check the path")


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _advice(path: Path) -> str:
    try:
        near = did_you_mean(path.name, (entry.name for entry in path.parent.iterdir()))
    except OSError:
        near = ""
    return near or f"give {_KINDS}"
