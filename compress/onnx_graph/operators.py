"""The cost of ONNX operators: their kind, and their multiply-accumulate operations (MACs).

Only operators that multiply matrices have MACs, the convention of the literature: ResNet-18 at 224×224 is
1.81 GMACs. Normalisation, activations and pooling are bound by memory and count as bytes moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import onnx

from compress.onnx_graph.graph import attribute

Shape = tuple[int, ...]
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

#: Kinds whose layers take the operators that follow as an epilogue.
MATRIX_KINDS: frozenset[Kind] = frozenset({"convolution", "depthwise convolution", "matrix multiplication"})


def names(text: str) -> frozenset[str]:
    """Return a set of operator names from a text with many names on a line."""
    return frozenset(text.split())


#: Another name for the same values in memory.
VIEWS = names("Reshape Flatten Squeeze Unsqueeze Identity Dropout")

#: One output value per position from the input values at that position (BatchNormalization in inference).
POINTWISE = names("""
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr
    BitwiseXor Cast CastLike Ceil Celu Clip Cos Cosh DequantizeLinear Div Elu Equal Erf Exp Floor Gelu Greater
    GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul
    Neg Not Or PRelu Pow QuantizeLinear Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus
    Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
""")

REDUCTIONS = names("""
    ArgMax ArgMin AveragePool CumSum DynamicQuantizeLinear GlobalAveragePool GlobalLpPool GlobalMaxPool
    GroupNormalization Hardmax InstanceNormalization LRN LayerNormalization LogSoftmax LpNormalization LpPool
    MaxPool MeanVarianceNormalization RMSNormalization ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Softmax TopK
""")

MOVEMENTS = names("""
    CenterCropPad Col2Im Compress Concat ConstantOfShape DepthToSpace Expand EyeLike Gather GatherElements
    GatherND NonMaxSuppression NonZero OneHot Pad Range Resize ReverseSequence RotaryEmbedding ScatterElements
    ScatterND Slice SpaceToDepth Split Tile Transpose Trilu Unique Upsample
""")

#: Movements and pooling that give the same result on quantized values: an engine moves Q/DQ across them.
COMMUTE_WITH_QUANTIZATION = names("""
    Concat DepthToSpace Expand Gather GatherElements GatherND MaxPool Slice SpaceToDepth Split Tile Transpose
""")

#: Operators with kernels that work on 8-bit values as they are; other elementwise operators and reductions widen them.
KEEP_PRECISION = COMMUTE_WITH_QUANTIZATION | {"AveragePool", "GlobalAveragePool"}

#: Movements that read only what they write, however large their input is.
PARTIAL_READS = names("Gather GatherElements GatherND Slice")

#: Positions of the two operands whose precision decides the kernel.
OPERANDS: Mapping[str, tuple[int, int]] = {
    "Attention": (0, 1),
    "Conv": (0, 1),
    "ConvInteger": (0, 1),
    "ConvTranspose": (0, 1),
    "DeformConv": (0, 1),
    "Einsum": (0, 1),
    "GRU": (0, 1),
    "Gemm": (0, 1),
    "LSTM": (0, 1),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "MatMulNBits": (0, 1),
    "QLinearConv": (0, 3),
    "QLinearMatMul": (0, 3),
    "RNN": (0, 1),
}

#: Inputs that hold scales, zero points or sizes: read, but nothing that was learned.
AUXILIARY_INPUTS: Mapping[str, frozenset[int]] = {
    "BatchNormalization": frozenset({3, 4}),  # statistics of the data, which nobody learned
    "ConvInteger": frozenset({2, 3}),
    "DequantizeLinear": frozenset({1, 2}),
    "MatMulInteger": frozenset({2, 3}),
    "MatMulNBits": frozenset({2, 3, 4}),
    "QLinearConv": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearMatMul": frozenset({1, 2, 4, 5, 6, 7}),
    "QuantizeLinear": frozenset({1, 2}),
    "Resize": frozenset({1, 2, 3}),
}

_CONVOLUTIONS = frozenset({"Conv", "ConvInteger", "ConvTranspose", "DeformConv", "QLinearConv"})
_RECURRENCES = frozenset({"GRU", "LSTM", "RNN"})


def is_known(node: onnx.NodeProto) -> bool:
    """Whether the node is an operator this module can account for; operators of foreign domains are not."""
    return node.domain in ("", "ai.onnx") or (
        node.domain == "com.microsoft" and node.op_type == "MatMulNBits"
    )


def kind(node: onnx.NodeProto, shape: Callable[[str], Shape | None]) -> Kind:
    """Return the class of operators that share an efficiency on the same hardware.

    Args:
        node: The operator.
        shape: Function from a tensor's name to its shape; it returns ``None`` where it is unknown.
    """
    op = node.op_type
    if not is_known(node):
        return "unknown"
    if op in _CONVOLUTIONS:
        weight = shape(node.input[OPERANDS[op][1]])
        groups = attribute(node, "group", 1)
        return "depthwise convolution" if weight and groups > 1 and weight[1] == 1 else "convolution"
    if op in _RECURRENCES:
        return "recurrence"
    if op in OPERANDS:
        return "matrix multiplication"
    if op in POINTWISE:
        return "elementwise"
    if op in REDUCTIONS:
        return "reduction"
    if op in MOVEMENTS or op in VIEWS:
        return "data movement"
    return "unknown"


def macs(node: onnx.NodeProto, shape: Callable[[str], Shape | None]) -> int | None:
    """Return the multiply-accumulate operations of one run of the node.

    Args:
        node: The operator.
        shape: Function from a tensor's name to its shape; it returns ``None`` where it is unknown.

    Returns:
        The count, 0 for operators that multiply no matrices, ``None`` where operator or shapes are unknown.
    """
    if kind(node, shape) == "unknown":
        return None
    if node.op_type not in OPERANDS:
        return 0
    first, second = (shape(node.input[position]) for position in OPERANDS[node.op_type])
    output = shape(node.output[0]) if node.output[0] else None
    if node.op_type in _RECURRENCES:
        recurrent = shape(node.input[2])
        if first is None or second is None or recurrent is None:
            return None
        steps = math.prod(first[:2])  # time × batch, in either layout
        return steps * (math.prod(second) + math.prod(recurrent))
    if first is None or second is None or output is None:
        return None
    match node.op_type:
        case "ConvTranspose":  # weight: [channels in, channels out / groups, *kernel]
            return math.prod(first) * math.prod(second[1:])
        case (
            "Conv" | "ConvInteger" | "DeformConv" | "QLinearConv"
        ):  # [channels out, channels in / groups, *kernel]
            return math.prod(output) * math.prod(second[1:])
        case "Gemm":
            return math.prod(output) * first[0 if attribute(node, "transA", 0) else 1]
        case "MatMulNBits":
            return math.prod(output) * first[-1]
        case "Einsum":
            return _einsum(node, shape)
        case "Attention":
            return _attention(node, shape)
        case _:
            return math.prod(output) * first[-1]


def steps(node: onnx.NodeProto, shape: Callable[[str], Shape | None]) -> int:
    """Return the number of sequential runs of the node: time steps of a recurrence, otherwise 1."""
    if node.op_type not in _RECURRENCES or not is_known(node):
        return 1
    dims = shape(node.input[0])
    return dims[attribute(node, "layout", 0)] if dims else 1


def _einsum(node: onnx.NodeProto, shape: Callable[[str], Shape | None]) -> int | None:
    """Return the product of all index sizes, once for each operand after the first."""
    equation = attribute(node, "equation").decode().replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        dims = shape(name)
        if dims is None:
            return None
        before, dots, after = term.partition("...")
        tail = len(dims) - len(after)
        # Broadcast axes are numbered from the right, as NumPy aligns them.
        middle = [str(axis - tail) for axis in range(len(before), tail)] if dots else []
        for index, size in zip([*before, *middle, *after], dims, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))
    return math.prod(sizes.values()) * (len(terms) - 1)


def _attention(node: onnx.NodeProto, shape: Callable[[str], Shape | None]) -> int | None:
    """Return the MACs of query·key and probability·value; inputs are [b, heads, n, d] or [b, n, heads·d]."""
    query, key, value = (shape(name) for name in node.input[:3])
    if query is None or key is None or value is None:
        return None
    past = shape(node.input[4]) if len(node.input) > 4 and node.input[4] else None
    keys = key[-2] + (past[-2] if past else 0)
    if len(query) == 4:
        return math.prod(query[:3]) * keys * (query[3] + value[3])
    # Grouped queries share value heads: each of the query's heads has a width of its own.
    value_width: int = value[2] // attribute(node, "kv_num_heads") * attribute(node, "q_num_heads")
    return query[0] * query[1] * keys * (query[2] + value_width)
