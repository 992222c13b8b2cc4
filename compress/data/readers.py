"""Readers of data on disk: each knows its kind by what a file or folder holds, never by a name's ending.

A reader of another distribution is a :class:`DataReader` subclass under the entry point group ``compress.readers``. It
is asked after the readers that look for something certain, and before the two that take whatever is left: JSON as
COCO's, a folder as one of images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from compress.core.registry import Entry, Registry, subclass_of
from compress.core.user_code import users_code
from compress.data.arrays import ArraySplit
from compress.data.coco import is_coco, open_coco
from compress.data.detection_table import read_table
from compress.data.image_options import ImageOptions
from compress.data.images import ImageSplit
from compress.data.masks import MaskSplit, is_masks
from compress.data.split import Split
from compress.data.yolo import is_yolo, open_yolo
from compress.errors import CompressError, DataError

#: How images are resized and normalised, where the data are images; None is the default of each option.
Images = Mapping[str, Any] | ImageOptions | None


class DataReader(ABC):
    """Opens files or folders of one kind. It is made without arguments, for each path anew.

    Attributes:
        takes_the_rest: Whether it takes whatever no other reader knows, of files or of folders.
    """

    takes_the_rest: ClassVar[bool] = False

    @abstractmethod
    def reads(self, path: Path, start: bytes) -> bool:
        """Whether a path holds data of this kind.

        Args:
            path: A file or a folder that exists.
            start: The first 8 bytes of a file, fewer where it is shorter; empty for a folder.
        """

    @abstractmethod
    def open(self, path: Path, image_options: Images) -> Split:
        """Return the samples.

        Args:
            path: One that this reader reads.
            image_options: Resizing and normalisation of images, as the user gave it; None where nothing was given.

        Raises:
            DataError: The data are damaged.
        """


class Npz(DataReader):
    """Arrays of NumPy in one ``.npz``."""

    def reads(self, path: Path, start: bytes) -> bool:
        """See :meth:`DataReader.reads`."""
        return start.startswith(b"PK")

    def open(self, path: Path, image_options: Images) -> Split:
        """See :meth:`DataReader.open`."""
        arrays = ArraySplit.from_npz(path)
        arrays.detections = read_table(path.parent)
        return arrays


class CocoFolder(DataReader):
    """A folder of images with boxes in COCO's JSON."""

    def reads(self, path: Path, start: bytes) -> bool:
        """See :meth:`DataReader.reads`."""
        return path.is_dir() and is_coco(path)

    def open(self, path: Path, image_options: Images) -> Split:
        """See :meth:`DataReader.open`."""
        return open_coco(path, image_options)


class Masks(DataReader):
    """A folder with ``images`` and ``masks``: a class for each pixel."""

    def reads(self, path: Path, start: bytes) -> bool:
        """See :meth:`DataReader.reads`."""
        return path.is_dir() and is_masks(path)

    def open(self, path: Path, image_options: Images) -> Split:
        """See :meth:`DataReader.open`."""
        return MaskSplit.from_folder(path, image_options)


class Yolo(DataReader):
    """A folder of images with boxes in YOLO's text files."""

    def reads(self, path: Path, start: bytes) -> bool:
        """See :meth:`DataReader.reads`."""
        return path.is_dir() and is_yolo(path)

    def open(self, path: Path, image_options: Images) -> Split:
        """See :meth:`DataReader.open`."""
        return open_yolo(path, image_options)


class CocoFile(DataReader):
    """A JSON file of COCO's form; a file of another form is refused when it is opened."""

    takes_the_rest: ClassVar[bool] = True

    def reads(self, path: Path, start: bytes) -> bool:
        """See :meth:`DataReader.reads`."""
        return start.lstrip().startswith((b"{", b"["))

    def open(self, path: Path, image_options: Images) -> Split:
        """See :meth:`DataReader.open`."""
        return open_coco(path, image_options)


class ImageFolder(DataReader):
    """A folder of images, in class folders where they have labels."""

    takes_the_rest: ClassVar[bool] = True

    def reads(self, path: Path, start: bytes) -> bool:
        """See :meth:`DataReader.reads`."""
        return path.is_dir()

    def open(self, path: Path, image_options: Images) -> Split:
        """See :meth:`DataReader.open`."""
        return ImageSplit.from_folder(path, image_options)


READERS: Registry[type[DataReader]] = Registry(
    "data reader",
    "compress.readers",
    {
        "npz": f"{__name__}:Npz",
        "coco": f"{__name__}:CocoFolder",
        "masks": f"{__name__}:Masks",
        "yolo": f"{__name__}:Yolo",
        "coco-file": f"{__name__}:CocoFile",
        "images": f"{__name__}:ImageFolder",
    },
    wanted=f"a subclass of {__name__}.DataReader",
    check=subclass_of(f"{__name__}:DataReader"),
    error=DataError,
)


def read_path(path: Path, start: bytes, image_options: Images) -> Split | None:
    """Return the samples of a file or folder; None where no reader knows it.

    Args:
        path: It exists.
        start: First bytes of the file; empty for a directory. See :meth:`DataReader.reads`.
        image_options: Resizing and normalisation of images, as :meth:`DataReader.open` takes it.

    Raises:
        DataError: The data are damaged, or readers of two distributions take them for theirs.
    """
    ours = [READERS.load(entry.name)() for entry in READERS.entries() if entry.built_in]
    for reader in ours:
        if not reader.takes_the_rest and reader.reads(path, start):
            return reader.open(path, image_options)
    others = [entry for entry in READERS.added() if _asked(entry, path, start)]
    if len(others) > 1:
        readers = " and ".join(f"'{entry.name}' of {entry.origin}" for entry in others)
        raise DataError(f"one reader for {path}", f"several: {readers}", "uninstall one of them")
    if others:
        return _opened(others[0], path, image_options)
    for reader in ours:
        if reader.takes_the_rest and reader.reads(path, start):
            return reader.open(path, image_options)
    return None


def _asked(entry: Entry, path: Path, start: bytes) -> bool:
    """Whether a reader of another distribution reads a path."""
    reader = READERS.load(entry.name)
    try:
        with users_code():
            return bool(reader().reads(path, start))
    except Exception as error:
        raise _failed(entry, path, error) from error


def _opened(entry: Entry, path: Path, image_options: Images) -> Split:
    """Open a data set with a reader of another distribution."""
    reader = READERS.load(entry.name)
    try:
        with users_code():
            split = reader().open(path, image_options)
    except CompressError:
        raise
    except Exception as error:
        raise _failed(entry, path, error) from error
    if not isinstance(split, Split):
        raise _failed(entry, path, TypeError(f"open() gave a {type(split).__name__} and no Split"))
    return split


def _failed(entry: Entry, path: Path, error: Exception) -> DataError:
    wanted = f"{path} read by the data reader '{entry.name}' of {entry.origin}"
    return DataError(wanted, f"{type(error).__name__}: {error}", f"update or uninstall {entry.distribution}")
