"""The other process in which :mod:`compress.network.formats.first_reading` has a file read."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.child_process import read_stored, serve
from compress.errors import CompressError, NetworkError
from compress.onnx_graph.weights import drop_lasting_files

if TYPE_CHECKING:
    from compress.network.formats.first_reading import Kind

#: What reading takes, and which is imported before.
_MODULES: dict[Kind, tuple[str, ...]] = {
    "onnx": ("compress.network.formats.onnx_file", "onnxruntime"),
    "onnx run": ("compress.network.formats.onnx_first_run", "onnxruntime"),
    "onnx graph": ("compress.onnx_graph.shapes", "onnxruntime"),
    "pt2": ("compress.network.formats.pt2",),
    "torchscript": ("compress.network.formats.torchscript",),
}


def main() -> None:
    """Read the file that each line of standard input names, and answer each with a line of JSON."""
    serve(_answer)


def _answer(request: dict[str, Any]) -> list[str] | None:
    """Return the error as its class and its three parts; None without an error."""
    if "prepare" in request:
        _prepare(request["prepare"])
        return None
    try:
        try:
            _read(request)
        finally:
            drop_lasting_files()
    except CompressError as error:
        # By the file's name as it was given; its absolute path is needed where the directory has changed since.
        parts = (error.wanted, error.found.replace(request["path"], request["told"]), error.todo)
        return [type(error).__name__, *parts]
    except MemoryError:
        return [MemoryError.__name__]
    except Exception as error:  # noqa: BLE001 - nothing in a stranger's file is a defect of ours
        reason = " ".join(str(error).split())[:300]
        problem = f"{request['told']}: {type(error).__name__} {reason}"
        return [NetworkError.__name__, "a whole file", problem, "save or export the network again"]
    return None


def _prepare(kind: Kind) -> None:
    for name in _MODULES[kind]:
        importlib.import_module(name)


def _read(request: Mapping[str, Any]) -> None:
    path, axes = Path(request["path"]), request["batch_axis"]
    feeds = read_stored(request["example"])
    example: Mapping[str, Any] | Sequence[Any] | None = feeds
    if feeds is not None and not request["by_name"]:
        example = [feeds[place] for place in sorted(feeds)]
    match request["kind"]:
        case "torchscript":
            from compress.network.formats.torchscript import read_torchscript, run_on_example

            _one_thread()
            module = read_torchscript(path)
            if example is not None:
                run_on_example(module, example, axes)
        case "pt2":
            from compress.network.formats.pt2 import read_pt2
            from compress.network.formats.pt2 import run_on_example as run_program

            _one_thread()
            run_program(read_pt2(path), example, axes)
        case "onnx":
            from compress.network.formats.onnx_file import check_runs

            check_runs(path)
        case "onnx run":
            from compress.network.formats.onnx_first_run import run_first

            run_first(path, feeds or {}, axes)
        case "onnx graph":
            from compress.onnx_graph.reading import check_looked_at

            check_looked_at(path)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # limits are of all threads together
