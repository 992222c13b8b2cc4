"""Move the outlier channels of a transformer's activations into the weights that read them.

Behind a layer normalisation a few channels are far wider than the others, and one scale for all of them leaves the
others few integers. X W = (X S⁻¹)(S W) for any positive diagonal S, and S⁻¹ folds into the normalisation's own scale
and shift, so nothing is added to the graph. With

    sⱼ = max|Xⱼ|^α / max|Wⱼ|^(1 − α)

α decides how much of the difficulty moves: Xiao et al. 2022, "SmoothQuant", arXiv 2211.10438. Here each layer
takes the α with the smallest error of its quantized product on the samples, or stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.fold import remove_unused
from compress.onnx_graph.graph import Graph, attribute
from compress.quantization.batches import Batch, bounded
from compress.quantization.grid import Range, activation_grid, highest_weight, weight_scales
from compress.quantization.matrices import as_matrices, from_matrices, is_plain
from compress.quantization.probe import Probe
from compress.target.target import QuantizationFlavour

_ALPHAS = (0.2, 0.35, 0.5, 0.65, 0.8)
_ROWS = 512  # of a tensor that the error is measured on
_OUTPUTS = 512  # of the layers that read it, of which the error is measured
_WORTH_IT = 0.95  # share of the error above which a layer stays as it is


@dataclass(frozen=True)
class Smoothed:
    """One smoothed activation.

    Attributes:
        tensor: Name of the activation, after its normalisation.
        readers: Names of the nodes whose weights took the scales.
        alpha: Share α of the difficulty that moved, in (0, 1).
    """

    tensor: str
    readers: tuple[str, ...]
    alpha: float


def smooth(
    model: onnx.ModelProto, batches: Sequence[Batch], flavour: QuantizationFlavour
) -> tuple[onnx.ModelProto, tuple[Smoothed, ...]]:
    """Return an equal model whose activations quantize better.

    Args:
        model: Float model that :func:`compress.onnx_graph.fold.prepare` returned; it is not modified.
        batches: Batches of samples.
        flavour: Flavour of the grids that the error is measured on.

    Returns:
        The model, equal up to float32 rounding, and the smoothed activations.
    """
    rows = SampledRows(smoothable(model))
    probe = Probe(model, rows.tensors)
    for batch in bounded(batches, Graph(model), rows.tensors):
        rows.take(dict(zip(rows.tensors, probe.run(batch), strict=True)))
    smoothed, done, _ = smooth_rows(model, rows, flavour)
    return smoothed, done


class SampledRows:
    """Random rows of tensors, at most :data:`_ROWS` of each: values of all channels at one place.

    Args:
        tensors: Names of the tensors.
    """

    def __init__(self, tensors: Sequence[str]) -> None:
        self.tensors = tuple(tensors)
        self._random = np.random.default_rng(0)
        self._kept: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float32]]]] = {
            name: [] for name in tensors
        }

    def take(self, seen: Mapping[str, NDArray[Any]]) -> None:
        """Sample the tensors' values of one run; every row of every run is kept with equal probability."""
        for name in self.tensors:
            flat = seen[name].reshape(-1, seen[name].shape[-1])
            keys = self._random.random(len(flat))
            chosen = np.argsort(keys)[:_ROWS]
            self._kept[name].append((keys[chosen], flat[chosen]))
            all_keys = np.concatenate([keys for keys, _ in self._kept[name]])
            if len(all_keys) > _ROWS:
                rows = np.concatenate([rows for _, rows in self._kept[name]])
                best = np.argsort(all_keys)[:_ROWS]
                self._kept[name] = [(all_keys[best], rows[best])]

    def of(self, tensor: str) -> NDArray[np.float32]:
        """Return the rows of one tensor, [rows, channels]."""
        return np.concatenate([rows for _, rows in self._kept[tensor]])


def smooth_rows(
    model: onnx.ModelProto, rows: SampledRows, flavour: QuantizationFlavour
) -> tuple[onnx.ModelProto, tuple[Smoothed, ...], dict[str, NDArray[np.float32] | None]]:
    """Smooth a model as :func:`smooth` does, by rows of the smoothable tensors that were sampled already.

    Returns:
        The model, the smoothed activations, and the rows of changed tensors, by name; None for the steps of a
        normalisation that is written out, whose rows were not sampled.
    """
    smoothed = onnx.ModelProto()
    smoothed.CopyFrom(model)
    graph = Graph(smoothed)
    done = []
    changed: dict[str, NDArray[np.float32] | None] = {}
    for tensor in rows.tensors:
        readers = graph.consumers[tensor]
        weights = [_weight(node, graph) for node in readers]  # [outputs, channels] each
        alpha, scales = _best(rows.of(tensor), np.concatenate(weights), flavour)
        if alpha is None:
            continue
        for node, index in _constants_before(tensor, graph) or ():
            changed[node.output[0]] = None
            divided = np.asarray(graph.constant(node.input[index]), np.float64) / scales
            node.input[index] = graph.store(f"{node.input[index]}_smoothed", divided.astype(np.float32))
        for node, weight in zip(readers, weights, strict=True):
            shape = np.asarray(graph.constant(node.input[1])).shape
            values = from_matrices(node, (weight * scales)[None, :, :, None], shape)
            node.input[1] = graph.store(f"{node.input[1]}_smoothed", values.astype(np.float32))
        done.append(Smoothed(tensor, tuple(node.name for node in readers), alpha))
        changed[tensor] = np.asarray(rows.of(tensor) / scales, np.float32)
    remove_unused(smoothed)
    return smoothed, tuple(done), changed


def smoothable(model: onnx.ModelProto) -> list[str]:
    """Return the tensors of a prepared model whose channels can be scaled without cost, in topological order."""
    graph = Graph(model)
    return [name for name in graph.producers if _is_smoothable(name, graph)]


def _is_smoothable(tensor: str, graph: Graph) -> bool:
    readers = graph.consumers.get(tensor, [])
    if not readers or tensor in graph.outputs or not _constants_before(tensor, graph):
        return False
    return all(_reads_with_weight(node, tensor, graph) for node in readers)


def _reads_with_weight(node: onnx.NodeProto, tensor: str, graph: Graph) -> bool:
    if (
        node.op_type not in ("MatMul", "Gemm")
        or list(node.input).count(tensor) != 1
        or node.input[0] != tensor
    ):
        return False
    weight = graph.constant(node.input[1])
    return weight is not None and weight.dtype == np.float32 and is_plain(node, weight)


def _weight(node: onnx.NodeProto, graph: Graph) -> NDArray[np.float64]:
    weight = as_matrices(node, np.asarray(graph.constant(node.input[1])))
    return np.asarray(weight[0, :, :, 0], np.float64)


def _constants_before(tensor: str, graph: Graph) -> list[tuple[onnx.NodeProto, int]] | None:
    """Return the constants, as (node, input), that a tensor is proportional to, by channel of its last axis."""
    node, size = graph.producers[tensor], (graph.shape(tensor) or (None,))[-1]

    def is_vector(index: int) -> bool:
        return graph.shape(node.input[index]) == (size,) and graph.is_float32(node.input[index])

    if node.op_type == "LayerNormalization":
        rank = graph.rank(tensor)
        indices = [index for index in (1, 2) if len(node.input) > index and node.input[index]]
        last = rank is not None and attribute(node, "axis", -1) in (-1, rank - 1)
        constant = all(node.input[index] in graph.initializers and is_vector(index) for index in indices)
        return (
            [(node, index) for index in indices] if last and constant and not any(node.output[1:]) else None
        )
    constants = [index for index, name in enumerate(node.input) if name in graph.initializers]
    if node.op_type not in ("Mul", "Add") or len(constants) != 1 or not is_vector(constants[0]):
        return None
    constants_before = [(node, constants[0])]
    if node.op_type == "Mul":
        return constants_before
    source = node.input[1 - constants[0]]
    alone = source in graph.producers and graph.only_consumer(source) is not None
    before = _constants_before(source, graph) if alone else None
    return None if before is None else constants_before + before


def _best(
    x: NDArray[np.float32], weight: NDArray[np.float64], flavour: QuantizationFlavour
) -> tuple[float | None, NDArray[np.float64]]:
    """Return the α with the smallest error, and its scales; None and ones where none helps."""
    tiny = np.finfo(np.float32).eps
    widest = np.maximum(np.abs(x).max(axis=0).astype(np.float64), tiny)
    heaviest = np.maximum(np.abs(weight).max(axis=0), tiny)
    some = weight[:: -(-len(weight) // _OUTPUTS)].astype(np.float32)
    right = x @ some.T
    smallest = _WORTH_IT * _error(x, some, right, flavour)
    best: tuple[float | None, NDArray[np.float64]] = None, np.ones_like(widest)
    for alpha in _ALPHAS:
        scales = widest**alpha / heaviest ** (1 - alpha)
        scales /= np.exp(np.log(scales).mean())
        narrow = scales.astype(np.float32)
        error = _error(x / narrow, some * narrow, right, flavour)
        if error < smallest:
            smallest, best = error, (alpha, scales)
    return best


def _error(
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    right: NDArray[np.float32],
    flavour: QuantizationFlavour,
) -> float:
    """Return the squared error of the quantized product, with the smallest and the largest value as range."""
    grid = activation_grid(Range(float(x.min()), float(x.max())), flavour)
    steps = np.clip(
        np.rint(x / np.float32(grid.scale)), grid.lowest - grid.zero_point, grid.highest - grid.zero_point
    )
    scales = weight_scales(weight, 0 if flavour.per_channel else None, flavour)
    along = scales[:, None] if scales.ndim else scales
    highest = highest_weight(flavour)
    integers = np.clip(np.rint(weight / along), -highest, highest)
    product = (steps * np.float32(grid.scale)) @ (integers * along).T
    return float(np.square(product - right).sum(dtype=np.float64))
