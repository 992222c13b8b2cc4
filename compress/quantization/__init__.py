"""Int8 static quantization of an ONNX graph: prepare, place, calibrate, insert."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

import onnx

from compress.core.progress import Reporter
from compress.errors import NetworkError
from compress.onnx_graph.fold import prepare
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.quantized import quantized_operator
from compress.onnx_graph.weights import spooled, without_files
from compress.quantization.batches import Batch, bounded, hold_back
from compress.quantization.calibration import no_samples
from compress.quantization.grid import Range, highest_weight
from compress.quantization.insertion import insert
from compress.quantization.placement import Placement, place
from compress.quantization.probe import float_outputs
from compress.quantization.recovery import SAMPLES, recover
from compress.quantization.rewriting import TRIED_ON, rewrite, tried_on
from compress.quantization.settings import METHODS, SCOPES, Settings
from compress.records.technique_reports import QuantizeReport
from compress.target.target import QuantizationFlavour

__all__ = [
    "METHODS",
    "SCOPES",
    "Calibrated",
    "Placement",
    "QuantizationReport",
    "Settings",
    "place",
    "place_and_calibrate",
    "prepare",
    "quantize_static",
]


@dataclass(frozen=True)
class QuantizationReport:
    """Report of a quantization.

    Attributes:
        flavour: Form of Q/DQ.
        settings: Settings that were asked for.
        int8_nodes: Names of nodes that run in int8, or vanish in one that does.
        float_nodes: Reason why each other node that computes floats stays so, by its name.
        ranges: Range of each quantized activation, by its name.
        samples: Number of calibration samples.
        recovery: Steps against the loss of accuracy, by the setting's name, and their outcomes.
    """

    flavour: QuantizationFlavour
    settings: Settings
    int8_nodes: tuple[str, ...]
    float_nodes: Mapping[str, str]
    ranges: Mapping[str, Range]
    samples: int
    recovery: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> QuantizeReport:
        """Return a dict that JSON can hold."""
        return {
            "flavour": vars(self.flavour).copy(),
            "settings": self.settings.to_dict(),
            "int8_nodes": list(self.int8_nodes),
            "float_nodes": dict(self.float_nodes),
            "ranges": {name: [span.low, span.high] for name, span in self.ranges.items()},
            "samples": self.samples,
            "recovery": dict(self.recovery),
        }


@dataclass(frozen=True)
class Calibrated:
    """A float network with everything that quantizing it needs.

    Attributes:
        model: Prepared model, rewritten where that helps.
        placement: Placement of Q/DQ.
        ranges: Range of each activation that has a scale of its own.
        samples: Number of calibration samples.
        held: The first calibration samples.
        rewrites: Rewrites that were made; see :func:`compress.quantization.rewriting.rewrite`.
    """

    model: onnx.ModelProto
    placement: Placement
    ranges: Mapping[str, Range]
    samples: int
    held: Sequence[Batch]
    rewrites: dict[str, Any]


def place_and_calibrate(
    model: onnx.ModelProto,
    batches: Iterable[Batch],
    flavour: QuantizationFlavour,
    settings: Settings,
) -> Calibrated:
    """Place Q/DQ and calibrate: the first step of post-training quantization and of quantization-aware training.

    Args:
        model: A float32 network; it is not modified.
        batches: Calibration samples, as :func:`quantize_static` takes them.
        flavour: Form of Q/DQ that the back end needs.
        settings: Operators to quantize, and method to find the ranges.

    Raises:
        CompressError: See :func:`quantize_static`.
    """
    with spooled(model) as light:
        calibrated = _calibrated(light, batches, flavour, settings, Reporter())
        return replace(calibrated, model=without_files(calibrated.model))


def quantize_static(
    model: onnx.ModelProto,
    batches: Iterable[Batch],
    flavour: QuantizationFlavour,
    settings: Settings | None = None,
    reporter: Reporter | None = None,
) -> tuple[onnx.ModelProto, QuantizationReport]:
    """Quantize a float network to int8, from samples alone.

    Args:
        model: A float32 network; it is not modified.
        batches: Calibration samples, an array for each input. They are read once; memory holds the first 64 of
            them, or 256 where accuracy is recovered, and the activations of a few at a time. Large weights lie in
            temporary files meanwhile.
        flavour: Form of Q/DQ that the back end needs.
        settings: Operators to quantize, and method to find the ranges; None takes the defaults.
        reporter: Receives the progress.

    Returns:
        The quantized model, with the same inputs and outputs, and the report.

    Raises:
        NetworkError: The model breaks ONNX's rules, is quantized already, or has nothing to quantize.
        RecipeError: A node to be excluded is not in the network.
        DataError: The samples do not fit, or make NaN or infinity.
        OutputError: The temporary directory has no room for the weights.
    """
    settings = settings or Settings()
    with spooled(model) as light:
        calibrated = _calibrated(light, batches, flavour, settings, reporter or Reporter())
        quantized = insert(calibrated.model, calibrated.placement, calibrated.ranges, flavour)
        recovery = calibrated.rewrites
        if _recovers(settings):
            layers = [weighted.node for weighted in calibrated.placement.weighted]
            largest = highest_weight(flavour) if settings.rounding == "reconstructed" else None
            quantized, recovered = recover(
                calibrated.model, quantized, layers, calibrated.held, largest, reporter
            )
            recovery["correct_bias" if largest is None else "rounding"] = [
                asdict(layer) for layer in recovered
            ]
        quantized = without_files(quantized)
    report = QuantizationReport(
        flavour=flavour,
        settings=settings,
        int8_nodes=calibrated.placement.int8_nodes,
        float_nodes=calibrated.placement.float_nodes,
        ranges=calibrated.ranges,
        samples=calibrated.samples,
        recovery=recovery,
    )
    return quantized, report


def _calibrated(
    light: onnx.ModelProto,
    batches: Iterable[Batch],
    flavour: QuantizationFlavour,
    settings: Settings,
    reporter: Reporter,
) -> Calibrated:
    """Calibrate a model whose large weights lie in files; the result shares these."""
    prepared = prepare(light, store_twice=True)
    _check_float(prepared)
    placement = _placed(prepared, flavour, settings)  # refused before any sample is read
    graph = Graph(prepared)
    names = [*placement.activations, *float_outputs(graph)]
    small = bounded(batches, graph, names)
    held, samples = hold_back(small, SAMPLES if _recovers(settings) else TRIED_ON, prepared)
    if not held:
        raise no_samples()
    tried = tried_on(held, graph, names)
    reporter.step("calibrating")
    variant, rewrites = rewrite(prepared, tried, flavour, settings)
    variant.calibrator.see(islice(samples, len(tried), None))
    calibration = variant.calibrator.calibration()
    return Calibrated(
        variant.model, variant.placement, calibration.ranges, calibration.samples, held, rewrites
    )


def _recovers(settings: Settings) -> bool:
    return settings.correct_bias or settings.rounding == "reconstructed"


def _placed(prepared: onnx.ModelProto, flavour: QuantizationFlavour, settings: Settings) -> Placement:
    placement = place(prepared, flavour, settings)
    if not placement.weighted:
        reasons = Counter(placement.float_nodes.values())
        raise NetworkError(
            "a network with something to quantize",
            f"none: {'; '.join(reason for reason, _ in reasons.most_common(3)) or 'no float operators'}",
            "exclude less, or leave this network in float",
        )
    return placement


def _check_float(model: onnx.ModelProto) -> None:
    operator = quantized_operator(model)
    if operator is not None:
        raise NetworkError(
            "a float network", f"{operator} in it: it is quantized already", "give the float one"
        )
