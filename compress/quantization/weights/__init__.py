"""Weights as integers of 4 or 8 bits with a scale per group, in matrix products that otherwise stay float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from compress.quantization.weights.experts import Mixture, find_mixtures, pack_mixtures, rounded_experts
from compress.quantization.weights.grouped import GroupedWeight, NotApplicableError, relative_change
from compress.quantization.weights.inputs import CalibrationInputs
from compress.quantization.weights.layers import Layer, find_layers
from compress.quantization.weights.packing import pack_all
from compress.quantization.weights.scale_search import name_of, round_alone
from compress.quantization.weights.settings import ALGORITHMS, DATA_DRIVEN, Settings
from compress.quantization.weights.tables import Table, find_tables, of_table, pack_tables, rounded

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
        bits: Bits of its integers.
        group_size: Number of weights that share a scale.
        symmetric: Whether it has no zero points.
        algorithm: Algorithm that made its integers; one that needs no data where the one asked
            for could not be applied.
        reason: Reason why it could not be applied; empty where it was.
        error: Root mean square of the weights' changes over that of the weights.
    """

    nodes: tuple[str, ...]
    shape: tuple[int, int]
    bits: int
    group_size: int
    symmetric: bool
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
    forms: Mapping[str, Settings] | None = None,
) -> tuple[onnx.ModelProto, WeightOnlyReport]:
    """Store the weights of matrix products as integers; activations stay float32.

    A layer's algorithm sees the inputs it gets once all layers before it are quantized.

    Args:
        model: A float32 network; it is not modified.
        batches: Calibration samples, an array for each input. Only GPTQ and AWQ read them.
        settings: Algorithm, number of bits, and nodes that stay float; None takes the defaults.
        forms: Settings of single matrices, by the name of the initializer in the prepared graph; they say the bits,
            the groups and their symmetry. Matrices that are not named have ``settings``.

    Returns:
        The model for ONNX Runtime, with the same inputs and outputs, and the report.

    Raises:
        NetworkError: The model breaks ONNX's rules, is quantized already, or has nothing to quantize.
        RecipeError: A node to be excluded is not in the network.
        DataError: The samples are needed and do not fit, or make NaN or infinity.
    """
    settings, forms = settings or Settings(), forms or {}
    smallest = replace(settings, group_size=min(form.group_size for form in (settings, *forms.values())))
    with spooled(model) as light, Shelf() as shelf:
        quantized = prepare(light, store_twice=True)
        _check_float(quantized)
        graph = Graph(quantized)
        _check_excluded(graph, settings)
        layers, float_nodes = find_layers(graph, smallest.group_size, settings.exclude_nodes)
        mixtures, float_mixtures = find_mixtures(graph, settings.group_size, settings.exclude_nodes)
        float_nodes |= float_mixtures
        tables = find_tables(graph, smallest)
        if not layers and not tables and not mixtures:
            reasons = Counter(float_nodes.values()).most_common(3)
            raise NetworkError(
                "matrix products with constant weights",
                f"nothing to quantize: {'; '.join(reason for reason, _ in reasons) or 'none in the network'}",
                "choose a smaller group_size, or leave this network as it is",
            )
        calibration = (
            CalibrationInputs(
                quantized,
                bounded(batches, graph, [matrix.input for matrix in layers]),
                settings.samples,
                shelf,
            )
            if settings.algorithm in DATA_DRIVEN
            else None
        )
        before = size_of_model(quantized)
        weights, reports = [], []
        for layer in layers:
            form = forms.get(layer.initializer, settings)
            weight, reason = _quantized(layer, calibration, form)
            if calibration is not None:
                calibration.put(layer, weight.dequantized())
            weights.append((layer, weight))
            reports.append(_report(layer, weight, name_of(form) if reason else settings.algorithm, reason))
        rounded_tables = [(table, rounded(table, forms.get(table.initializer, settings))) for table in tables]
        reports += [
            _report_of_table(*rounded_table, forms.get(rounded_table[0].initializer, settings))
            for rounded_table in rounded_tables
        ]
        rounded_mixtures = [(mixture, rounded_experts(mixture, settings)) for mixture in mixtures]
        reports += [
            report
            for rounded_mixture in rounded_mixtures
            for report in _reports_of_experts(*rounded_mixture, settings)
        ]
        pack_all(quantized, weights, settings.compute)
        pack_mixtures(quantized, rounded_mixtures, settings.compute)
        pack_tables(quantized, rounded_tables, settings.compute)
        remove_unused(quantized)
        quantized = without_files(quantized)
    report = WeightOnlyReport(
        settings=settings,
        layers=tuple(reports),
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
    if calibration is not None:
        try:
            return _with_inputs(layer.weight, calibration.rows(layer.input), settings), ""
        except NotApplicableError as error:
            return round_alone(layer.weight, settings), str(error)
    if settings.algorithm == "hqq":
        from compress.quantization.weights import neural_compressor

        return neural_compressor.hqq(layer.weight, settings), ""
    return round_alone(layer.weight, settings), ""


def _with_inputs(
    weight: NDArray[np.float32], inputs: NDArray[np.float32], settings: Settings
) -> GroupedWeight:
    if settings.algorithm == "gptq":
        from compress.quantization.weights.gptq import gptq

        return gptq(weight, inputs, settings)
    from compress.quantization.weights import neural_compressor

    return neural_compressor.awq(weight, inputs, settings)


def _report(layer: Layer, weight: GroupedWeight, algorithm: str, reason: str) -> LayerReport:
    return LayerReport(
        layer.nodes, *_form(layer.weight, weight), algorithm, reason, relative_change(layer.weight, weight)
    )


def _report_of_table(table: Table, weight: GroupedWeight, settings: Settings) -> LayerReport:
    nodes = (*table.lookups, *table.products)
    algorithm, change = name_of(of_table(settings)), relative_change(table.weight, weight)
    return LayerReport(nodes, *_form(table.weight, weight), algorithm, "", change)


def _form(before: NDArray[np.float32], weight: GroupedWeight) -> tuple[tuple[int, int], int, int, bool]:
    outputs, inputs = before.shape
    return (outputs, inputs), weight.bits, weight.group_size, weight.zero_points is None


def _reports_of_experts(
    mixture: Mixture, matrices: Sequence[Sequence[GroupedWeight]], settings: Settings
) -> Iterator[LayerReport]:
    """Yield a report for each matrix of a mixture, all experts together."""
    for weight, experts in zip(mixture.weights, matrices, strict=True):
        change = np.array(
            [relative_change(*expert_pair) for expert_pair in zip(weight, experts, strict=True)]
        )
        size = np.array([float(np.square(expert).mean()) for expert in weight])
        error = float(np.sqrt((change**2 * size).sum() / size.sum())) if size.any() else 0.0
        shape = (weight.shape[0] * weight.shape[1], weight.shape[2])
        one = experts[0]
        form = (one.bits, one.group_size, one.zero_points is None)
        yield LayerReport((mixture.node,), shape, *form, name_of(settings), "", error)


def _check_float(model: onnx.ModelProto) -> None:
    operator = quantized_operator(model)
    if operator is not None:
        raise NetworkError(
            "a float network", f"{operator} in it: it is quantized already", "give the float one"
        )


def _check_excluded(graph: Graph, settings: Settings) -> None:
    names = {node.name for node in graph.nodes}
    unknown = next((name for name in settings.exclude_nodes if name not in names), None)
    if unknown is not None:
        raise RecipeError("nodes of the network in exclude_nodes", f"'{unknown}'", "correct the recipe")
