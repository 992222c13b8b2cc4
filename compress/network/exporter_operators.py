"""The operators that torch's ONNX exporter knows, read once in a process.

``torch.onnx.export`` collects them at each call, and onnxscript parses the Python source of every one of them anew,
which takes longer than the export of a small network. They stay the same while a process runs.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from torch.onnx._internal.exporter import _registration

#: The method of torch's registry that reads them; where a release of torch has none, nothing is changed.
_READ = "from_torchlib"


def read_once() -> None:
    """Let every export of this process after the first take the operators that were read; may be called again."""
    registry = getattr(_registration, "ONNXRegistry", None)
    read = getattr(registry, _READ, None)
    if read is None or getattr(read, "reads_once", False):
        return
    known = cache(read)

    def again(*arguments: Any, **named: Any) -> Any:
        # With lists of its own: an export adds its own translations to them.
        operators = copy.copy(known(*arguments, **named))
        operators.functions = {name: list(forms) for name, forms in operators.functions.items()}
        return operators

    again.reads_once = True  # type: ignore[attr-defined]
    setattr(registry, _READ, staticmethod(again))
