"""A read of a graph by OpenVINO in another process, as its native front end may crash or never end."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.child_process import EndedError, Limits, kept, serve

if TYPE_CHECKING:
    import onnx

_CHILD = "import sys; sys.path.append(sys.argv[1]); from compress.lint.openvino_reading import main; main()"

#: What reading may take: so much for every graph, and for each byte of it.
_SECONDS, _SECONDS_OF_BYTE = 30.0, 2e-6
_MEMORY, _MEMORY_OF_BYTE = 4 << 30, 16


def refusal(model: onnx.ModelProto) -> str | None:
    """Return the reason why OpenVINO does not read a graph; None where it does.

    Args:
        model: A graph of less than 2 GiB.
    """
    size = model.ByteSize()
    limits = Limits(_SECONDS + _SECONDS_OF_BYTE * size, _MEMORY + _MEMORY_OF_BYTE * size)
    with tempfile.TemporaryDirectory(prefix="compress-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        try:
            kept(_CHILD).ask({})  # the import takes as long as the machine needs, whatever the graph
            reason: str | None = kept(_CHILD).ask({"path": str(path)}, limits)
        except EndedError as error:
            return str(error)
    return reason


def main() -> None:
    """Read the graph that each line of standard input names, in the other process."""
    serve(_answer)


def _answer(request: dict[str, Any]) -> str | None:
    import openvino

    if not request:
        return None
    try:
        openvino.Core().read_model(Path(request["path"]).read_bytes(), b"")
    except (RuntimeError, MemoryError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None
