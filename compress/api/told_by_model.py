"""Facts that a Hugging Face directory tells of its data: how images are prepared, and the order of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.progress import Reporter
from compress.data.class_order import with_classes
from compress.data.image_options import OPTIONS_FILE, keys_told
from compress.data.images import entries
from compress.network.formats.detection import sniff
from compress.network.formats.directory import ModelDirectory
from compress.network.formats.image_settings import image_settings

if TYPE_CHECKING:
    import torch

    from compress.api.options import DataOptions
    from compress.data.image_options import ImageOptions


def image_options_of(
    model: str | Path | torch.nn.Module, options: DataOptions, reporter: Reporter
) -> Mapping[str, Any] | ImageOptions | None:
    """Return the preparation of images: the user's, else the folder's own, else that of the model's directory.

    The first that tells anything of the pixels tells all of it. The order of the classes is looked for in the same way;
    the model's counts only where it names every class folder.

    Args:
        model: The model, as the user gave it.
        options: The data, and what the user says of it.
        reporter: Receives a note on what is taken from the model's directory.

    Raises:
        NetworkError: The model cannot be recognised.
        DataError: The folder's options or the file of the classes cannot be read.
    """
    options_given = with_classes(options.image_options, options.classes)
    folder = Path(options.data) if isinstance(options.data, str | Path) else None
    if folder is None or not folder.is_dir() or not isinstance(model, str | Path):
        return options_given
    directory = sniff(Path(model)).directory
    if directory is None or not (options_given is None or isinstance(options_given, Mapping)):
        return options_given
    stated = keys_told(folder) | set(options_given or {})
    options_found = dict(options_given or {})
    preparation = image_settings(directory)
    if preparation and not stated - {"classes"}:
        options_found |= preparation
        stated_options = ", ".join(f"{key} = {_as_toml(value)}" for key, value in preparation.items())
        reporter.note(
            f"images are prepared as {directory.path} tells: {stated_options}; {folder / OPTIONS_FILE} overrides it"
        )
    if "classes" not in stated and (names := _classes(directory, folder)) is not None:
        options_found["classes"] = tuple((name,) for name in names)
        reporter.note(f"the classes are in the order of {directory.path}; --classes overrides it")
    return options_found or None


def _classes(directory: ModelDirectory, folder: Path) -> list[str] | None:
    """Return the names of the model's classes, where each of the folder's class folders has one of them."""
    names, folders = directory.class_names, entries(folder, folders=True)
    if names is None or len(set(names)) < len(names) or not folders or not set(folders) <= set(names):
        return None
    return list(names)


def _as_toml(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
