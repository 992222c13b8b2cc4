"""Integer weights of 4 or 8 bits per group in matrix products: smaller files for networks made of matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.backends import load_backend
from compress.errors import RecipeError
from compress.network.network import DECODER
from compress.quantization.weights import Settings, quantize_weights
from compress.techniques.base import Context, Technique

if TYPE_CHECKING:
    import numpy as np

    from compress.network.network import Network
    from compress.target.target import Target

#: Samples run at once where the network takes any number.
_BATCH_SIZE = 32


@dataclass(frozen=True)
class WeightOnly(Settings, Technique):
    """Weight-only quantization; its settings are those of :class:`compress.quantization.weights.Settings`."""

    def check_target(self, target: Target, network: Network | None = None) -> None:
        """Refuse a target whose back end has no such operator; see :func:`check_integer_weights`."""
        check_integer_weights("weight_only", target, network)

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("calibration samples",)

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form, with ONNX Runtime's operators.

        Raises:
            NetworkError: The network is quantized already, or has no matrix that is large enough.
            RecipeError: The target's back end has no such operator, or a node to be excluded is not in the network.
            DataError: Activations on the calibration data are not finite.
        """
        self.check_target(context.target, network)
        quantized, report = quantize_weights(network.to_onnx(), _batches(network, context), self)
        context.reports["weight_only"] = report.to_dict()
        return network.with_onnx(quantized)


def check_integer_weights(technique: str, target: Target, network: Network | None) -> None:
    """Refuse a target whose back end multiplies by no integer weights.

    Args:
        technique: Name of the technique, for the message.
        target: The target, with the back end that runs the result.
        network: The network; None for a file of ONNX, which ONNX Runtime alone runs.

    Raises:
        RecipeError: It multiplies by none, or in decoders of text alone, and this is none.
    """
    backend = load_backend(target.backend)
    decodes = network is not None and network.origin.format == DECODER
    if not backend.contrib_operators and not (backend.decodes and decodes):
        also = ", or OpenVINO a language model," if backend.decodes else ""
        raise RecipeError(
            f"a target that ONNX Runtime serves,{also} for {technique}",
            f"'{target.name}', which {target.backend} serves",
            "leave the technique out, or choose another target",
        )


def _batches(network: Network, context: Context) -> Iterator[Mapping[str, np.ndarray[Any, Any]]]:
    spec = network.inputs[0]
    fixed = None if spec.dynamic_batch or not spec.shape else int(spec.shape[0])
    for batch in context.task.calibration.batches(fixed or _BATCH_SIZE):
        # A network of fixed batch cannot take the smaller last one.
        if fixed is None or len(next(iter(batch.inputs.values()))) == fixed:
            yield batch.inputs
