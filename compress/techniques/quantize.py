"""Static int8 quantization: Q/DQ in the flavour the target's back end fuses, ranges from the calibration data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.errors import RecipeError
from compress.quantization import Settings, quantize_static
from compress.techniques.base import Context, Technique

if TYPE_CHECKING:
    import numpy as np

    from compress.network import Network

#: Samples calibrated at once where the network takes any number.
_BATCH_SIZE = 32


@dataclass(frozen=True)
class Quantize(Technique):
    """Post-training static quantization.

    Attributes:
        scope: "all" keeps whole chains in int8; "weights-ops" quantizes only the inputs of Conv, Gemm and MatMul
            with constant weights and leaves their outputs in float.
        method: How ranges follow from activations: "min-max", "moving-average", "percentile" or "mse".
        percentile: Share of values in percent kept inside the range, for "percentile"; in (50, 100].
        exclude_nodes: Names of nodes left in float.
        exclude_ops: Operators left in float.
    """

    scope: str = "all"
    method: str = "min-max"
    percentile: float = 99.99
    exclude_nodes: tuple[str, ...] = ()
    exclude_ops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._settings()

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form.

        Raises:
            RecipeError: The network is quantized already.
            DataError: Activations on the calibration data are not finite.
        """
        model = network.to_onnx()
        if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
            raise RecipeError(
                "a network in float", "one that holds Q/DQ already", "give the original, unquantized network"
            )
        quantized, report = quantize_static(
            model, self._batches(network, context), context.target.quantization, self._settings()
        )
        context.reports["quantize"] = report.to_dict()
        return network.with_onnx(quantized)

    def _settings(self) -> Settings:
        return Settings(
            scope=self.scope,
            method=self.method,
            percentile=self.percentile,
            exclude_nodes=tuple(self.exclude_nodes),
            exclude_ops=tuple(self.exclude_ops),
        )

    @staticmethod
    def _batches(network: Network, context: Context) -> Iterator[Mapping[str, np.ndarray[Any, Any]]]:
        spec = network.inputs[0]
        fixed = None if spec.dynamic_batch or not spec.shape else int(spec.shape[0])
        for batch in context.task.calibration.batches(fixed or _BATCH_SIZE):
            if fixed is None or len(next(iter(batch.inputs.values()))) == fixed:
                yield batch.inputs
