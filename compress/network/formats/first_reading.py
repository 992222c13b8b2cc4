"""The first reading and run of a file in another process, within limits of time and memory.

torch's loader, ONNX's checker and ONNX Runtime are native code that believes much of what it reads, and a network may
loop for ever or ask for more memory than there is. That ends the other process; here it is one line of an error.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compress.core.child_process import (
    HEAVY_RUN,
    EndedError,
    Limits,
    OtherProcess,
    kept,
    limits_of_a_run,
    stored,
)
from compress.errors import NetworkError

if TYPE_CHECKING:
    from compress.network.network import Example

_CHILD = "import sys; sys.path.append(sys.argv[1]); from compress.network.formats.reading_child import main; main()"

#: What is read: an ONNX file that is to run here, one that is run on samples, one that is looked at alone, or one of
#: torch's.
Kind = Literal["onnx", "onnx run", "onnx graph", "pt2", "torchscript"]

#: What reading may take for the smallest file.
_SECONDS: dict[Kind, float] = {"onnx": 10, "onnx graph": 10, "pt2": 15, "torchscript": 6}
_MEMORY = 2 << 30
#: What each byte of a file and of its example adds to it.
_SECONDS_OF_BYTE, _MEMORY_OF_BYTE, _MEMORY_OF_EXAMPLE = 4e-6, 32, 256

#: What else it may be for files of which a run is tried.
_RUN_ONCE = (
    "; or one run of it takes that much: give smaller samples, or --trust-pickle for a file of your own, "
    "which runs any code in it and sets no limits"
)
_TOO_LARGE: dict[Kind, str] = {"pt2": _RUN_ONCE, "torchscript": _RUN_ONCE}

_lock = threading.Lock()


def read_elsewhere(
    path: Path, kind: Kind, *, example: Example | None = None, batch_axis: Mapping[str, int] | None = None
) -> None:
    """Read a file in another process; torch's, and ONNX where a run is asked for, are run there, too.

    Args:
        path: File to read; nothing in it is trusted.
        kind: Kind of the file, and its purpose.
        example: Samples that a network is run on; None for the file's own, which ONNX does not have.
        batch_axis: Axis of samples that the user names; see :func:`compress.network.network.load_network`.

    Raises:
        CompressError: Reading the file fails; its error is passed on.
        NetworkError: Reading it crashed, or exceeded the limits for its size.
    """
    from compress.onnx_graph.files import size_of

    if kind == "onnx":
        _check_name(path)
    feeds = _named(example)
    size, example_bytes = size_of(path), sum(array.nbytes for array in (feeds or {}).values())
    limits = (
        limits_of_a_run(size, example_bytes) if kind == "onnx run" else _limits(kind, size, example_bytes)
    )
    with _lock, stored(feeds) as place:
        request = {
            "path": str(path.absolute()),
            "told": str(path),
            "kind": kind,
            "example": None if place is None else str(place),
            "by_name": isinstance(example, Mapping),
            "batch_axis": None if batch_axis is None else dict(batch_axis),
        }
        try:
            _running().ask({"prepare": kind})  # imports take as long as the machine needs, whatever the file
            answer = _running().ask(request, limits)
        except EndedError as error:
            raise _refused(path, kind, str(error), limits) from error
    if answer is not None:
        if answer[0] == MemoryError.__name__:
            raise _refused(path, kind, "it took more memory", limits)
        kind_of_error, wanted, actual, todo = answer
        import compress.errors

        raise getattr(compress.errors, kind_of_error)(wanted, actual, todo)


def _limits(kind: Kind, size: int, example_bytes: int) -> Limits:
    return Limits(
        _SECONDS[kind] + _SECONDS_OF_BYTE * (size + example_bytes),
        _MEMORY + _MEMORY_OF_BYTE * size + _MEMORY_OF_EXAMPLE * example_bytes,
    )


def _check_name(path: Path) -> None:
    """Refuse a name that native code cannot be given."""
    try:
        str(path.absolute()).encode("utf-8")
    except UnicodeEncodeError as error:
        raise NetworkError(
            "a path in UTF-8, as ONNX Runtime takes it", ascii(str(path.absolute())), "rename it"
        ) from error


def _refused(path: Path, kind: Kind, how: str, limits: Limits) -> NetworkError:
    if kind == "onnx run":
        return NetworkError(
            f"a network of which a run ends within {limits}", f"{path}, at which {how}", HEAVY_RUN
        )
    return NetworkError(
        f"a file that is read within {limits}",
        f"{path}, at which {how}",
        f"save or export the network again: this file is damaged, or made to do that{_TOO_LARGE.get(kind, '')}",
    )


def _named(example: Example | None) -> dict[str, Any] | None:
    """Return samples by name, or by their position where they have none."""
    if example is None or isinstance(example, Mapping):
        return None if example is None else dict(example)
    return {f"{place:06}": array for place, array in enumerate(example)}


def _running() -> OtherProcess:
    return kept(_CHILD)
