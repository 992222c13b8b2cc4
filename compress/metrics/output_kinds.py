"""The kind of each output of a network, found from its graph and its numbers.

A build that is judged without labels is held against the original, and what a difference means depends on what the
output holds: another largest class is an error, another largest coordinate of a pose is not. An output holds class
scores only where the graph shows it: a Softmax, an ArgMax, the rows of the vocabulary that the network reads, or a name
that says so. Where nothing shows anything, its numbers are continuous values, and every one of them counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from compress.core.tensor_spec import TensorSpec

if TYPE_CHECKING:
    import onnx

    from compress.onnx_graph.graph import Graph

Array = np.ndarray[Any, np.dtype[Any]]

Kind = Literal[
    "classes", "tokens", "probabilities", "boxes", "embeddings", "values", "integers", "texts", "ignore"
]

#: Every kind, as ``--metric OUTPUT=KIND`` takes it.
KINDS: tuple[str, ...] = get_args(Kind)

#: Operators that leave what a tensor holds as it is: its values only change their type or their order along no axis.
_TRANSPARENT = frozenset(
    {"Identity", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "Dropout", "Clip", "Pad", "Expand"}
)
#: Operators that move values about; which axis holds the classes is then told by the numbers.
_RESHAPING = frozenset(
    {
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Slice",
        "Gather",
        "GatherND",
        "Split",
        "Concat",
        "Resize",
        "Tile",
    }
)
#: Operators behind which a normalised vector is still one: means over positions, and masks.
_POOLING = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceMax", "Mul", "Div", "Add", "Sub", "GlobalAveragePool"}
)
_NORMALISING = frozenset(
    {"LayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization",
     "LpNormalization", "SkipSimplifiedLayerNormalization", "GroupNormalization"}
)  # fmt: skip
_SIGMOIDS = frozenset({"Sigmoid", "HardSigmoid", "QLinearSigmoid"})

#: Words in the name of an output, in lower case, that say what it holds.
_CLASS_WORDS = ("logits", "logit", "probs", "probabilities", "log_probs", "log_probabilities", "softmax")
_EMBEDDING_WORDS = ("embedding", "embeddings", "embed", "pooler_output", "hidden_state", "hidden_states")
_BOX_WORDS = ("box", "boxes", "bbox", "bboxes")

#: Rows of a vocabulary from which on an output with as many entries holds its scores, and an embedding's least length.
_LEAST_VOCABULARY, _LEAST_EMBEDDING = 16, 8

#: Share of numbers between 0.1 and 0.9 up to which a Sigmoid's outputs are taken for answers.
_DECIDED_SHARE = 0.3


@dataclass(frozen=True)
class OutputKind:
    """Kind of one output.

    Attributes:
        name: Name of the output.
        index: Position among the network's outputs.
        kind: Kind of its content: ``classes`` (scores, of which the largest is the answer, also at many positions),
            ``tokens`` (the same of a vocabulary, where positions count alike), ``probabilities`` (several classes may
            hold at once), ``boxes`` (four numbers each), ``embeddings`` (vectors that are compared by their angle),
            ``values`` (continuous numbers), ``integers``, ``texts``, or ``ignore`` (it is not judged).
        axis: Axis of the classes; None for kinds without classes.
        reason: Reason for this kind, to show.
    """

    name: str
    index: int
    kind: Kind
    axis: int | None
    reason: str

    def __str__(self) -> str:
        """Return one phrase, such as ``scores: classes along axis 1 (Softmax)``."""
        along = "" if self.axis is None else f" along axis {self.axis}"
        return f"{self.name}: {self.kind}{along} ({self.reason})"


def output_kinds(
    outputs: Sequence[TensorSpec], model: onnx.ModelProto | None, examples: Sequence[Array] | None = None
) -> tuple[OutputKind, ...]:
    """Return the kind of each output; axes are those of outputs as judged, with samples along axis 0.

    Args:
        outputs: Outputs of the network.
        model: Model with its graph, with or without weights; None where there is none.
        examples: Outputs of the original for some samples, in the same order, samples along axis 0; None where unknown.
            They show probabilities and vectors of unit length that the graph does not.
    """
    graph = None
    if model is not None:
        from compress.onnx_graph.graph import Graph

        graph = Graph(model)
    judged = [
        _as_judged(spec, None if examples is None else examples[index]) for index, spec in enumerate(outputs)
    ]
    kinds = [
        _kind(spec, order, index, graph, None if examples is None else examples[index])
        for index, (spec, order) in enumerate(judged)
    ]
    return tuple(_with_boxes(kinds, [spec for spec, _ in judged]))


def _as_judged(spec: TensorSpec, example: Array | None) -> tuple[TensorSpec, tuple[int, ...]]:
    """Return an output with its samples along axis 0, and the new position of each of its axes."""
    rank, counts = len(spec.shape), spec.batch_axis
    if (
        example is not None and example.ndim == rank + 1
    ):  # no axis of it counts samples: it belongs to one alone
        return TensorSpec(spec.name, spec.dtype, (1, *spec.shape)), tuple(range(1, rank + 1))
    order = tuple(0 if axis == counts else axis + (axis < counts) for axis in range(rank))
    return TensorSpec(spec.name, spec.dtype, (*spec.shape[counts : counts + 1], *spec.sample_shape)), order


def _kind(
    spec: TensorSpec, order: Sequence[int], index: int, graph: Graph | None, example: Array | None
) -> OutputKind:
    dtype = np.dtype(spec.dtype) if spec.dtype not in ("bfloat16", "float8e4m3fn") else np.dtype("float32")
    if 0 in spec.shape:
        return OutputKind(spec.name, index, "ignore", None, "it has no entries")
    if dtype.kind in "OSU":
        return OutputKind(spec.name, index, "texts", None, "its type")
    if dtype.kind in "iub":
        return OutputKind(spec.name, index, "integers", None, "its type")
    for seen_kind in (
        None if graph is None else _by_graph(spec, order, graph),
        None if example is None else _by_numbers(spec, example),
        _by_name(spec),
    ):
        if seen_kind is not None:
            kind, axis, reason = seen_kind
            if kind == "probabilities" and example is not None and example.size and _in_between(example):
                continue
            if kind in ("classes", "tokens"):
                axis = _class_axis(spec, axis, example)
                if axis is None:
                    continue
            return OutputKind(spec.name, index, kind, axis, reason)
    return OutputKind(spec.name, index, "values", None, "nothing shows that it holds class scores")


_Told = tuple[Kind, int | None, str]


def _by_graph(spec: TensorSpec, order: Sequence[int], graph: Graph) -> _Told | None:
    """Judge an output by the nodes that make it, and by those that read it."""
    rank = len(order)
    seen = _behind(spec.name, graph, rank)
    if seen is not None:
        kind, class_axis, reason = seen
        return kind, None if class_axis is None else order[class_axis], reason
    for node in _readers(spec.name, graph):
        if node.op_type in ("Softmax", "LogSoftmax", "ArgMax"):
            axis = _axis_of(node, rank, graph)
            return "classes", None if axis is None else order[axis], f"{node.op_type} reads it"
    vocabulary = _vocabulary(graph)
    last = spec.shape[-1] if len(spec.shape) >= 2 else None
    if isinstance(last, int) and last >= _LEAST_VOCABULARY and last in vocabulary:
        return "tokens", len(spec.shape) - 1, f"a score for each of the {last} rows of '{vocabulary[last]}'"
    return None


def _behind(name: str, graph: Graph, rank: int) -> _Told | None:
    """Walk back from an output to the nodes that made its values."""
    tensor, axis_map, moved, pooled = name, list(range(rank)), False, False
    for _ in range(64):
        node = graph.producers.get(tensor)
        if node is None:
            return None
        kind = node.op_type
        if kind in ("Softmax", "LogSoftmax", "Hardmax"):
            if pooled:
                return None
            class_axis = None if moved else _axis_of(node, rank, graph)
            return "classes", None if class_axis is None else axis_map.index(class_axis), kind
        if kind in _SIGMOIDS and not pooled:
            return "probabilities", None, kind
        if kind in _NORMALISING or _divides_by_norm(node, graph):
            return (
                ("embeddings", None, kind if kind in _NORMALISING else "divided by its norm")
                if rank > 1
                else None
            )
        if kind == "Transpose" and not moved:
            order = list(_attribute(node, "perm", list(range(rank))[::-1]))
            axis_map = [order[position] for position in axis_map] if len(order) == rank else axis_map
            moved = len(order) != rank
        elif kind == "Log" or kind in _TRANSPARENT:
            pass
        elif kind in _RESHAPING:
            moved = True
        elif kind in _POOLING:
            pooled = True
        else:
            return None
        tensor = _main_input(node, graph)
        if not tensor:
            return None
    return None


def _main_input(node: onnx.NodeProto, graph: Graph) -> str:
    """Return the input that carries the values: the first that is computed."""
    computed = [name for name in node.input if name and (name in graph.producers or name in graph.inputs)]
    longest = sorted(computed, key=lambda name: graph.producers.get(name) is None or _is_shape(name, graph))
    return longest[0] if longest else ""


def _is_shape(name: str, graph: Graph) -> bool:
    """Whether a tensor is computed from shapes or constants alone, such as a mask or the sizes for a Reshape."""
    return graph.producers[name].op_type in (
        "Shape",
        "Constant",
        "ConstantOfShape",
        "Unsqueeze",
        "Cast",
    ) and (graph.producers[name].op_type != "Cast" or graph.producers[name].input[0] in graph.inputs)


def _divides_by_norm(node: onnx.NodeProto, graph: Graph) -> bool:
    """Whether a vector is divided by its own length, however the exporter wrote that."""
    if node.op_type != "Div":
        return False
    divisor = node.input[1]
    for _ in range(6):
        maker = graph.producers.get(divisor)
        if maker is None:
            return False
        if maker.op_type in ("ReduceL2",):
            return True
        if maker.op_type == "Sqrt":
            inner = graph.producers.get(maker.input[0])
            while inner is not None and inner.op_type in ("Clip", "Max", "Add"):
                inner = graph.producers.get(inner.input[0])
            return inner is not None and inner.op_type in ("ReduceSumSquare", "ReduceSum")
        if maker.op_type not in ("Clip", "Max", "Add", "Expand", "Unsqueeze", "Identity", "Cast", "Shape"):
            return False
        divisor = maker.input[0]
    return False


def _readers(name: str, graph: Graph) -> list[onnx.NodeProto]:
    """Return the nodes that read an output, also through nodes that change only types."""
    readers = []
    for node in graph.consumers.get(name, []):
        readers += _readers(node.output[0], graph) if node.op_type in _TRANSPARENT else [node]
    return readers


def _vocabulary(graph: Graph) -> dict[int, str]:
    """Return the name of each table that integer inputs look up, by its number of rows."""
    from onnx import TensorProto

    integers = (TensorProto.INT64, TensorProto.INT32)
    sizes_to_names = {}
    for node in graph.nodes:
        if node.op_type == "Gather" and node.input[0] in graph.initializers:
            source = node.input[1]
            while source in graph.producers and graph.producers[source].op_type in _TRANSPARENT:
                source = graph.producers[source].input[0]
            table = graph.initializers[node.input[0]]
            if source in graph.inputs and graph.element_type(source) in integers and len(table.dims) == 2:
                sizes_to_names[int(table.dims[0])] = table.name
    return sizes_to_names


def _axis_of(node: onnx.NodeProto, rank: int, graph: Graph) -> int | None:
    axis = _attribute(node, "axis", None)
    if axis is None:
        # The default was axis 1, flattened from there on, until opset 13.
        axis = 0 if node.op_type == "ArgMax" else (-1 if graph.opset >= 13 else 1)
    axis = int(axis)
    axis = axis + rank if axis < 0 else axis
    return axis if 0 <= axis < rank else None


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    from compress.onnx_graph.graph import attribute

    return attribute(node, name, default)


def _by_numbers(spec: TensorSpec, example: Array) -> _Told | None:
    """Judge an output by numbers: probabilities that sum to 1, their logarithms, vectors of unit length."""
    if example.ndim != len(spec.shape) or example.ndim < 2 or not example.size:
        return None
    values = example.astype(np.float64)
    if not np.isfinite(values).all():
        return None
    for axis in _axes_by_likelihood(example.shape):
        if values.min() >= 0 and np.allclose(values.sum(axis), 1, atol=1e-3):
            return "classes", axis, "its numbers sum to 1"
        if values.max() <= 1e-6 and np.allclose(np.exp(values).sum(axis), 1, atol=1e-3):
            return "classes", axis, "its numbers are logarithms that sum to 1"
    if example.shape[-1] >= _LEAST_EMBEDDING and np.allclose(np.linalg.norm(values, axis=-1), 1, atol=1e-3):
        return "embeddings", None, "its vectors have length 1"
    return None


def _in_between(example: Array) -> bool:
    """Whether numbers from 0 to 1 are a quantity, such as gray or a distance, rather than the answers of a classifier.

    A classifier's answers lie near 0 and 1.
    """
    values = example.astype(np.float64)
    return float(((values > 0.1) & (values < 0.9)).mean()) > _DECIDED_SHARE


def _axes_by_likelihood(shape: tuple[int, ...]) -> list[int]:
    """Return the axes of at least two entries that classes may lie along: the last, the second, the others."""
    rank = len(shape)
    order = [rank - 1, 1, *range(2, rank - 1)]
    return [axis for axis in dict.fromkeys(order) if axis and shape[axis] >= 2]


def _by_name(spec: TensorSpec) -> _Told | None:
    words = set(spec.name.lower().replace(".", "_").replace("/", "_").split("_")) | {spec.name.lower()}
    tail = spec.name.lower().rpartition(".")[2]
    last = spec.shape[-1] if len(spec.shape) >= 2 else 1
    if (words & set(_CLASS_WORDS) or tail in _CLASS_WORDS) and last != 1:
        return "classes", None, "its name"
    if (
        any(word in spec.name.lower() for word in _EMBEDDING_WORDS)
        and last != 1
        and len(spec.shape) in (2, 3)
    ):
        return "embeddings", None, "its name"
    return None


def _class_axis(spec: TensorSpec, axis: int | None, example: Array | None) -> int | None:
    """Return the axis of the classes: from the graph, else where numbers sum to 1, else the usual one."""
    rank = len(spec.shape)
    if axis is not None:
        return axis if axis > 0 and spec.shape[axis] != 1 else None
    seen_kind = None if example is None else _by_numbers(spec, example)
    if seen_kind is not None and seen_kind[0] == "classes":
        return seen_kind[1]
    conventional = {2: 1, 3: 2}.get(rank, 1)
    return conventional if rank >= 2 and spec.shape[conventional] != 1 else None


def _with_boxes(kinds: list[OutputKind], outputs: Sequence[TensorSpec]) -> list[OutputKind]:
    """Turn values of four numbers into boxes where other outputs score them, or their name says so."""
    scored: Mapping[int | str, int] = {
        outputs[kind.index].shape[1]: kind.index
        for kind in kinds
        if kind.kind in ("classes", "probabilities") and len(outputs[kind.index].shape) >= 2
    }
    result = []
    for kind in kinds:
        shape = outputs[kind.index].shape
        boxes = kind.kind == "values" and len(shape) == 3 and shape[-1] == 4
        named = any(word in kind.name.lower() for word in _BOX_WORDS)
        if boxes and (named or (shape[1] in scored and shape[1] != 1)):
            kind = replace(kind, kind="boxes", reason="its name" if named else "four numbers for each score")
        result.append(kind)
    return result
