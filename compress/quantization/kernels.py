"""Int8 kernels of each back end, and the placement of Q/DQ that makes it use them.

The sources: ONNX Runtime's selectors (``qdq_selector_action_transformer.cc``), TensorRT's "Working with quantized
types" (explicit quantization), and for OpenVINO ("Low precision transformations") what it was seen to execute: see
``tests/backends/test_openvino.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compress.target.target import QuantizationFlavour


@dataclass(frozen=True)
class Int8Kernels:
    """The int8 kernels of one back end.

    Attributes:
        back_end: Name of the back end, for messages.
        weighted: Operators with a constant weight.
        needs_int8_output: Operators whose kernels exist only with int8 on both sides: their output is quantized too.
        writes_int8: Whether int8 flows from kernel to kernel. If so, an output is quantized once for all readers; if
            not, Q/DQ stand only on inputs and the compiler moves them.
        chained: Cheap operators that have an int8 kernel, worth it between int8 neighbours.
        moving: Operators that only move or select values: input and output share a scale.
        absorbed: Activations that the quantization behind them makes superfluous.
        fused_addition: Whether Add is fused into the convolution before it when its *other* input is int8.
    """

    back_end: str
    weighted: frozenset[str]
    needs_int8_output: frozenset[str]
    writes_int8: bool
    chained: frozenset[str]
    moving: frozenset[str]
    absorbed: frozenset[str]
    fused_addition: bool


ONNXRUNTIME = Int8Kernels(
    back_end="ONNX Runtime",
    weighted=frozenset({"Conv", "Gemm", "MatMul"}),
    needs_int8_output=frozenset({"Conv"}),
    writes_int8=True,
    chained=frozenset({"Add", "Mul", "AveragePool", "GlobalAveragePool", "Concat", "LeakyRelu", "Sigmoid"}),
    moving=frozenset(
        {"Expand", "Flatten", "Gather", "MaxPool", "Reshape", "Resize"}
        | {"Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
    ),
    absorbed=frozenset({"Relu", "Clip"}),
    fused_addition=False,
)

# OpenVINO moves Q/DQ to where they fuse. Whole chains were as fast as what NNCF made of a residual network, faster on a
# depthwise and a recurrent one; they were never slower than Q/DQ on the inputs of weighted operators alone. Q/DQ around
# attention's products of activations as well made a vision transformer take 1.4 times as long: they were not fused.
OPENVINO = replace(
    ONNXRUNTIME,
    back_end="OpenVINO",
    weighted=ONNXRUNTIME.weighted | {"ConvTranspose"},
    needs_int8_output=frozenset(),
)

TENSORRT = Int8Kernels(
    back_end="TensorRT",
    weighted=frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"}),
    needs_int8_output=frozenset(),
    writes_int8=False,
    chained=frozenset(),
    moving=frozenset(),
    absorbed=frozenset(),
    fused_addition=True,
)


def kernels_for(flavour: QuantizationFlavour) -> Int8Kernels:
    """Return the kernels of a flavour: with float bias TensorRT's where it is symmetric, else OpenVINO's."""
    if flavour.quantize_bias:
        return ONNXRUNTIME
    return TENSORRT if flavour.symmetric else OPENVINO
