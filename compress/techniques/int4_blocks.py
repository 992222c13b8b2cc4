"""4-bit weights in blocks for TensorRT from 10 on; activations stay float."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.errors import RecipeError
from compress.records.technique_reports import Int4BlocksReport
from compress.techniques.base import Context, Technique

if TYPE_CHECKING:
    from compress.network.network import Network
    from compress.target.target import Target

_OPSET = 21
_RELEASE = 10
_BLOCKS = (64, 128)


@dataclass(frozen=True)
class Int4Blocks(Technique):
    """Round the weights of MatMul and Gemm to 4 bits.

    Attributes:
        block: Number of values that share a scale, 64 or 128.
    """

    block: int = 64

    def __post_init__(self) -> None:
        if self.block not in _BLOCKS:
            raise RecipeError("a block of 64 or 128 values", repr(self.block), "correct the recipe")

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form, of opset 21 at least.

        Raises:
            RecipeError: The target does not read 4-bit weights.
            NetworkError: There is nothing to quantize, or the network cannot be written in opset 21.
        """
        from compress.onnx_graph.rewrites.later import raise_opset
        from compress.quantization.int4_blocks import int4_weights

        _check_reads_int4(context.target)
        quantized, float_nodes = int4_weights(raise_opset(network.to_onnx(), _OPSET), self.block)
        report: Int4BlocksReport = {"block": self.block, "float_nodes": float_nodes}
        context.reports["int4_blocks"] = report
        return network.with_onnx(quantized)


def _check_reads_int4(target: Target) -> None:
    release = int((target.tensorrt or str(_RELEASE)).split(".")[0])
    opset = _OPSET if target.opset_max is None else target.opset_max
    if target.backend != "tensorrt" or release < _RELEASE or opset < _OPSET:
        raise RecipeError(
            f"a target with TensorRT {_RELEASE} or later that reads ONNX opset {_OPSET}",
            f"{target.name} ({target.backend}, opset {target.opset_max or 'any'})",
            "quantize to int8, or correct opset_max in the target's file",
        )
