"""The facts of ONNX operators: one table, which costs, folding, fusion, coverage, lint and quantization read.

To add an operator, add one :class:`Operator` to the table. Only operators that multiply matrices have MACs;
normalisation, activations and pooling are bound by memory and count as bytes moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import onnx

from compress.onnx_graph.graph import attribute
from compress.onnx_graph.macs import (
    Formula,
    ShapeOf,
    attention,
    convolution,
    einsum,
    product,
    recurrence,
    transposed_convolution,
)

Kind = Literal[
    "convolution",
    "depthwise convolution",
    "matrix multiplication",
    "recurrence",
    "elementwise",
    "reduction",
    "data movement",
    "unknown",
]

#: How an operator takes part in quantization: it changes between floats and integers, computes with integers, or
#: computes floats with weights of few bits; "" for an operator that does not.
Quantization = Literal["", "pair", "integers", "weights"]

#: Kinds whose layers take the operators that follow as an epilogue.
MATRIX_KINDS: frozenset[Kind] = frozenset({"convolution", "depthwise convolution", "matrix multiplication"})

_STANDARD = ("", "ai.onnx")
_MICROSOFT, _OTHER_LAYOUT = "com.microsoft", "com.microsoft.nchwc"
#: Channels last, for execution providers that take no other layout.
_CHANNELS_LAST = "com.ms.internal.nhwc"


@dataclass(frozen=True)
class Operator:
    """The facts of one operator.

    Attributes:
        name: Type of its nodes.
        kind: Class of operators that share an efficiency on the same hardware.
        domain: Domain of its nodes; empty for the ONNX standard's.
        macs: Formula of its multiply-accumulates; None for an operator that multiplies no matrices.
        operands: Positions of the two operands whose precision decides the kernel, where it multiplies matrices.
        weights: Positions of inputs that hold learned values where they are constant.
        auxiliary: Positions of inputs that hold scales, zero points or sizes: read, but nothing that was learned.
        view: Whether its result is another name for the same values in memory.
        moves: Whether it only moves, selects or converts values, or computes with shapes: cheap in any type.
        commutes: Whether it gives the same result on quantized values: an engine moves Q/DQ across it.
        keeps_precision: Whether kernels exist that work on 8-bit values as they are.
        reads_part: Whether it reads only what it writes, however large its input is.
        quantization: Part that it takes in quantization.
        random: Whether its values are new in every run.
        from_runtime: Whether ONNX Runtime's optimizer writes it; networks that are given do not have it.
        same_as: Operator of the standard with the same arithmetic, for one that the optimizer writes.
        layouts: Domains in which the optimizer writes this operator of the standard for tensors of another layout.
    """

    name: str
    kind: Kind
    domain: str = ""
    macs: Formula | None = None
    operands: tuple[int, int] | None = None
    weights: frozenset[int] = frozenset()
    auxiliary: frozenset[int] = frozenset()
    view: bool = False
    moves: bool = False
    commutes: bool = False
    keeps_precision: bool = False
    reads_part: bool = False
    quantization: Quantization = ""
    random: bool = False
    from_runtime: bool = False
    same_as: str = ""
    layouts: frozenset[str] = frozenset()

    @property
    def carries_quantized(self) -> bool:
        """Whether Q/DQ may as well stand behind it as before it."""
        return self.commutes or self.view

    @property
    def computes_in_integers(self) -> bool:
        """Whether its arithmetic is in integers; one that only finds the ranges of floats computes with these."""
        return self.quantization == "integers" and (self.multiplies_matrices or self.from_runtime)

    @property
    def multiplies_matrices(self) -> bool:
        """Whether its result is a sum of products, as of a convolution: nearly all of a network's arithmetic."""
        return self.kind in MATRIX_KINDS or self.kind == "recurrence"


def names(text: str) -> frozenset[str]:
    """Return a set of operator names from a text with many names on a line."""
    return frozenset(text.split())


def _each(text: str, kind: Kind, **facts: Any) -> tuple[Operator, ...]:
    return tuple(Operator(name, kind, **facts) for name in text.split())


def _positions(*positions: int) -> frozenset[int]:
    return frozenset(positions)


_AB, _W, _QLINEAR = (0, 1), _positions(1, 2), _positions(1, 2, 4, 5, 6, 7)

_MATRICES = (
    Operator("Attention", "matrix multiplication", macs=attention, operands=_AB),
    Operator("Conv", "convolution", macs=convolution(), operands=_AB, weights=_W),
    Operator("ConvTranspose", "convolution", macs=transposed_convolution, operands=_AB, weights=_W),
    Operator("DeformConv", "convolution", macs=convolution(), operands=_AB, weights=_positions(1, 3)),
    Operator("Einsum", "matrix multiplication", macs=einsum, operands=_AB),
    *_each("GRU RNN", "recurrence", macs=recurrence, operands=_AB, weights=_positions(1, 2, 3)),
    Operator("LSTM", "recurrence", macs=recurrence, operands=_AB, weights=_positions(1, 2, 3, 7)),
    Operator("Gemm", "matrix multiplication", macs=product, operands=_AB, weights=_W),
    # The weight of MatMul may be on either side.
    Operator("MatMul", "matrix multiplication", macs=product, operands=_AB, weights=_positions(0, 1)),
)

# One output value per position from the input values at that position.
_ELEMENTWISE = (
    *_each(
        """
        Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Celu
        Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN
        LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu
        Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
        """,
        "elementwise",
    ),
    Operator("Cast", "elementwise", moves=True),
    Operator("CastLike", "elementwise", moves=True),
    # In inference; inputs 3 and 4 are statistics of the data, which nobody learned.
    Operator("BatchNormalization", "elementwise", weights=_W, auxiliary=_positions(3, 4)),
)

_REDUCTIONS = (
    *_each(
        """
        ArgMax ArgMin CumSum GlobalLpPool GlobalMaxPool Hardmax LRN LogSoftmax LpNormalization LpPool
        MeanVarianceNormalization ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
        ReduceProd ReduceSum ReduceSumSquare Softmax TopK
        """,
        "reduction",
    ),
    *_each("GroupNormalization InstanceNormalization LayerNormalization", "reduction", weights=_W),
    Operator("RMSNormalization", "reduction", weights=_positions(1)),
    *_each("AveragePool GlobalAveragePool", "reduction", keeps_precision=True),
    Operator("MaxPool", "reduction", moves=True, commutes=True, keeps_precision=True),
)

_MOVEMENTS = (
    *_each("Dropout Flatten Identity Reshape Squeeze Unsqueeze", "data movement", view=True, moves=True),
    *_each(
        "Concat DepthToSpace Expand SpaceToDepth Split Tile Transpose",
        "data movement",
        moves=True,
        commutes=True,
        keeps_precision=True,
    ),
    *_each(
        "GatherElements GatherND Slice",
        "data movement",
        moves=True,
        commutes=True,
        keeps_precision=True,
        reads_part=True,
    ),
    Operator(
        "Gather",
        "data movement",
        weights=_positions(0, 1),  # a table, and indices that were computed from constants
        moves=True,
        commutes=True,
        keeps_precision=True,
        reads_part=True,
    ),
    *_each(
        """
        CenterCropPad Compress ConstantOfShape EyeLike NonZero OneHot Pad Range ReverseSequence ScatterElements
        ScatterND Trilu Unique Upsample
        """,
        "data movement",
        moves=True,
    ),
    Operator("Resize", "data movement", auxiliary=_positions(1, 2, 3), moves=True),
    *_each("Col2Im NonMaxSuppression RotaryEmbedding", "data movement"),  # with some arithmetic
    *_each("Shape Size", "unknown", moves=True),
    *_each(
        "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike",
        "unknown",
        random=True,
    ),
)

_QUANTIZED = (
    *_each("DequantizeLinear QuantizeLinear", "elementwise", auxiliary=_W, quantization="pair"),
    Operator("DynamicQuantizeLinear", "reduction", quantization="integers"),
    Operator(
        "ConvInteger",
        "convolution",
        macs=convolution(),
        operands=_AB,
        auxiliary=_positions(2, 3),
        quantization="integers",
    ),
    Operator(
        "MatMulInteger",
        "matrix multiplication",
        macs=product,
        operands=_AB,
        auxiliary=_positions(2, 3),
        quantization="integers",
    ),
    Operator(
        "QLinearConv",
        "convolution",
        macs=convolution(3),
        operands=(0, 3),
        auxiliary=_QLINEAR,
        quantization="integers",
        layouts=names(f"{_MICROSOFT} {_CHANNELS_LAST}"),
    ),
    Operator(
        "QLinearMatMul",
        "matrix multiplication",
        macs=product,
        operands=(0, 3),
        auxiliary=_QLINEAR,
        quantization="integers",
    ),
    Operator(
        "MatMulNBits",
        "matrix multiplication",
        domain=_MICROSOFT,
        macs=product,
        operands=_AB,
        auxiliary=_positions(2, 3, 4),
        quantization="weights",
    ),
)


def _fused(text: str, kind: Kind, **facts: Any) -> tuple[Operator, ...]:
    return _each(text, kind, domain=_MICROSOFT, from_runtime=True, **facts)


def _in_integers(text: str, kind: Kind) -> tuple[Operator, ...]:
    """Return the runtime's forms of operators of the standard that compute in integers from integers."""
    return tuple(
        operator
        for name in text.split()
        for operator in _fused(f"QLinear{name}", kind, same_as=name, quantization="integers")
    )


_FROM_RUNTIME = (
    *_fused("FusedConv NhwcFusedConv", "convolution", same_as="Conv"),
    *_fused("FusedGemm", "matrix multiplication", same_as="Gemm"),
    *_fused("FusedMatMul", "matrix multiplication", same_as="MatMul"),
    *_fused("GroupQueryAttention MoE MultiHeadAttention", "matrix multiplication"),
    *_fused(
        "DynamicQuantizeMatMul MatMulIntegerToFloat QGemm",
        "matrix multiplication",
        same_as="MatMul",
        quantization="integers",
    ),
    *_fused("QAttention QMoE", "matrix multiplication", quantization="integers"),
    *_fused("DynamicQuantizeLSTM", "recurrence", quantization="integers"),
    *_in_integers("Add LeakyRelu Mul Sigmoid Where", "elementwise"),
    *_in_integers("AveragePool GlobalAveragePool ReduceMean Softmax", "reduction"),
    *_in_integers("Concat", "data movement"),
    Operator(
        "QLinearConvTranspose",
        "convolution",
        domain=_CHANNELS_LAST,
        quantization="integers",
        from_runtime=True,
    ),
    *_fused("ReorderInput ReorderOutput", "data movement", moves=True),
)

#: Every operator that is known, by its name.
OPERATORS: Mapping[str, Operator] = {
    operator.name: operator
    for operator in (*_MATRICES, *_ELEMENTWISE, *_REDUCTIONS, *_MOVEMENTS, *_QUANTIZED, *_FROM_RUNTIME)
}

_UNKNOWN = Operator("", "unknown")


def operator_of(node: onnx.NodeProto) -> Operator:
    """Return the facts of a node's operator, by its type alone; those of an unknown one where the table lacks it."""
    return OPERATORS.get(node.op_type, _UNKNOWN)


def is_known(node: onnx.NodeProto) -> bool:
    """Whether the node may be an operator of the table; operators of foreign domains are not."""
    if node.domain in _STANDARD:
        return True
    operator = operator_of(node)
    return node.domain == operator.domain and not operator.from_runtime


def kind(node: onnx.NodeProto, shape: ShapeOf) -> Kind:
    """Return the class of operators that share an efficiency on the same hardware.

    Args:
        node: The operator.
        shape: Function from a tensor's name to its shape; it returns ``None`` where it is unknown.
    """
    operator = operator_of(node)
    if not is_known(node) or operator.from_runtime:
        return "unknown"
    if operator.kind == "convolution" and operator.operands is not None:
        weight = shape(node.input[operator.operands[1]])
        groups = attribute(node, "group", 1)
        return "depthwise convolution" if weight and groups > 1 and weight[1] == 1 else "convolution"
    return operator.kind


def macs(node: onnx.NodeProto, shape: ShapeOf) -> int | None:
    """Return the multiply-accumulate operations of one run of the node.

    Args:
        node: The operator.
        shape: Function from a tensor's name to its shape; it returns ``None`` where it is unknown.

    Returns:
        The count, 0 for operators that multiply no matrices, ``None`` where operator or shapes are unknown.
    """
    if kind(node, shape) == "unknown":
        return None
    formula = operator_of(node).macs
    return 0 if formula is None else formula(node, shape)


def steps(node: onnx.NodeProto, shape: ShapeOf) -> int:
    """Return the number of sequential runs of the node: time steps of a recurrence, otherwise 1."""
    if operator_of(node).kind != "recurrence" or not is_known(node):
        return 1
    dims = shape(node.input[0])
    return dims[attribute(node, "layout", 0)] if dims else 1


def as_standard(node: onnx.NodeProto) -> onnx.NodeProto:
    """Return a node that a runtime's optimizer wrote as the operator of the standard with the same arithmetic."""
    operator = operator_of(node)
    same_as = operator.same_as or node.op_type
    # Variants for another layout have the standard's name, operands and weights in a domain of the runtime's own.
    if same_as == node.op_type and node.domain not in (_OTHER_LAYOUT, *operator.layouts):
        return node
    same = onnx.NodeProto()
    same.CopyFrom(node)
    same.op_type, same.domain = same_as, ""
    return same
