"""Static int8 quantization: Q/DQ in the flavour the target's back end fuses, ranges from the calibration data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.quantization import Settings, quantize_static
from compress.techniques.base import Context, Technique

if TYPE_CHECKING:
    import numpy as np

    from compress.network import Network

#: Samples calibrated at once where the network takes any number.
_BATCH_SIZE = 32


@dataclass(frozen=True)
class Quantize(Settings, Technique):
    """Post-training static quantization; its settings are those of :class:`compress.quantization.Settings`."""

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form.

        Raises:
            NetworkError: The network is quantized already, or has nothing to quantize.
            RecipeError: A node to be excluded is not in the network.
            DataError: Activations on the calibration data are not finite.
        """
        quantized, report = quantize_static(
            network.to_onnx(), _batches(network, context), context.target.quantization, self
        )
        context.reports["quantize"] = report.to_dict()
        return network.with_onnx(quantized)


def _batches(network: Network, context: Context) -> Iterator[Mapping[str, np.ndarray[Any, Any]]]:
    spec = network.inputs[0]
    fixed = None if spec.dynamic_batch or not spec.shape else int(spec.shape[0])
    for batch in context.task.calibration.batches(fixed or _BATCH_SIZE):
        # A network of fixed batch cannot take the smaller last one.
        if fixed is None or len(next(iter(batch.inputs.values()))) == fixed:
            yield batch.inputs
