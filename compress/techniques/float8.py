"""8-bit floating point (E4M3FN) for GPUs that compute in it: Q/DQ in the graph, ranges from the calibration data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.errors import RecipeError
from compress.records.technique_reports import Float8Report
from compress.techniques.base import Context, Technique, calibration_batches

if TYPE_CHECKING:
    from compress.network.network import Network


@dataclass(frozen=True)
class Float8(Technique):
    """Post-training quantization to E4M3FN. Accuracy is measured on ONNX Runtime's emulation, not on the GPU.

    Attributes:
        exclude_nodes: Names of nodes that stay float, as in the prepared graph.
        exclude_ops: Operator types that stay float ("Gemm").
    """

    exclude_nodes: tuple[str, ...] = ()
    exclude_ops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        from compress.quantization.settings import Settings

        checked = Settings(exclude_nodes=self.exclude_nodes, exclude_ops=self.exclude_ops)
        object.__setattr__(self, "exclude_nodes", checked.exclude_nodes)
        object.__setattr__(self, "exclude_ops", checked.exclude_ops)

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("calibration samples",)

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form.

        Raises:
            RecipeError: The target does not compute in fp8, or a node to be excluded is not in the network.
            NetworkError: The network is quantized already, or has nothing to quantize.
            DataError: Activations on the calibration data are not finite.
        """
        from compress.quantization.float8 import quantize_float8
        from compress.quantization.settings import Settings

        if "fp8" not in context.target.precisions:
            raise RecipeError(
                "a precision that the target computes in",
                f"fp8 for {context.target.name}",
                "quantize to int8",
            )
        settings = Settings(exclude_nodes=self.exclude_nodes, exclude_ops=self.exclude_ops)
        quantized, placement = quantize_float8(
            network.to_onnx(), calibration_batches(network, context), settings
        )
        report: Float8Report = {
            "float8_nodes": list(placement.int8_nodes),
            "float_nodes": dict(placement.float_nodes),
            "accuracy": "emulated: ONNX Runtime rounds to E4M3FN and computes in float32",
        }
        context.reports["float8"] = report
        return network.with_onnx(quantized)
