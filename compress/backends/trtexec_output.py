"""Readers of the files of ``trtexec``: times of calls, layers of an engine, time of each layer, outputs.

The files are JSON, as ``sampleReporting.cpp`` and ``sampleEngines.cpp`` of TensorRT's open samples write them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import NetworkError, UnavailableError

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec

Times = np.ndarray[Any, np.dtype[np.float64]]

#: How a tensor's format names its type, by release: ``Int8``, ``Half``, ``Two wide channel vectorized row major FP16``.
_TYPES = (
    ("fp8", r"\bfp8|float8"),
    ("int4", r"\bint4"),
    ("int8", r"\bint8"),
    ("bf16", r"\bbf16|bfloat16"),
    ("fp16", r"\bfp16|\bhalf"),
    ("fp32", r"\bfp32|\bfloat\b"),
    ("int32", r"\bint32"),
    ("int64", r"\bint64"),
    ("bool", r"\bbool"),
)
_COMPUTE_IN_FLOAT = ("fp32", "fp16", "bf16")
#: Layers that only move or rearrange.
_MOVES = ("reformat", "noop", "shuffle", "slice", "copynode", "constant", "reshape")


@dataclass(frozen=True)
class Layer:
    """A layer of an engine.

    Attributes:
        name: TensorRT's name of the fused nodes.
        kind: Kind of layer: ``CaskConvolution``, ``Reformat``, ``DLA``, …
        precision: Data type of its first input, in which its kernel computes; "unknown" where not stated.
        dla: Whether it runs on a deep learning accelerator.
    """

    name: str
    kind: str
    precision: str
    dla: bool

    @property
    def moves(self) -> bool:
        """Whether the layer only moves data."""
        return any(word in self.kind.casefold() for word in _MOVES)


def call_times(text: str) -> tuple[Times, Times]:
    """Read the milliseconds of each call of ``--exportTimes``, with copies and of kernels alone, ``(n,)`` each.

    Raises:
        UnavailableError: The text is no such file, or holds no call.
    """
    entries = _read(text, "times of calls")
    try:
        whole = np.array([float(entry["latencyMs"]) for entry in entries])
        kernels = np.array([float(entry["computeMs"]) for entry in entries])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("times of calls", f"an entry without {error}") from error
    if not len(whole) or not (np.isfinite(whole).all() and (whole > 0).all()):
        raise _damaged("times of calls", "no call, or one of no duration")
    return whole, kernels


def layers_of(text: str) -> tuple[Layer, ...]:
    """Read the layers of ``--exportLayerInfo`` with ``--profilingVerbosity=detailed``, in order.

    Raises:
        UnavailableError: The text is no such file.
    """
    data = _read(text, "layers")
    entries = data.get("Layers") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise _damaged("layers", "no 'Layers'")
    # Without the detail, and for an accelerator's part, a layer is only its name.
    return tuple(_layer(entry if isinstance(entry, dict) else {"Name": str(entry)}) for entry in entries)


def layer_times(text: str) -> dict[str, float]:
    """Read the mean milliseconds of each layer of ``--exportProfile``, by name.

    Raises:
        UnavailableError: The text is no such file.
    """
    entries = _read(text, "times of layers")
    try:
        return {str(entry["name"]): float(entry["averageMs"]) for entry in entries if "name" in entry}
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("times of layers", f"an entry without {error}") from error


def outputs_of(text: str, specs: Sequence[TensorSpec]) -> list[np.ndarray[Any, Any]]:
    """Read the arrays of ``--exportOutput``, in the order of ``specs``; the tool prints six significant digits.

    Raises:
        UnavailableError: The text is no such file.
        NetworkError: An output is missing.
    """
    found: dict[str, np.ndarray[Any, Any]] = {}
    try:
        for entry in _read(text, "outputs"):
            shape = [int(size) for size in str(entry["dimensions"]).split("x") if size]
            found[entry["name"]] = np.array(entry["values"], dtype=np.float64).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("outputs", str(error)) from error
    missing = [spec.name for spec in specs if spec.name not in found]
    if missing:
        raise NetworkError(
            f"an engine with the output '{missing[0]}'",
            f"outputs {', '.join(found) or 'none'}",
            "give that output another name, of letters and digits alone, and build again",
        )
    return [found[spec.name].astype(spec.dtype) for spec in specs]


def coverage_of(layers: Sequence[Layer], dla_core: int | None) -> dict[str, Any]:
    """Return the precisions of an engine's layers, in the form of :attr:`compress.records.profile.Profile.coverage`.

    Args:
        layers: Layers of the engine.
        dla_core: Number of the DLA core that it was built for; None for the GPU.

    Returns:
        ``int8``, ``float_compute`` and ``float_cheap``: kind of layer → how many; ``precisions``: layer → precision;
        with an accelerator, ``dla``: how many layers run there, and ``fell_back``: those that compute elsewhere.
    """
    computing = [layer for layer in layers if not layer.moves]
    low = [layer for layer in computing if layer.precision in ("int8", "fp8", "int4")]
    found: dict[str, Any] = {
        "int8": dict(Counter(layer.kind for layer in low)),
        "float_compute": dict(
            Counter(each.kind for each in computing if each.precision in _COMPUTE_IN_FLOAT)
        ),
        "float_cheap": dict(Counter(layer.kind for layer in layers if layer.moves)),
        "precisions": {layer.name: layer.precision for layer in computing},
    }
    if dla_core is not None:
        found["dla"] = sum(layer.dla for layer in layers)
        found["fell_back"] = [layer.name for layer in computing if not layer.dla]
    return found


def _layer(entry: dict[str, Any]) -> Layer:
    tensors = entry.get("Inputs") or entry.get("Outputs") or ()
    told = next(
        (str(tensor.get("Format/Datatype", "")) for tensor in tensors if isinstance(tensor, dict)), ""
    )
    name, kind = str(entry.get("Name", "")), str(entry.get("LayerType", "unknown"))
    precision = next(
        (precision for precision, pattern in _TYPES if re.search(pattern, told.casefold())), "unknown"
    )
    return Layer(name, kind, precision, kind.upper() == "DLA" or "[DlaLayer]" in name)


def _read(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _damaged(what, str(error)) from error


def _damaged(what: str, found: str) -> UnavailableError:
    return UnavailableError(
        f"{what} as trtexec writes them", found, "see whether the disk there is full, and try again"
    )
