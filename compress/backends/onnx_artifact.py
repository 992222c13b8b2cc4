"""The artifact of the back ends that open ONNX files themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.backends.base import Artifact
from compress.errors import CompressError
from compress.onnx_graph.files import copy_to, files_of, save_model, sha256_of, size_of
from compress.onnx_graph.fold import prepare
from compress.onnx_graph.metadata import without_metadata
from compress.onnx_graph.quantized import quantized_operator

if TYPE_CHECKING:
    import onnx


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the folded graph; one with Q/DQ stays unchanged, since folding would undo them."""
    return prepare(model) if quantized_operator(model) is None else model


def copied(artifact: Artifact, directory: Path) -> Artifact:
    """Copy an artifact with its external data as ``model.onnx``, the name that a bundle's programs open."""
    path = copy_to(artifact.path, directory).replace(directory / "model.onnx")
    return replace(artifact, path=path, sha256=sha256_of(path), size_bytes=size_of(path))


def write_artifact(
    model: onnx.ModelProto,
    directory: Path,
    backend: str,
    options: Mapping[str, Any],
    check: Callable[[Artifact], None],
) -> Artifact:
    """Write a folded graph as ``model.onnx``, whole or not at all.

    Args:
        model: Model that :func:`folded` returned.
        directory: Directory that receives the file.
        backend: Name of the back end that opens it.
        options: Session options to open it with.
        check: Function that opens it once; where it fails, no file is left.

    Raises:
        CompressError: The ``check`` fails.
    """
    path = save_model(without_metadata(model), directory / "model.onnx")
    artifact = Artifact(path, sha256_of(path), size_of(path), backend, dict(options))
    try:
        check(artifact)
    except CompressError:
        for part in files_of(path):
            part.unlink()
        raise
    return artifact
