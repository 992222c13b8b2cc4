"""Mixtures of experts: ONNX Runtime's MoE, and its twin QMoE, whose experts are packed integers.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QMoE

Both read the weights of the experts that a token is sent to, and of no others. Each expert has two matrices: gate and
up, whose rows alternate, and down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import Graph, attribute, replace_nodes
from compress.quantization.weights.grouped import Grid, GroupedWeight
from compress.quantization.weights.packing import DOMAIN, packed_arrays
from compress.quantization.weights.scale_search import round_alone
from compress.quantization.weights.settings import Settings

#: First release of ONNX Runtime whose QMoE can multiply 4 bits by inputs rounded to int8; those before use float32.
_ROUNDS_INPUTS = (1, 31)

#: Positions of MoE's two matrices among its inputs.
_MATRICES = (2, 4)


@dataclass(frozen=True)
class Mixture:
    """The experts of one layer.

    Attributes:
        node: Name of the node, of type MoE.
        initializers: Names of its two matrices.
        weights: The matrices, float32 [experts, outputs, inputs].
    """

    node: str
    initializers: tuple[str, ...]
    weights: tuple[NDArray[np.float32], ...]


def find_mixtures(
    graph: Graph, group_size: int, excluded: Collection[str] = ()
) -> tuple[list[Mixture], dict[str, str]]:
    """Return the mixtures of experts to quantize, in the order they run, and why every other one stays float."""
    mixtures: list[Mixture] = []
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type != "MoE" or node.domain != DOMAIN:
            continue
        reason = _obstacle(node, graph, group_size, excluded)
        if reason is not None:
            reasons[node.name] = reason
            continue
        names = tuple(node.input[position] for position in _MATRICES)
        weights = tuple(np.asarray(graph.constant(name), np.float32) for name in names)
        mixtures.append(Mixture(node.name, names, weights))
    return mixtures, reasons


def rounded_experts(mixture: Mixture, settings: Settings) -> tuple[list[GroupedWeight], ...]:
    """Return the integers of each expert's matrices, rounded without data."""
    return tuple([round_alone(expert, settings) for expert in weight] for weight in mixture.weights)


def pack_mixtures(
    model: onnx.ModelProto,
    mixtures: Iterable[tuple[Mixture, Sequence[Sequence[GroupedWeight]]]],
    compute: str,
) -> None:
    """Replace nodes of type MoE in place; their old matrices stay as unused initialisers.

    Args:
        model: Model with the nodes.
        mixtures: Pairs of a mixture of this model, and for each of its matrices the integers of every expert.
        compute: Precision of the products, one of :data:`compress.quantization.weights.settings.COMPUTE`.
    """
    graph = Graph(model)
    instead: dict[str, onnx.NodeProto] = {}
    nodes = {node.name: node for node in graph.nodes}
    for mixture, matrices in mixtures:
        stored = [
            [graph.store(f"{name}_{part}", values) for part, values in stacked_arrays(experts).items()]
            for name, experts in zip(mixture.initializers, matrices, strict=True)
        ]
        node = nodes[mixture.node]
        instead[mixture.node] = mixture_node(
            node.name,
            node.input[0],
            node.input[1],
            stored,
            node.output[0],
            chosen=attribute(node, "k", 1),
            grid=matrices[0][0].grid,
            compute=compute,
        )
    replace_nodes(model, [instead.get(node.name, node) for node in graph.nodes])


def stacked_arrays(experts: Sequence[GroupedWeight]) -> dict[str, NDArray[Any]]:
    """Return the constants of QMoE for one matrix of all experts, by what they are.

    Returns:
        ``packed``, uint8 [experts, outputs, bytes]; ``scales``, float32 [experts, outputs, groups]; and where the
        weights have them ``zero_points``, uint8 [experts, outputs, bytes].
    """
    arrays = [packed_arrays(expert) for expert in experts]
    stacks = {part: np.stack([array[part] for array in arrays]) for part in arrays[0]}
    packed = stacks["packed"]
    return {**stacks, "packed": packed.reshape(*packed.shape[:2], -1)}


def fits(weight: GroupedWeight) -> bool:
    """Whether QMoE takes a weight: two full groups or more, integers for zero points, no factors of its inputs.

    Before ONNX Runtime 1.31, a single group gave wrong values without a word.
    """
    zero_points = weight.zero_points
    return (
        weight.integers.shape[1] > 1
        and weight.integers.shape[1] * weight.group_size == weight.inputs
        and weight.input_scales is None
        and (zero_points is None or zero_points.dtype == np.uint8)
    )


def mixture_node(
    name: str,
    source: str,
    routes: str,
    matrices: Sequence[Sequence[str]],
    result: str,
    *,
    chosen: int,
    grid: Grid | None = None,
    compute: str = "float32",
) -> onnx.NodeProto:
    """Return the node of a mixture of experts with a gate of SiLU; the shares of those chosen add up to 1.

    The operators have an attribute for shares that do not: QMoE passes it over, as MoE did before ONNX Runtime 1.32.

    Args:
        name: Name of the node.
        source: Name of the tokens, float32 [batch, sequence, hidden].
        routes: Name of the logits of experts, float32 [tokens, experts].
        matrices: Names of the constants of the matrix with gate and up, and of that with down: one name each for
            floats, those of :func:`stacked_arrays` for integers.
        result: Name of the result.
        chosen: Number of experts that a token is sent to.
        grid: Sizes of one of the integer matrices, which the others share bits and groups with; None for floats.
        compute: Precision of the products, one of :data:`compress.quantization.weights.settings.COMPUTE`.
    """
    settings: dict[str, Any] = {
        "k": chosen,
        "normalize_routing_weights": 1,
        "activation_type": "swiglu",
        "swiglu_fusion": 1,
        "activation_alpha": 1.0,
        "activation_beta": 0.0,
    }
    first, second = matrices
    if grid is None:
        inputs = [source, routes, first[0], "", second[0]]
        return onnx.helper.make_node("MoE", inputs, [result], name=name, domain=DOMAIN, **settings)
    inputs = [source, routes, *first[:2], "", *second[:2]]
    if len(first) > 2:
        inputs += ["", "", "", "", first[2], second[2]]
    settings |= {"expert_weight_bits": grid.bits, "block_size": grid.group_size}
    if compute == "int8" and _rounds_inputs():
        settings["accuracy_level"] = 4
    return onnx.helper.make_node("QMoE", inputs, [result], name=name, domain=DOMAIN, **settings)


def _rounds_inputs() -> bool:
    import onnxruntime

    release = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2] if part.isdigit())
    return release >= _ROUNDS_INPUTS


def _obstacle(node: onnx.NodeProto, graph: Graph, group_size: int, excluded: Collection[str]) -> str | None:
    if node.name in excluded:
        return "excluded by the recipe"
    others = [name for position, name in enumerate(node.input) if position > 1 and position not in _MATRICES]
    form = attribute(node, "activation_type", b"relu"), attribute(node, "normalize_routing_weights", 0)
    if any(others) or form != (b"swiglu", 1):
        return "its experts have biases or another form"
    for position in _MATRICES:
        weight = graph.constant(node.input[position])
        if weight is None or weight.dtype != np.float32 or len(graph.consumers[node.input[position]]) > 1:
            return "its weights are no float32 constants of its own"
        if not np.isfinite(weight).all():
            return "its weights are not finite"
        if weight.shape[2] % group_size or weight.shape[2] == group_size:
            return f"its {weight.shape[2]} inputs are not two or more whole groups of {group_size}"
    return None
