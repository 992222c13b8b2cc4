"""Weights as integers of 4 or 8 bits with a scale per group, in matrix products that otherwise stay float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.errors import NetworkError, RecipeError
from compress.onnx_graph.fold import prepare, remove_unused
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.quantized import quantized_operator
from compress.onnx_graph.weights import size_of_model, spooled, without_files
from compress.quantization.batches import bounded
from compress.quantization.shelf import Shelf
from compress.quantization.weights.grouped import GroupedWeight
from compress.quantization.weights.inputs import CalibrationInputs
from compress.quantization.weights.layers import Layer, find_layers
from compress.quantization.weights.packing import pack_all
from compress.quantization.weights.settings import ALGORITHMS, DATA_DRIVEN, Settings

__all__ = [
    "ALGORITHMS",
    "GroupedWeight",
    "LayerReport",
    "Settings",
    "WeightOnlyReport",
    "quantize_weights",
]


@dataclass(frozen=True)
class LayerReport:
    """Report of one weight matrix.

    Attributes:
        nodes: Names of the nodes that multiply by it.
        shape: Numbers of outputs and inputs.
        algorithm: Algorithm that made its integers; rtn where the one asked for could not be applied.
        reason: Reason why it could not be applied; empty where it was.
        error: Root mean square of the weights' changes over that of the weights.
    """

    nodes: tuple[str, ...]
    shape: tuple[int, int]
    algorithm: str
    reason: str
    error: float


@dataclass(frozen=True)
class WeightOnlyReport:
    """Report of a weight-only quantization.

    Attributes:
        settings: Settings that were asked for.
        layers: Reports of the matrices, in the order they run.
        float_nodes: Reason why each other matrix product stays float, by its name.
        samples: Number of calibration samples used.
        bytes_before: Size of the serialized graph with its weights, before quantization.
        bytes_after: Size of the serialized graph with its weights, after quantization.
    """

    settings: Settings
    layers: tuple[LayerReport, ...]
    float_nodes: Mapping[str, str]
    samples: int
    bytes_before: int
    bytes_after: int

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return {
            "settings": self.settings.to_dict(),
            "layers": [
                {**vars(layer), "nodes": list(layer.nodes), "shape": list(layer.shape)}
                for layer in self.layers
            ],
            "float_nodes": dict(self.float_nodes),
            "samples": self.samples,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
        }


def quantize_weights(
    model: onnx.ModelProto,
    batches: Iterable[Mapping[str, NDArray[Any]]],
    settings: Settings | None = None,
) -> tuple[onnx.ModelProto, WeightOnlyReport]:
    """Store the weights of matrix products as integers; activations stay float32.

    A layer's algorithm sees the inputs it gets once all layers before it are quantized.

    Args:
        model: A float32 network; it is not modified.
        batches: Calibration samples, an array for each input. Only GPTQ and AWQ read them.
        settings: Algorithm, number of bits, and nodes that stay float; None takes the defaults.

    Returns:
        The model for ONNX Runtime, with the same inputs and outputs, and the report.

    Raises:
        NetworkError: The model breaks ONNX's rules, is quantized already, or has nothing to quantize.
        RecipeError: A node to be excluded is not in the network.
        DataError: The samples are needed and do not fit, or make NaN or infinity.
    """
    settings = settings or Settings()
    with spooled(model) as light, Shelf() as shelf:
        quantized = prepare(light, store_twice=True)
        _check_float(quantized)
        graph = Graph(quantized)
        _check_excluded(graph, settings)
        layers, float_nodes = find_layers(graph, settings.group_size, settings.exclude_nodes)
        if not layers:
            reasons = Counter(float_nodes.values()).most_common(3)
            raise NetworkError(
                "matrix products with constant weights",
                f"nothing to quantize: {'; '.join(reason for reason, _ in reasons) or 'none in the network'}",
                "choose a smaller group_size, or leave this network as it is",
            )
        calibration = (
            CalibrationInputs(
                quantized, bounded(batches, graph, [each.input for each in layers]), settings.samples, shelf
            )
            if settings.algorithm in DATA_DRIVEN
            else None
        )
        before = size_of_model(quantized)
        weights, told = [], []
        for layer in layers:
            weight, reason = _quantized(layer, calibration, settings)
            if calibration is not None:
                calibration.put(layer, weight.dequantized())
            weights.append((layer, weight))
            told.append(_report(layer, weight, "rtn" if reason else settings.algorithm, reason))
        pack_all(quantized, weights, settings.compute)
        remove_unused(quantized)
        quantized = without_files(quantized)
    report = WeightOnlyReport(
        settings=settings,
        layers=tuple(told),
        float_nodes=float_nodes,
        samples=calibration.samples if calibration else 0,
        bytes_before=before,
        bytes_after=quantized.ByteSize(),
    )
    return quantized, report


def _quantized(
    layer: Layer, calibration: CalibrationInputs | None, settings: Settings
) -> tuple[GroupedWeight, str]:
    """Return the layer on its grid, and the reason for plain rounding where it was not asked for."""
    if settings.algorithm == "onnxruntime":
        from compress.quantization.weights.onnxruntime import round_blocks

        return round_blocks(layer.weight, settings), ""
    from compress.quantization.weights import neural_compressor

    if calibration is None:
        algorithm = neural_compressor.hqq if settings.algorithm == "hqq" else neural_compressor.rtn
        return algorithm(layer.weight, settings), ""
    search = neural_compressor.gptq if settings.algorithm == "gptq" else neural_compressor.awq
    try:
        return search(layer.weight, calibration.rows(layer.input), settings), ""
    except neural_compressor.NotApplicableError as error:
        return neural_compressor.rtn(layer.weight, settings), str(error)


def _report(layer: Layer, weight: GroupedWeight, algorithm: str, reason: str) -> LayerReport:
    size = float(np.square(layer.weight).mean())
    change = float(np.square(weight.dequantized() - layer.weight).mean())
    outputs, inputs = layer.weight.shape
    return LayerReport(
        layer.nodes, (outputs, inputs), algorithm, reason, (change / size) ** 0.5 if size else 0.0
    )


def _check_float(model: onnx.ModelProto) -> None:
    found = quantized_operator(model)
    if found is not None:
        raise NetworkError("a float network", f"{found} in it: it is quantized already", "give the float one")


def _check_excluded(graph: Graph, settings: Settings) -> None:
    names = {node.name for node in graph.nodes}
    unknown = next((name for name in settings.exclude_nodes if name not in names), None)
    if unknown is not None:
        raise RecipeError("nodes of the network in exclude_nodes", f"'{unknown}'", "correct the recipe")
