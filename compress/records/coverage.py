"""Coverage: how much of a build really runs in low precision, from what its runtime says that it executes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from compress.records.former_dict import FormerDict

#: Operators in float that multiply matrices, as ONNX Runtime and OpenVINO name them.
_MATRIX_PRODUCTS = frozenset({"MatMul", "FusedMatMul", "MatMulNBits", "Gemm", "FusedGemm", "FullyConnected"})


@dataclass(frozen=True)
class Coverage(FormerDict):
    """Operators or layers that a runtime executes, by what they compute in.

    Attributes:
        int8: Number of fused int8 kernels, by operator type; of an engine, its layers in int8, fp8 and int4.
        float_compute: Number of operators with many multiply-accumulates that run in float, by type.
        float_cheap: Number of other arithmetic operators in float, by type; of an engine, layers that move values.
        quantize: Number of QuantizeLinear nodes left: each is a pass over a tensor. None for engines.
        dequantize: Number of DequantizeLinear nodes left; None for engines.
        int8_mac_share: Share of the multiply-accumulates that run in int8, from 0 to 1, at batch 1; None where it is
            unknown.
        precisions: Precision of each layer of an engine, by its name; empty for other runtimes.
        dla: Number of layers that run on the deep learning accelerator; None where the build is for none.
        fell_back: Names of the layers that compute elsewhere than on that accelerator.
    """

    int8: Mapping[str, int] = field(default_factory=dict)
    float_compute: Mapping[str, int] = field(default_factory=dict)
    float_cheap: Mapping[str, int] = field(default_factory=dict)
    quantize: int | None = None
    dequantize: int | None = None
    int8_mac_share: float | None = None
    precisions: Mapping[str, str] = field(default_factory=dict)
    dla: int | None = None
    fell_back: tuple[str, ...] = ()

    @property
    def leaves_float(self) -> bool:
        """Whether any arithmetic is left in float."""
        return bool(self.float_compute or self.float_cheap)

    @property
    def is_made_of_matrices(self) -> bool:
        """Whether matrix products outnumber convolutions and recurrence among the operators in float."""
        matrices = sum(count for kind, count in self.float_compute.items() if kind in _MATRIX_PRODUCTS)
        return 2 * matrices > sum(self.float_compute.values())

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold, without what this kind of runtime does not tell."""
        data: dict[str, Any] = {
            "int8": dict(self.int8),
            "float_compute": dict(self.float_compute),
            "float_cheap": dict(self.float_cheap),
        }
        if self.quantize is not None:
            data |= {"quantize": self.quantize, "dequantize": self.dequantize}
        if self.quantize is not None or self.int8_mac_share is not None:
            data["int8_mac_share"] = self.int8_mac_share
        if self.precisions:
            data["precisions"] = dict(self.precisions)
        if self.dla is not None:
            data |= {"dla": self.dla, "fell_back": list(self.fell_back)}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what :meth:`to_dict` returned; keys of a later version are passed over.

        Raises:
            TypeError: The data is no mapping.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"'coverage' is a {type(data).__name__} and no mapping")
        names = {member.name for member in fields(cls)}
        read = {name: value for name, value in data.items() if name in names}
        if isinstance(read.get("fell_back"), list):
            read["fell_back"] = tuple(read["fell_back"])
        return cls(**read)
