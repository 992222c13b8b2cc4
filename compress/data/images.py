"""Images in class folders: ``val/<class>/<image>``, decoded batch by batch.

Labels are the positions of the class folders' names in sorted order, as torchvision's ``ImageFolder`` numbers them
(so ``10`` comes before ``2``).
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from compress.data.image_options import OPTIONS_FILE, ImageOptions
from compress.data.split import Array, Batch, RowDigest, Split
from compress.errors import DataError, UnavailableError

if TYPE_CHECKING:
    from PIL.Image import Image

#: Larger images are taken for decompression bombs (Pillow warns at 89 million).
MAX_PIXELS = 64_000_000

_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
# Not the rest of what Pillow reads: its EPS reader, for one, starts Ghostscript on the file.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_LAYOUT = "a folder for each class with its images: {root}/cat/1.jpg, {root}/dog/2.jpg"


class ImageSplit(Split):
    """Image files with class labels, decoded when they are read.

    Args:
        root: The folder, for messages and provenance.
        files: Image files, relative to ``root``.
        labels: int64 ``(n,)``, one a file.
        classes: Names, label by label.
        options: How images are prepared.
    """

    labelled = True

    def __init__(
        self,
        root: Path,
        files: Sequence[str],
        labels: NDArray[np.int64],
        classes: tuple[str, ...],
        options: ImageOptions,
    ) -> None:
        self._root = root
        self._files = files
        self._options = options
        self._labels = self.labels = labels
        self._classes = self.classes = classes
        self.origin = {"kind": "images", "path": str(root), "options": asdict(options)}

    @classmethod
    def from_folder(cls, root: Path, options: Mapping[str, Any] | ImageOptions | None = None) -> Self:
        """Find the images of a folder of class folders. Links and hidden files are skipped.

        Raises:
            DataError: There are no class folders, a class has no image, or the options are wrong.
            UnavailableError: Pillow is not installed.
        """
        _pillow()
        files: list[str] = []
        labels: list[int] = []
        classes = tuple(_entries(root, folders=True))
        if not classes:
            raise _no_classes(root)
        for label, name in enumerate(classes):
            images = [file for file in _entries(root / name) if Path(file).suffix.lower() in _SUFFIXES]
            if not images:
                raise _no_images(root, name)
            files += [f"{name}/{image}" for image in images]
            labels += [label] * len(images)
        return cls(root, files, np.array(labels, dtype=np.int64), classes, ImageOptions.read(root, options))

    def __len__(self) -> int:
        return len(self._files)

    def batches(self, size: int) -> Iterator[Batch]:
        """See :meth:`Split.batches`; the one input is ``x``, float32."""
        for start in range(0, len(self), size):
            files = self._files[start : start + size]
            images = [decode(self._root / file, self._options) for file in files]
            for file, image in zip(files, images, strict=True):
                if image.shape != images[0].shape:
                    raise DataError(
                        "images of one size",
                        f"{images[0].shape} in {self._root / files[0]} and {image.shape} in {self._root / file}",
                        f"set size = [height, width] in {self._root / OPTIONS_FILE}",
                    )
            yield Batch({"x": np.stack(images)}, self._labels[start : start + size])

    def _taken(self, indices: NDArray[np.int64]) -> ImageSplit:
        files = [self._files[index] for index in indices]
        return ImageSplit(self._root, files, self._labels[indices], self._classes, self._options)

    @cached_property
    def digests(self) -> tuple[RowDigest, ...]:
        """Hashes of the files' bytes, and of the labels: nothing needs to be decoded."""
        return tuple(
            RowDigest(_file_digest(self._root / file), int(label).to_bytes(8, "little"))
            for file, label in zip(self._files, self._labels, strict=True)
        )

    @cached_property
    def sha256(self) -> str:
        """Hash of the files and labels in order, and of how the images are prepared."""
        options = json.dumps(asdict(self._options), sort_keys=True)
        content = b"".join(part for digest in self.digests for part in digest)
        return hashlib.sha256(options.encode() + content).hexdigest()


def decode(path: Path, options: ImageOptions) -> Array:
    """One image file as float32, ``(channels, height, width)`` or as the layout says.

    Raises:
        DataError: The file is no image, is damaged, has more than 8 bits a channel, or is far too large.
    """
    pillow = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(path, formats=_FORMATS) as image:
                _check_pixels(path, image)
                pixels = np.asarray(_resized(image.convert(options.mode), options), dtype=np.float32)
    except DataError:
        raise
    # Pillow's decoders raise a dozen types on damaged files.
    except Exception as error:
        raise DataError(
            "a whole image", f"{path}, which cannot be decoded ({error})", "replace or remove it"
        ) from error
    pixels = pixels.reshape(*pixels.shape[:2], -1) / np.float32(options.scale)
    if options.mean is not None:
        pixels -= np.array(options.mean, dtype=np.float32)
    if options.std is not None:
        pixels /= np.array(options.std, dtype=np.float32)
    return pixels if options.layout == "NHWC" else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _check_pixels(path: Path, image: Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        found = f"{image.width}x{image.height} in {path}"
        raise DataError(f"an image of at most {MAX_PIXELS:,} pixels", found, "replace or remove it")
    if image.mode[0] in "IF":
        # Pillow would clip these to 0 … 255 without a word.
        raise DataError(
            "8 bits a channel",
            f"mode {image.mode} in {path}",
            "convert the image, or give package.module:callable",
        )


def _resized(image: Image, options: ImageOptions) -> Image:
    if options.size is None or (options.size == (image.height, image.width) and options.shorter is None):
        return image
    resample = getattr(_pillow().Resampling, options.interpolation.upper())
    height, width = options.size
    if options.resize == "stretch":
        return image.resize((width, height), resample)
    if options.shorter is not None:
        target, side = options.shorter, min(image.size)
    else:  # just enough to cover both sides
        target, side = max((width, image.width), (height, image.height), key=lambda pair: pair[0] / pair[1])
    # Truncated here and rounded below, as torchvision's Resize and CenterCrop do.
    scaled = (int(target * image.width / side), int(target * image.height / side))
    left, top = round((scaled[0] - width) / 2), round((scaled[1] - height) / 2)
    return image.resize(scaled, resample).crop((left, top, left + width, top + height))


def _entries(folder: Path, folders: bool = False) -> list[str]:
    """Sorted names of the folder's files, or of its folders."""
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
    files = _entries(root)
    arrays = next((file for file in files if file.endswith(".npz")), None)
    if arrays is not None:
        return DataError(
            "an .npz file or class folders", f"a folder with '{arrays}'", f"give {root / arrays}"
        )
    found = (
        f"{len(files)} files and no folder in {root}" if files else f"no folder in {root} (links are skipped)"
    )
    return DataError("class folders with images", found, f"make {_LAYOUT.format(root=root)}")


def _no_images(root: Path, name: str) -> DataError:
    inner = _entries(root / name, folders=True)
    if inner:
        found = f"folders, such as '{inner[0]}', and no image in {root / name}"
        return DataError("class folders with images", found, f"give the folder one level down: {root / name}")
    found = f"no image in {root / name} (links and hidden files are skipped)"
    return DataError("images in every class folder", found, "add images or remove the folder")


def _file_digest(path: Path) -> bytes:
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
            "Pillow, which reads images", "it is not installed", "pip install 'compress-toolkit[images]'"
        ) from error
    return Image
