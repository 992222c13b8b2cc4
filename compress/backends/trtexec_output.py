"""Readers of the files of ``trtexec``: times of calls, layers of an engine, time of each layer, outputs.

The files are JSON, as ``sampleReporting.cpp`` and ``sampleEngines.cpp`` of TensorRT's open samples write them, but for
numbers that are not finite: those they print as C++ does (``nan``, ``-nan``, ``inf``).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import NetworkError, UnavailableError
from compress.records.coverage import Coverage

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
#: How the name of a kernel tells the types of its operands, after ``sm80_xmma_fprop_implicit_gemm_`` and the like.
_KERNELS = (
    ("fp8", r"(?:e4m3|e5m2){2}|_fp8"),
    ("int4", r"i4i4|_int4"),
    ("int8", r"i8i8|_s8|int8|i8816|imma"),
    ("bf16", r"bf16bf16|_bf16"),
    ("fp16", r"f16f16|_fp16|h(?:884|1688|16816)|hgemm|hcudnn"),
    ("fp32", r"f32f32|_fp32|sgemm|scudnn|tf32"),
)
_COMPUTE_IN_FLOAT = ("fp32", "fp16", "bf16")
#: A whole string, or a number that is not finite.
_NOT_FINITE = re.compile(r'"(?:[^"\\]|\\.)*"|(?P<sign>-?)\b(?P<number>nan|inf)\b')
#: Layers that only move or rearrange.
_MOVES = ("reformat", "noop", "shuffle", "slice", "copynode", "constant", "reshape")


@dataclass(frozen=True)
class Layer:
    """A layer of an engine.

    Attributes:
        name: TensorRT's name of the fused nodes.
        kind: Kind of layer: ``CaskConvolution``, ``Reformat``, ``DLA``, …
        precision: Data type that its kernel computes in: that of its first input, or where the engine has an open axis,
            for which inputs are not told, that of its weights or in its kernel's name; "unknown" where none is stated.
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
        call_ms = np.array([float(entry["latencyMs"]) for entry in entries])
        kernels = np.array([float(entry["computeMs"]) for entry in entries])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("times of calls", f"an entry without {error}") from error
    if not len(call_ms) or not (np.isfinite(call_ms).all() and (call_ms > 0).all()):
        raise _damaged("times of calls", "no call, or one of no duration")
    return call_ms, kernels


def layers_of(text: str) -> tuple[Layer, ...]:
    """Read the layers of ``--exportLayerInfo`` with ``--profilingVerbosity=detailed``, in order.

    Of several layers of one name the second is called ``NAME (2)``, and so on, as in :func:`layer_times`.

    Raises:
        UnavailableError: The text is no such file.
    """
    data = _read(text, "layers")
    entries = data.get("Layers") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise _damaged("layers", "no 'Layers'")
    # Without the detail, and for an accelerator's part, a layer is only its name.
    layer_entries = [entry if isinstance(entry, dict) else {"Name": str(entry)} for entry in entries]
    names = _numbered(str(entry.get("Name", "")) for entry in layer_entries)
    return tuple(_layer(name, entry) for name, entry in zip(names, layer_entries, strict=True))


def layer_times(text: str) -> dict[str, float]:
    """Read the mean milliseconds of each layer of ``--exportProfile``, by the names that :func:`layers_of` gives.

    Raises:
        UnavailableError: The text is no such file.
    """
    entries = _read(text, "times of layers")
    try:
        named = [entry for entry in entries if "name" in entry]
        names = _numbered(str(entry["name"]) for entry in named)
        return {name: float(entry["averageMs"]) for name, entry in zip(names, named, strict=True)}
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("times of layers", f"an entry without {error}") from error


def outputs_of(text: str, specs: Sequence[TensorSpec]) -> list[np.ndarray[Any, Any]]:
    """Read the arrays of ``--exportOutput``, in the order of ``specs``; the tool prints six significant digits.

    Raises:
        UnavailableError: The text is no such file.
        NetworkError: An output is missing.
    """
    outputs: dict[str, np.ndarray[Any, Any]] = {}
    try:
        for entry in _read(text, "outputs"):
            shape = [int(size) for size in str(entry["dimensions"]).split("x") if size]
            outputs[entry["name"]] = np.array(entry["values"], dtype=np.float64).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("outputs", str(error)) from error
    missing = [spec.name for spec in specs if spec.name not in outputs]
    if missing:
        raise NetworkError(
            f"an engine with the output '{missing[0]}'",
            f"outputs {', '.join(outputs) or 'none'}",
            "give that output another name, of letters and digits alone, and build again",
        )
    return [outputs[spec.name].astype(spec.dtype) for spec in specs]


def coverage_of(layers: Sequence[Layer], dla_core: int | None) -> Coverage:
    """Return the coverage of an engine, by the precisions of its layers.

    Args:
        layers: Layers of the engine.
        dla_core: Number of the DLA core that it was built for; None for the GPU.
    """
    computing = [layer for layer in layers if not layer.moves]
    low = [layer for layer in computing if layer.precision in ("int8", "fp8", "int4")]
    on_gpu = tuple(layer.name for layer in computing if not layer.dla)
    return Coverage(
        int8=dict(Counter(layer.kind for layer in low)),
        float_compute=dict(
            Counter(layer.kind for layer in computing if layer.precision in _COMPUTE_IN_FLOAT)
        ),
        float_cheap=dict(Counter(layer.kind for layer in layers if layer.moves)),
        precisions={layer.name: layer.precision for layer in computing},
        dla=None if dla_core is None else sum(layer.dla for layer in layers),
        fell_back=() if dla_core is None else on_gpu,
    )


def _layer(name: str, entry: dict[str, Any]) -> Layer:
    kind = str(entry.get("LayerType", "unknown"))
    return Layer(name, kind, _precision(entry), kind.upper() == "DLA" or "[DlaLayer]" in name)


def _precision(entry: dict[str, Any]) -> str:
    tensors = entry.get("Inputs") or entry.get("Outputs") or ()
    first = next((tensor for tensor in tensors if isinstance(tensor, dict)), {})
    weights = entry.get("Weights")
    stated = (
        (_TYPES, first.get("Format/Datatype")),
        (_TYPES, weights.get("Type") if isinstance(weights, dict) else None),
        (_KERNELS, entry.get("TacticName")),
    )
    precisions = (
        name
        for names, text in stated
        for name, pattern in names
        if re.search(pattern, str(text or "").casefold())
    )
    return next(precisions, "unknown")


def _numbered(names: Iterable[str]) -> list[str]:
    """Return the names, with a number behind each that came before."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return numbered


def _read(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return json.loads(_NOT_FINITE.sub(_as_json, text))
    except ValueError as error:
        raise _damaged(what, str(error)) from error


def _as_json(match: re.Match[str]) -> str:
    """Return a string as it is, and a number that is not finite as Python's JSON reader takes it."""
    if match["number"] is None:
        return match[0]
    return "NaN" if match["number"] == "nan" else f"{match['sign']}Infinity"


def _damaged(what: str, actual: str) -> UnavailableError:
    return UnavailableError(
        f"{what} as trtexec writes them", actual, "see whether the disk there is full, and try again"
    )
