"""Activations that came late into ONNX, by the functions that they stand for.

gelu(x) = x/2 · (1 + erf(x/√2)), or x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))) (Hendrycks and Gimpel 2016);
mish(x) = x · tanh(ln(1 + eˣ)) (Misra 2019); swish(x) = x · σ(αx) (Ramachandran et al. 2017);
hardswish(x) = x · max(0, min(1, x/6 + ½)) (Howard et al. 2019).
"""

from __future__ import annotations

import math

import onnx

from compress.onnx_graph.graph import attribute
from compress.onnx_graph.rewrites.replacement import Replacement, replace_each

_CUBIC = 0.044715


def decompose_gelu(model: onnx.ModelProto) -> list[str]:
    """Write Gelu with Erf, or with Tanh where it is the approximation, in place."""
    return replace_each(model, "Gelu", _gelu)


def decompose_mish(model: onnx.ModelProto) -> list[str]:
    """Write Mish with Softplus and Tanh, in place."""
    return replace_each(model, "Mish", _mish)


def decompose_swish(model: onnx.ModelProto) -> list[str]:
    """Write Swish with Sigmoid, in place."""
    return replace_each(model, "Swish", _swish)


def decompose_hard_swish(model: onnx.ModelProto) -> list[str]:
    """Write HardSwish with HardSigmoid, in place."""
    return replace_each(model, "HardSwish", _hard_swish)


def _hard_swish(node: onnx.NodeProto, written: Replacement) -> bool:
    bounded = written.add("HardSigmoid", node.input[0], alpha=1 / 6, beta=0.5)
    written.add("Mul", node.input[0], bounded, output=node.output[0])
    return True


def _gelu(node: onnx.NodeProto, written: Replacement) -> bool:
    source, element_type = node.input[0], written.graph.element_type(node.input[0])
    if not element_type:
        return False

    def number(value: float) -> str:
        return written.constant(value, element_type)

    if attribute(node, "approximate", b"none") == b"tanh":
        square = written.add("Mul", source, source)
        cubic = written.add("Add", written.add("Mul", square, number(_CUBIC)), number(1))
        inner = written.add("Mul", written.add("Mul", source, cubic), number(math.sqrt(2 / math.pi)))
        bounded = written.add("Tanh", inner)
    else:
        bounded = written.add("Erf", written.add("Mul", source, number(math.sqrt(0.5))))
    half = written.add("Mul", source, number(0.5))
    written.add("Mul", half, written.add("Add", bounded, number(1)), output=node.output[0])
    return True


def _mish(node: onnx.NodeProto, written: Replacement) -> bool:
    bounded = written.add("Tanh", written.add("Softplus", node.input[0]))
    written.add("Mul", node.input[0], bounded, output=node.output[0])
    return True


def _swish(node: onnx.NodeProto, written: Replacement) -> bool:
    element_type, alpha = written.graph.element_type(node.input[0]), attribute(node, "alpha", 1.0)
    if not element_type:
        return False
    scaled = node.input[0]
    if alpha != 1:
        scaled = written.add("Mul", scaled, written.constant(alpha, element_type))
    written.add("Mul", node.input[0], written.add("Sigmoid", scaled), output=node.output[0])
    return True
