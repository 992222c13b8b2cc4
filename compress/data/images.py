"""Image files, decoded batch by batch; with class labels where they lie in class folders, ``val/<class>/<image>``.

Labels are the positions of the class folders' names in sorted order, as torchvision's ``ImageFolder`` numbers them
(so ``10`` comes before ``2``), or in the order that the user gives (:mod:`compress.data.class_order`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from compress.data.class_order import disagreement, labels_of_folders
from compress.data.image_options import CHANNELS, OPTIONS_FILE, ImageOptions
from compress.data.placement import Placement
from compress.data.split import Array, Batch, RowDigest, Split
from compress.errors import DataError, UnavailableError

if TYPE_CHECKING:
    from PIL.Image import Image

#: Larger images are taken for decompression bombs (Pillow warns at 89 million).
MAX_PIXELS = 64_000_000
# A batch of images that stay as large as they are may become so many bytes in any case, and so many for each of the
# files'. A photograph becomes some 100, a blank page of a scan 10,000.
_HARMLESS_BYTES, _MAX_EXPANSION = 1 << 30, 400

#: Endings of files that are taken for images.
SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
# Not the rest of what Pillow reads: its EPS reader, for one, starts Ghostscript on the file.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_LAYOUT = "a folder for each class with its images: {root}/cat/1.jpg, {root}/dog/2.jpg"


class ImageFiles(Split):
    """Image files, decoded when they are read; subclasses add the targets.

    Args:
        root: The folder, for messages and provenance.
        files: Image files, relative to ``root``.
        options: Preparation of images.

    Raises:
        DataError: The options order classes, whose numbers stand in these annotations.
    """

    labelled = True
    kind = "images"
    #: Whether labels follow from the names of folders.
    in_class_folders = False

    def __init__(self, root: Path, files: Sequence[str], options: ImageOptions) -> None:
        _pillow()  # not at the first image, after all else was read
        if options.classes is not None and not self.in_class_folders:
            raise DataError(
                "class folders, whose order --classes or the key classes gives",
                f"{root}, whose annotations number the classes ({self.kind})",
                "leave the classes out",
            )
        self._root = root
        self._files = files
        self._options = options
        self.origin = {"kind": self.kind, "path": str(root), "options": options.preparation()}

    @abstractmethod
    def _targets(self, rows: range, placements: Sequence[Placement]) -> Array:
        """Return the targets of some samples, whose images have these placements."""

    @abstractmethod
    def _target_digest(self, row: int) -> bytes:
        """Hash of one sample's target as it is stored."""

    def __len__(self) -> int:
        return len(self._files)

    def batches(self, size: int) -> Iterator[Batch]:
        """See :meth:`Split.batches`; the one input is ``x``, float32."""
        for start in range(0, len(self), size):
            files = self._files[start : start + size]
            images, placements = self._decoded(files)
            yield Batch({"x": images}, self._targets(range(start, start + len(files)), placements))

    def _decoded(self, files: Sequence[str]) -> tuple[Array, list[Placement]]:
        """Return image files as one array, decoded one at a time after their sizes are checked."""
        if self._options.size is None:
            self._check_sizes(files)
        images, placements = np.empty(0, np.float32), []
        for row, file in enumerate(files):
            image, placement = decode_placed(self._root / file, self._options)
            if not row:
                images = np.empty((len(files), *image.shape), np.float32)
            images[row] = image
            placements.append(placement)
        return images, placements

    def _check_sizes(self, files: Sequence[str]) -> None:
        """Refuse files whose images are of several sizes, or would become far more than the files hold."""
        todo = f"set size = [height, width] in {self._root / OPTIONS_FILE}"
        first, stored = None, 0
        for file in files:
            path = self._root / file
            with opened(path) as image:
                shape = (CHANNELS[self._options.mode], image.height, image.width)
            first = first or shape
            if shape != first:
                problem = f"{first} in {self._root / files[0]} and {shape} in {path}"
                raise DataError("images of one size", problem, todo)
            stored += path.stat().st_size
        decoded = len(files) * math.prod(first or ()) * np.dtype(np.float32).itemsize
        if decoded > max(_HARMLESS_BYTES, _MAX_EXPANSION * stored):
            raise DataError(
                f"images that become at most {_MAX_EXPANSION} times as large as their files",
                f"{stored / 1e6:.1f} MB in {len(files)} files such as {self._root / files[0]}, "
                f"which would become {decoded / 1e6:,.0f} MB",
                todo,
            )

    @cached_property
    def digests(self) -> tuple[RowDigest, ...]:
        """Hashes of the files' bytes, and of the targets: nothing needs to be decoded."""
        return tuple(
            RowDigest(file_digest(self._root / file), self._target_digest(row))
            for row, file in enumerate(self._files)
        )

    @cached_property
    def sha256(self) -> str:
        """Hash of the files and targets in order, and of how the images are prepared."""
        options = json.dumps(self._options.preparation(), sort_keys=True)
        content = b"".join(part for digest in self.digests for part in digest)
        return hashlib.sha256(options.encode() + content).hexdigest()


class ImageSplit(ImageFiles):
    """Image files with class labels.

    Args:
        root: The folder, for messages and provenance.
        files: Image files, relative to ``root``.
        labels: Label of each file, int64 ``(n,)``.
        classes: Names of the classes, by label.
        options: Preparation of images.
    """

    in_class_folders = True

    def __init__(
        self,
        root: Path,
        files: Sequence[str],
        labels: NDArray[np.int64],
        classes: tuple[str, ...],
        options: ImageOptions,
    ) -> None:
        super().__init__(root, files, options)
        self._labels = self.labels = labels
        self._classes = self.classes = classes

    @classmethod
    def from_folder(cls, root: Path, options: Mapping[str, Any] | ImageOptions | None = None) -> Self:
        """Find the images of a folder of class folders. Links and hidden files are skipped.

        Raises:
            DataError: There are no class folders, a class has no image, or the options are wrong.
            UnavailableError: Pillow is not installed.
        """
        files: list[str] = []
        labels: list[int] = []
        folders = entries(root, folders=True)
        if not folders:
            raise _no_classes(root)
        prepared = ImageOptions.read(root, options)
        order = prepared.classes or tuple((name,) for name in folders)
        classes, label_of = labels_of_folders(order, folders, root)
        for name in folders:
            images = [file for file in entries(root / name) if Path(file).suffix.lower() in SUFFIXES]
            if not images:
                raise _no_images(root, name)
            files += [f"{name}/{image}" for image in images]
            labels += [label_of[name]] * len(images)
        split = cls(root, files, np.array(labels, dtype=np.int64), classes, prepared)
        if prepared.classes is not None:
            split.origin = {**split.origin, "classes": classes}
        return split

    def numbered_as(self, classes: Sequence[str]) -> ImageSplit:
        """Return the images with the classes numbered as a build has them.

        Args:
            classes: Names of the build's classes, by label.

        Raises:
            DataError: A class folder is none of these classes, or the user or the folder tells another order.
        """
        order = tuple((name,) for name in classes)
        declared = self._options.classes
        if declared is not None:
            other = disagreement(declared, order)
            if other is None:
                return self
            name, label, recorded = other
            raise DataError(
                f"the order of the classes that the build records, where '{name}' is class {recorded}",
                f"'{name}' as class {label}, by --classes or {OPTIONS_FILE}",
                "leave the classes out, or give a build of this order",
            )
        if self._classes == tuple(classes):
            return self
        folders = [self._classes[label] for label in np.unique(self._labels)]
        names, label_of = labels_of_folders(order, folders, self._root)
        labels = np.array([label_of[self._classes[label]] for label in self._labels], dtype=np.int64)
        split = ImageSplit(self._root, self._files, labels, names, self._options)
        split.origin = {**self.origin, "classes": names}
        return split

    def _taken(self, indices: NDArray[np.int64]) -> ImageSplit:
        files = [self._files[index] for index in indices]
        subset = ImageSplit(self._root, files, self._labels[indices], self._classes, self._options)
        subset.origin = self.origin
        return subset

    def _targets(self, rows: range, placements: Sequence[Placement]) -> Array:
        return self._labels[rows.start : rows.stop]

    def _target_digest(self, row: int) -> bytes:
        return int(self._labels[row]).to_bytes(8, "little")


def decode(path: Path, options: ImageOptions) -> Array:
    """Decode one image file as float32, ``(channels, height, width)`` or as the layout says.

    Raises:
        DataError: The file is no image, is damaged, has more than 8 bits a channel, or is far too large.
    """
    return decode_placed(path, options)[0]


def decode_placed(path: Path, options: ImageOptions) -> tuple[Array, Placement]:
    """Decode an image as :func:`decode` does, and return its placement in the network's input."""
    with opened(path) as image:
        if image.mode[0] in "IF":
            # Pillow would clip these to 0 … 255 without a word.
            raise DataError(
                "8 bits a channel",
                f"mode {image.mode} in {path}",
                "convert the image, or give package.module:callable",
            )
        placement = Placement.of(image.width, image.height, options)
        placed = laid(image.convert(options.mode), placement, options.interpolation, options.pad_value)
        levels = np.asarray(placed)
    levels = levels.reshape(*levels.shape[:2], -1)
    along: tuple[int, ...] = (-1,)
    if options.layout != "NHWC":
        levels, along = levels.transpose(2, 0, 1), (-1, 1, 1)
    pixels = np.array(levels, dtype=np.float32, order="C")
    pixels /= np.float32(options.scale)
    if options.mean is not None:
        pixels -= np.array(options.mean, dtype=np.float32).reshape(along)
    if options.std is not None:
        pixels /= np.array(options.std, dtype=np.float32).reshape(along)
    return pixels, placement


@contextmanager
def opened(path: Path) -> Iterator[Image]:
    """Open an image file; errors of its reader inside the block become errors of one line.

    Raises:
        DataError: The file is no image, is damaged, or is far too large.
    """
    pillow = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(path, formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    problem = f"{image.width}x{image.height} in {path}"
                    wanted = f"an image of at most {MAX_PIXELS:,} pixels"
                    raise DataError(wanted, problem, "replace or remove it")
                yield image
    except DataError:
        raise
    # Pillow's decoders raise a dozen types on damaged files.
    except Exception as error:
        raise DataError(
            "a whole image", f"{path}, which cannot be decoded ({error})", "replace or remove it"
        ) from error


def as_gray(pixels: NDArray[np.uint8]) -> Image:
    """Make an image of one channel from its pixels, uint8 ``(height, width)``."""
    image: Image = _pillow().fromarray(pixels)
    return image


def laid(image: Image, placement: Placement, interpolation: str, pad_value: int) -> Image:
    """Scale an image and place it in the network's input.

    Args:
        image: Image, already in the wanted mode.
        placement: Placement of the image.
        interpolation: Interpolation: ``bilinear``, ``bicubic`` or ``nearest``.
        pad_value: Value of pixels that the image leaves free, in every channel.
    """
    resample = getattr(_pillow().Resampling, interpolation.upper())
    scaled = image if placement.scaled == image.size else image.resize(placement.scaled, resample)
    (left, top), (width, height) = placement.offset, placement.frame
    if scaled.size == placement.frame:
        return scaled
    if left <= 0 and top <= 0 and left + scaled.width >= width and top + scaled.height >= height:
        return scaled.crop((-left, -top, width - left, height - top))
    frame: Image = _pillow().new(image.mode, placement.frame, (pad_value,) * len(image.getbands()))
    frame.paste(scaled, (left, top))
    return frame


def entries(folder: Path, folders: bool = False) -> list[str]:
    """Return the sorted names of the folder's files, or of its folders; links and hidden ones are skipped.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".")
                and (entry.is_dir(follow_symlinks=False) if folders else entry.is_file(follow_symlinks=False))
            )
    except OSError as error:
        raise DataError(
            "a folder that can be read", f"{folder}: {error.strerror}", "check its permissions"
        ) from error


def _no_classes(root: Path) -> DataError:
    files = entries(root)
    arrays = next((file for file in files if file.endswith(".npz")), None)
    if arrays is not None:
        return DataError(
            "an .npz file or class folders", f"a folder with '{arrays}'", f"give {root / arrays}"
        )
    problem = (
        f"{len(files)} files and no folder in {root}" if files else f"no folder in {root} (links are skipped)"
    )
    return DataError("class folders with images", problem, f"make {_LAYOUT.format(root=root)}")


def _no_images(root: Path, name: str) -> DataError:
    inner = entries(root / name, folders=True)
    if inner:
        problem = f"folders, such as '{inner[0]}', and no image in {root / name}"
        return DataError(
            "class folders with images", problem, f"give the folder one level down: {root / name}"
        )
    problem = f"no image in {root / name} (links and hidden files are skipped)"
    return DataError("images in every class folder", problem, "add images or remove the folder")


def file_digest(path: Path) -> bytes:
    """Hash of a file's bytes.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError as error:
        raise DataError("an image that can be read", f"{path}: {error.strerror}", "check it") from error


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise UnavailableError(
            "Pillow, which reads images", "it is not installed", "pip install pillow"
        ) from error
    return Image
