"""Static int8 quantization: Q/DQ in the flavour the target's back end fuses, ranges from the calibration data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.quantization import Settings, quantize_static
from compress.techniques.base import Context, Technique, calibration_batches

if TYPE_CHECKING:
    from compress.network.network import Network


@dataclass(frozen=True)
class Quantize(Settings, Technique):
    """Post-training static quantization; its settings are those of :class:`compress.quantization.Settings`."""

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("calibration samples",)

    def result_follows(self, context: Context) -> object:
        """See :meth:`Technique.result_follows`: from the target's form of int8."""
        return context.target.quantization

    def takes_minutes(self) -> bool:
        """See :meth:`Technique.takes_minutes`."""
        return self.rounding == "reconstructed"

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form.

        Raises:
            NetworkError: The network is quantized already, or has nothing to quantize.
            RecipeError: A node to be excluded is not in the network.
            DataError: Activations on the calibration data are not finite.
        """
        quantized, report = quantize_static(
            network.to_onnx(),
            calibration_batches(network, context),
            context.target.quantization,
            self,
            context.reporter,
        )
        context.reports["quantize"] = report.to_dict()
        return network.with_onnx(quantized)
