"""What int8 kernels of the processor that runs the tests can hold."""

from __future__ import annotations

from compress.machine.figures import quantization
from compress.machine.machine import cpu
from compress.target.target import QuantizationFlavour

#: Whether sums of products saturate in int8 kernels, so that weights take seven bits (x86 without VNNI).
SATURATES = bool(quantization(cpu())["reduce_range"])

#: Unsigned activations and signed weights, as this processor runs them without losing sums.
U8S8 = QuantizationFlavour("uint8", "int8", False, True, SATURATES, True)

#: For sessions that run 8-bit weights all the same: Q/DQ in floats, as the graph says, where kernels would saturate.
AS_WRITTEN = {"session.disable_quant_qdq": "1"} if SATURATES else {}
