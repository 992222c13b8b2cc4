"""Keys of a target's file: every one, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from compress.core.toml_schema import Field, Flag, List, Named, Number, Registered, Table, Text
from compress.target.arithmetic import PEAK_OF, Peaks
from compress.target.backends import BACKENDS

_PEAK = Number("10^12 operations per second", 1e-6, 1e6)
#: Keys of the table ``peaks``.
PEAKS: Mapping[str, Field] = {
    field.name: replace(_PEAK, required=field.name == "fp32_tflops") for field in fields(Peaks)
}
#: Keys of a table ``quantization``.
FLAVOUR: Mapping[str, Field] = {
    "activation": Text(("uint8", "int8"), required=True),
    "weight": Text(("int8",), required=True),
    **{key: Flag(required=True) for key in ("symmetric", "per_channel", "reduce_range", "quantize_bias")},
}
_FIGURES: Mapping[str, Field] = {
    "memory_gb": Number("GB", 1e-3, 1e5, required=True),
    "bandwidth_gb_s": Number("GB/s", 1e-3, 1e6, required=True),
    "power_min_w": Number("W", 1e-3, 1e5),
    "power_max_w": Number("W", 1e-3, 1e5),
    "launch_overhead_us": Number("microseconds", 0, 1e6, required=True),
    "opset_max": Number("", 1, 100, whole=True),
    "tensorrt": Text(),
    "quantization": Table(FLAVOUR),
}
#: Keys of the table ``price``.
PRICE: Mapping[str, Field] = {
    "currency": Text(required=True),
    "per_hour": Number("money an hour", 0, 1e6),
    "per_kwh": Number("money a kilowatt-hour", 0, 1e6),
}
_PRECISIONS = List(Text(tuple(PEAK_OF)), shortest=1, required=True)
_FURTHER = Table({"precisions": _PRECISIONS, "quantization": Table(FLAVOUR)})


@dataclass(frozen=True)
class _Provider:
    """The name of an execution provider, of those that ONNX Runtime brings or of another maker."""

    choices: tuple[str, ...] = ("TensorrtExecutionProvider", "XnnpackExecutionProvider")
    required: bool = False

    def describe(self) -> str:
        """See :meth:`Field.describe`."""
        return "the name of an execution provider of ONNX Runtime, such as XnnpackExecutionProvider"

    def read(self, value: object) -> str:
        """See :meth:`Field.read`."""
        if not isinstance(value, str) or not value.endswith("ExecutionProvider"):
            raise ValueError
        return value


#: Figures of which a file tells the source.
SOURCED = (*_FIGURES, *PEAKS)
#: Every key of a target's file.
KEYS: Mapping[str, Field] = {
    "extends": Text(),
    "detect": Text(("cpu", "cuda")),
    "aliases": List(Text()),
    "family": Text(required=True),
    "description": Text(required=True),
    "backend": Registered(BACKENDS, required=True),
    "provider": Text(),
    **_FIGURES,
    "peaks": Table(PEAKS, required=True),
    "precisions": _PRECISIONS,
    "further_backends": Named(Registered(BACKENDS), _FURTHER),
    "further_providers": Named(_Provider(), replace(_PRECISIONS, required=False)),
    "batch_sizes": List(Number("samples", 1, 65536, whole=True), shortest=2, longest=2, required=True),
    "calls_per_second": Number("calls per second", 1e-2, 1e4),
    "price": Table(PRICE),
    "compute_capability": Text(),
    "cores": Number("", 1, 65536, whole=True),
    "isa": List(Text()),
    "jetpack": Text(),
    "sparsity_2_4": Flag(),
    "estimated": List(Text(SOURCED)),
    "source": Table({key: Text() for key in ("default", *SOURCED)}),
}
