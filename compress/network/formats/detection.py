"""Detection of a network's file format by its content, never by its ending; nothing in it is executed."""

from __future__ import annotations

import io
import json
import mmap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from compress.core.suggestions import did_you_mean
from compress.errors import NetworkError
from compress.network.formats import timm_names
from compress.network.formats.directory import CONFIG, ModelDirectory, directory_of
from compress.network.formats.pickle_bounds import check_bounds
from compress.network.formats.pickles import (
    NotAPickleError,
    Readable,
    is_setting,
    outermost_texts,
    unsafe_globals,
)
from compress.network.formats.zip_archive import ZipArchive, damaged

Format = Literal[
    "pt2", "torchscript", "state_dict", "pickle", "safetensors", "shards", "onnx", "hugging_face"
]

_READABLE = (
    "a .pt2, TorchScript, state dict (.pt, .pth, .safetensors), pickled module or .onnx file, or a "
    "Hugging Face directory"
)
_EXPORT_AGAIN = "save it with torch.export.save, torch.jit.save, torch.save or as ONNX"
_OTHERS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (Keras?)",
    b"\x93NUMPY": "a NumPy array",
    b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"%PDF": "a PDF",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"\x7fELF": "a shared library or a program",
}
_LARGEST_HEADER = 100_000_000  # bytes of JSON; safetensors' own limit
_USUAL_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.onnx",
)
# torch.save's legacy format starts with this number, pickled; protocol 2.
_LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")


@dataclass(frozen=True)
class Sniffed:
    """A recognised file.

    Attributes:
        path: The file.
        format: Format of the file; a pickle whose names are all harmless is a ``state_dict``, any other a ``pickle``.
        unsafe_globals: The names beyond tensors that the file's main pickle imports.
        shards: The files that an index of ``shards`` lists, in its order.
        directory: The Hugging Face directory; None for a file.
        settings: The names of settings that the file's main pickle imports; they are left out of what is loaded.
    """

    path: Path
    format: Format
    unsafe_globals: tuple[str, ...] = ()
    shards: tuple[Path, ...] = ()
    settings: tuple[str, ...] = ()
    directory: ModelDirectory | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the network is made of."""
        return (self.path, *self.shards) if self.directory is None else self.directory.files


def sniff(path: Path) -> Sniffed:
    """Recognise a network's file, a directory as Hugging Face's libraries write it, or the name of a network of timm.

    Raises:
        NetworkError: There is no such file, or it has none of the known formats, or is damaged.
    """
    name = None if path.exists() else timm_names.name_in(str(path))
    if name is not None:
        return replace(sniff(timm_names.directory_of_name(name)), path=path)
    directory = directory_of(path)
    if directory is not None:
        for listed in directory.files:
            _check_file(listed)
        return Sniffed(path, "hugging_face", directory=directory)
    _check_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise NetworkError("a readable file", f"{path}: {error.strerror}", "check its permissions") from error
    if head.startswith(b"PK"):
        return _sniff_zip(path)
    if _is_safetensors(path, head):
        return Sniffed(path, "safetensors")
    if head.startswith(b"\x80"):
        return _sniff_pickle(path)
    if head.lstrip().startswith(b"{"):
        return _sniff_index(path)
    if _is_onnx(path):
        return Sniffed(path, "onnx")
    raise _unknown(path, head)


def _check_file(path: Path) -> None:
    if not path.exists():
        folder = path.parent
        names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        todo = did_you_mean(path.name, names) or "check the path"
        where = "no such file" if folder.is_dir() else f"no such folder as {folder}"
        raise NetworkError(_READABLE, f"{path}: {where}", todo)
    if path.is_dir():
        directory_kind = "a directory (TensorFlow?)" if (path / "saved_model.pb").exists() else "a directory"
        if (path / CONFIG).is_file():
            raise NetworkError(
                _READABLE,
                f"{path}, a directory with {CONFIG} and no weights that belong to it",
                "get the whole directory, with model.safetensors",
            )
        usual = [path / name for name in _USUAL_NAMES if (path / name).is_file()]
        raise NetworkError(
            _READABLE, f"{path}, {directory_kind}", f"name the file in it{f': {usual[0]}' if usual else ''}"
        )
    if not path.is_file():
        raise NetworkError(_READABLE, f"{path}, which is not a regular file", "name a file")
    if path.stat().st_size == 0:
        raise NetworkError(_READABLE, f"{path}, which is empty", "copy or save it again")


def _sniff_index(path: Path) -> Sniffed:
    """Recognise a state dict's index of files: ``{"weight_map": {"stem.weight": "a-1-of-2.safetensors"}}``."""
    try:
        index = json.loads(path.read_bytes()) if path.stat().st_size <= _LARGEST_HEADER else None
    except (ValueError, RecursionError):
        index = None
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise NetworkError(_READABLE, f"{path}, JSON that is no index of weights", _EXPORT_AGAIN)
    names = list(dict.fromkeys(weight_map.values()))
    wrong = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if wrong:
        raise NetworkError(
            "an index of files beside it", f"{path}, which lists '{wrong[0]}'", "check the index"
        )
    shards = []
    for name in names:
        _check_file(path.parent / name)
        if _is_json(path.parent / name):  # an index of indices might never end
            raise NetworkError(
                "an index of weights", f"{path}, which lists the JSON file {name}", _EXPORT_AGAIN
            )
        shards.append(sniff(path.parent / name))
    for shard in shards:
        if shard.format not in ("safetensors", "state_dict", "pickle"):
            raise NetworkError(
                "an index of state dicts",
                f"{path}, which lists the {shard.format} file {shard.path}",
                _EXPORT_AGAIN,
            )
    unsafe = tuple(dict.fromkeys(name for shard in shards for name in shard.unsafe_globals))
    return Sniffed(path, "shards", unsafe, tuple(shard.path for shard in shards))


def _is_json(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip().startswith(b"{")


def _unknown(path: Path, head: bytes) -> NetworkError:
    kind = next((what for magic, what in _OTHERS.items() if head.startswith(magic)), None)
    if head[4:8] == b"TFL3":
        kind = "a TensorFlow Lite file"
    content = f"{path}, {kind}" if kind else f"{path}, whose content is none of these"
    return NetworkError(_READABLE, content, _EXPORT_AGAIN)


def _sniff_zip(path: Path) -> Sniffed:
    with ZipArchive(path) as archive:
        names = archive.names
        if "archive_format" in archive and archive.read("archive_format") == b"pt2":
            return Sniffed(path, "pt2")
        if "serialized_exported_program.json" in archive:
            raise NetworkError(
                "a .pt2 file of torch 2.8 or later",
                f"{path}, written by an older torch",
                "load it with that torch and save it as ONNX, or export it again",
            )
        if "constants.pkl" in archive and any(name.startswith("code/") for name in names):
            return Sniffed(path, "torchscript")
        if "data.pkl" in archive:
            stream = io.BytesIO(archive.read("data.pkl"))
            try:
                return _from_globals(path, unsafe_globals(stream))
            except NotAPickleError as error:
                raise damaged(path, f"data.pkl: {error}") from error
        content = f"{path}, a zip archive without a network"
        if any(name.endswith(".npy") for name in names):
            content = f"{path}, NumPy arrays (.npz)"
        raise NetworkError(_READABLE, content, _EXPORT_AGAIN)


def _from_globals(path: Path, names: list[str]) -> Sniffed:
    settings = tuple(name for name in names if is_setting(name))
    unsafe = tuple(name for name in names if name not in settings)
    return Sniffed(path, "pickle" if unsafe else "state_dict", unsafe, settings=settings)


def _sniff_pickle(path: Path) -> Sniffed:
    """Recognise a file of one or more pickles, as torch.save before 1.6, or pickle.dump, writes it."""
    unsafe: set[str] = set()
    try:
        _each_pickle(path, lambda content: unsafe.update(unsafe_globals(content)))
    except NotAPickleError as error:
        raise damaged(path, f"pickle: {error}") from error
    return _from_globals(path, sorted(unsafe))


def outermost_keys(path: Path) -> tuple[str, ...]:
    """Return the texts in the outermost container of a pickle, its keys among them; nothing is unpickled.

    Args:
        path: File of tensors or modules, not in safetensors format.
    """
    texts: list[str] = []
    _each_main_pickle(path, lambda content: texts.extend(outermost_texts(content)))
    return tuple(dict.fromkeys(texts))


def check_pickles(path: Path) -> None:
    """Refuse a file of tensors whose pickles would take more than their bytes are worth.

    Args:
        path: File with a state dict, not in safetensors format.

    Raises:
        NetworkError: One of the pickles would.
    """
    _each_main_pickle(path, check_bounds)


def _each_main_pickle(path: Path, look: Callable[[Readable], object]) -> None:
    """Pass the pickles that name a file's objects to a reader, whichever way torch wrote it."""
    try:
        if zipfile.is_zipfile(path):
            with ZipArchive(path) as archive:
                look(io.BytesIO(archive.read("data.pkl")))
        else:
            _each_pickle(path, look)
    except NotAPickleError as error:
        raise damaged(path, f"pickle: {error}") from error


def _each_pickle(path: Path, look: Callable[[Readable], object]) -> None:
    """Pass the pickles at the start of a file, one after another, to a reader."""
    # Mapped, because a plain file would try to allocate whatever length an opcode announces.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # magic number, protocol, system info, the object, the storages' keys; then raw tensors
        for _ in range(5 if _LEGACY_MAGIC in content[:64] else 1):
            look(content)


def _is_safetensors(path: Path, head: bytes) -> bool:
    """Whether a file has eight bytes with the header's length, then a JSON object, as safetensors specifies."""
    length = int.from_bytes(head[:8], "little")
    if len(head) < 10 or head[8:9] != b"{" or not 2 <= length <= path.stat().st_size - 8:
        return False
    if length > _LARGEST_HEADER:
        return False
    with path.open("rb") as file:
        file.seek(8)
        try:
            return isinstance(json.loads(file.read(length)), dict)
        except (ValueError, RecursionError):
            return False


def _is_onnx(path: Path) -> bool:
    """Whether the file is a ModelProto: known fields with their wire types, and a graph among them."""
    size = path.stat().st_size
    found_graph = False
    with path.open("rb") as file:
        while file.tell() < size:
            tag = _varint(file)
            if tag is None:
                return False
            field, wire = tag >> 3, tag & 7
            if _MODEL_FIELDS.get(field) != wire:
                return False
            value = _varint(file)
            if value is None:
                return False
            if wire == 2:
                if value > size - file.tell():
                    return False
                file.seek(value, io.SEEK_CUR)
            found_graph = found_graph or field == 7
    return found_graph


# ModelProto's fields by number, with their wire types: 0 a varint, 2 a length and that many bytes (onnx.proto3).
_MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}


def _varint(file: io.BufferedReader) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
