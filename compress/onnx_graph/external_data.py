"""The files beside a graph that hold its weights: those that an ONNX graph names, and the one of OpenVINO's network.

A tensor whose weights lie elsewhere names the file in an entry ``location``; exporters call it ``<name>.data``,
``<name>_data``, or one file a tensor. The graph is read field by field: neither onnx nor
the weights are loaded.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from compress.onnx_graph.protocol_buffer import messages

#: For each message the fields that may lead to a tensor, by their numbers in onnx.proto, and the message in each.
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2
_LOCATION = b"location"


def external_files(path: Path) -> tuple[Path, ...]:
    """Return the files that hold weights of the graph in ``path``, in the order in which it names them.

    A file that is no graph has none. Names that lead out of the graph's folder are left out, as are files that do not
    exist: no runtime opens such a graph. The weights of OpenVINO's network (.xml) lie in the file of its name (.bin).
    """
    if path.suffix == ".xml":
        return tuple(beside for beside in (path.with_suffix(".bin"),) if beside.is_file())
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(_LOCATION) < 0:
                return ()
            names = dict.fromkeys(_locations(content, 0, len(content), "model"))
    except (OSError, ValueError):  # ValueError: an empty file, or one that is no protocol buffer
        return ()
    beside = (path.parent / name for name in names if _stays(name))
    return tuple(candidate for candidate in beside if candidate.is_file())


def _stays(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and not PurePosixPath(name).is_absolute() and ".." not in parts and "\0" not in name


def _locations(content: mmap.mmap, start: int, end: int, message: str) -> Iterator[str]:
    fields = _FIELDS[message]
    for number, low, high in messages(content, start, end):
        inner = fields.get(number)
        if inner == "entry":
            entry = {key: content[at:to] for key, at, to in messages(content, low, high)}
            if entry.get(_KEY) == _LOCATION:
                yield entry.get(_VALUE, b"").decode()
        elif inner is not None:
            yield from _locations(content, low, high, inner)
