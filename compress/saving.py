"""A network on its way out: written as a ``.pt2`` or ``.onnx`` file, whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from compress.errors import NetworkError, OutputError
from compress.history import written_safely
from compress.network import Network
from compress.onnx_graph.files import save_model
from compress.onnx_graph.metadata import without_metadata

#: What can be written, by the file's ending.
ENDINGS = (".pt2", ".onnx")


def check_writable(path: Path, *given: object, endings: Sequence[str] = ENDINGS) -> None:
    """Make sure, before any work is done, that a network may be written there.

    Args:
        path: The file.
        given: Networks that are read, of which those that are files must stay.
        endings: What can be written.

    Raises:
        OutputError: It is a directory, is in none that exists, ends in another way, or is one of those given.
    """
    if path.suffix not in endings:
        raise OutputError(f"a file that ends in {' or '.join(endings)}", str(path), "choose another --out")
    if path.is_dir() or not path.parent.is_dir():
        found = f"a directory, {path}" if path.is_dir() else f"no directory {path.parent}"
        raise OutputError("a file to write in a directory that exists", found, "choose another --out")
    for each in given:
        if isinstance(each, str | Path) and path.exists() and Path(each).exists() and path.samefile(each):
            found = f"{path}, which is given as a network"
            raise OutputError("a file to write", found, "choose another --out")


def save_network(network: Network, path: Path) -> None:
    """Write a network; a file of this name is replaced at once or not at all.

    Args:
        network: For ``.pt2`` in its trainable form.
        path: Its ending says what is written: ``.pt2``, which trains on when it is loaded, or ``.onnx``.

    Raises:
        OutputError: It cannot be written there.
        NetworkError: It is an ONNX model by now, and a ``.pt2`` is asked for.
    """
    check_writable(path)
    with written_safely(path), tempfile.TemporaryDirectory(prefix=".compress-", dir=path.parent) as scratch:
        written = Path(scratch) / f"network{path.suffix}"
        if path.suffix == ".onnx":
            save_model(without_metadata(network.to_onnx()), written)
        else:
            _save_program(network, written)
        written.replace(path)


def _save_program(network: Network, path: Path) -> None:
    if network.graph is None:
        raise NetworkError("a network in its trainable form, for .pt2", "an ONNX model", "write .onnx")
    import torch

    from compress.export import in_eval_mode
    from compress.trace import trace

    names = [str(node.target) for node in network.graph.graph.find_nodes(op="placeholder")]
    example = {
        name: torch.from_numpy(array.copy()) for name, array in zip(names, network.sample, strict=True)
    }
    with in_eval_mode(network.graph):
        program = trace(network.graph, example)
    torch.export.save(program, path)
