"""Dynamic int8 for networks made of matrix products: ranges are found while the network runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.backends import load_backend
from compress.errors import RecipeError
from compress.quantization.settings import Settings
from compress.records.technique_reports import QuantizeDynamicReport
from compress.techniques.base import Context, Technique

if TYPE_CHECKING:
    from compress.network.network import Network


@dataclass(frozen=True)
class QuantizeDynamic(Technique):
    """Dynamic quantization of MatMul and Gemm; see :mod:`compress.quantization.dynamic`.

    Attributes:
        exclude_nodes: Names of nodes that stay float, as in the prepared graph.
    """

    exclude_nodes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "exclude_nodes", Settings(exclude_nodes=self.exclude_nodes).exclude_nodes)

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form.

        Raises:
            RecipeError: The target's back end cannot quantize while it runs.
            NetworkError: The network is quantized already, or has no matrix product with a constant.
        """
        from compress.quantization.dynamic import quantize_dynamic

        if not load_backend(context.target.backend).contrib_operators:
            raise RecipeError(
                "a back end that quantizes while it runs (onnxruntime)",
                f"{context.target.backend} for {context.target.name}",
                "quantize statically",
            )
        quantized, nodes = quantize_dynamic(
            network.to_onnx(), context.target.quantization, self.exclude_nodes
        )
        report: QuantizeDynamicReport = {"int8_nodes": list(nodes)}
        context.reports["quantize_dynamic"] = report
        return network.with_onnx(quantized)
