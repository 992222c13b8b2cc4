"""Raw outputs of ``trtexec --dumpRawBindingsToFile``, which TensorRT 8.6 and later have.

``sampleInference.cpp`` of TensorRT's open samples writes one file for each input and output into the working directory,
with plain values in C order, and logs what is in it. Its name is made of the tensor's name, with marks that a file may
not have replaced and, in newer releases, its middle left out: so the log is read, and no name is guessed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.backends.tensorrt import release_of
from compress.errors import UnavailableError

#: Pattern of every raw file in the working directory.
RAW_FILES = "*.raw"

_WRITTEN = re.compile(
    r"Writing file for (input|output) binding (.+) "
    r"\(with datatype (\w+) and dimensions ([\d.]*)\) to (\S+\.raw)\s*$",
    re.MULTILINE,
)
#: NumPy's name of each of the tool's types that NumPy can hold; bfloat16 is widened.
_DTYPES: Mapping[str, str] = {
    "fp32": "<f4",
    "fp16": "<f2",
    "bf16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int8": "i1",
    "uint8": "u1",
    "bool": "?",
}


@dataclass(frozen=True)
class RawOutput:
    """One output of a run, as a file.

    Attributes:
        file: Name of the file in the working directory.
        kind: The tool's name of its type: ``fp32``, ``int8``, …
        shape: Shape of the values.
    """

    file: str
    kind: str
    shape: tuple[int, ...]

    def values(self, content: bytes) -> np.ndarray[Any, Any]:
        """Return the array in the file.

        Args:
            content: Content of the file.

        Raises:
            UnavailableError: The file does not hold as many values as the shape.
        """
        flat = np.frombuffer(content, _DTYPES[self.kind])
        if flat.size != math.prod(self.shape):
            raise UnavailableError(
                f"{math.prod(self.shape)} values of {self.kind} in {self.file}, as trtexec writes them",
                f"{len(content)} bytes",
                "see whether the disk there is full, and try again",
            )
        if self.kind == "bf16":  # the upper half of a float32
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        return flat.reshape(self.shape)


def writes_raw(tensorrt: str | None) -> bool:
    """Whether a release's tool can write raw outputs."""
    return release_of(tensorrt) >= (8, 6)


def raw_outputs(log: str) -> dict[str, RawOutput]:
    """Return the outputs that a run wrote, by name; one that cannot be read back from its file is left out.

    Args:
        log: Standard output of the run.
    """
    written = _WRITTEN.findall(log)
    times = Counter(file for *_, file in written)  # Two names may become one file, which holds the last.
    return {
        name: RawOutput(file, kind, tuple(int(size) for size in sizes.split(".") if size))
        for direction, name, kind, sizes, file in written
        if direction == "output" and kind in _DTYPES and times[file] == 1
    }
