"""Int8 quantization that leaves the most sensitive layers in float: as few as the accuracy margin allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from compress.errors import NetworkError, RecipeError
from compress.metrics.outcomes import OutcomeCollector, Outcomes, worst_drop
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.weights import spooled
from compress.quantization import Settings, place, prepare, quantize_static
from compress.quantization.batches import bounded, hold_back
from compress.quantization.calibration import no_samples
from compress.quantization.probe import Probe
from compress.quantization.recovery import SAMPLES
from compress.quantization.rewriting import rewrite, tried_on
from compress.quantization.sensitivity import Trials, cheapest_in_float
from compress.records.technique_reports import SensitivityReport
from compress.techniques.base import Context, Technique, calibration_batches

if TYPE_CHECKING:
    import onnx

    from compress.data import Batch
    from compress.network.network import Network

#: Samples that a choice of layers is judged on: the calibration data's and as many of the training data's as missing.
_JUDGED_ON = 2000

_BATCH_SIZE = 16

#: Share of the margin that may be lost on them; the rest is for what other samples show.
_SHARE = 0.5


@dataclass(frozen=True)
class QuantizeMixed(Settings, Technique):
    """Static quantization that leaves layers in float until the accuracy holds.

    Attributes:
        max_drop: Accuracy drop allowed, in points of the task's metric; half of it may be lost on the samples
            at hand, which are never the evaluation's.
    """

    max_drop: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number = isinstance(self.max_drop, (int, float)) and not isinstance(self.max_drop, bool)
        if not number or not self.max_drop >= 0:
            raise RecipeError("a max_drop of 0 points or more", repr(self.max_drop), "write max_drop = 1.0")

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("calibration samples",)

    def result_follows(self, context: Context) -> object:
        """See :meth:`Technique.result_follows`: from the target's form of int8."""
        return context.target.quantization

    def takes_minutes(self) -> bool:
        """See :meth:`Technique.takes_minutes`."""
        return True

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form.

        Raises:
            NetworkError: The network is quantized already, has nothing to quantize, or needs all layers in float.
            RecipeError: A node to be excluded is not in the network.
            DataError: Activations on the calibration data are not finite.
        """
        with spooled(network.to_onnx()) as model:
            return network.with_onnx(self._quantized(model, network, context))

    def _quantized(self, model: onnx.ModelProto, network: Network, context: Context) -> onnx.ModelProto:
        flavour = context.target.quantization
        settings = Settings(**{name: getattr(self, name) for name in Settings.__dataclass_fields__})
        prepared = prepare(model, store_twice=True)
        graph = Graph(prepared)
        names = [*place(prepared, flavour, settings).activations, *graph.outputs]
        small = bounded(calibration_batches(network, context), graph, names)
        held, _ = hold_back(small, SAMPLES, prepared)
        if not held:
            raise no_samples()
        context.reporter.step("calibrating")
        variant, _ = rewrite(prepared, tried_on(held, graph, names), flavour, settings)
        trials = Trials(variant.model, held, flavour, settings)
        context.reporter.step("trying layers in int8")
        sensitivities = trials.sensitivities()
        context.reporter.step("choosing layers to leave in float")
        judge = _Judge(prepared, network, context)
        chosen = cheapest_in_float(
            sensitivities, lambda in_float: judge.drop(trials.quantized(in_float)) <= _SHARE * self.max_drop
        )
        tried: SensitivityReport = {
            "layers": [
                {
                    "layer": sensitivity.layer,
                    "operator": sensitivity.operator,
                    "error": sensitivity.error,
                    "cost": sensitivity.cost,
                    "together": sensitivity.together,
                    "kept": "float" if chosen is None or sensitivity.layer in chosen else "int8",
                }
                for sensitivity in sensitivities
            ]
        }
        context.reports["sensitivity"] = tried
        if chosen is None:
            raise NetworkError(
                f"a layer that int8 costs less than {self.max_drop:g} points",
                "a larger drop with any single one",
                "leave this network in float, or train it for int8",
            )
        settings = replace(settings, exclude_nodes=(*settings.exclude_nodes, *chosen))
        batches = calibration_batches(network, context)
        quantized, report = quantize_static(model, batches, flavour, settings, context.reporter)
        context.reports["quantize"] = report.to_dict()
        return quantized


class _Judge:
    """Judge of accuracy on calibration and training samples."""

    def __init__(self, original: onnx.ModelProto, network: Network, context: Context) -> None:
        self._metrics = context.task.metrics
        self._outputs = [spec.name for spec in network.outputs]
        self._batches = partial(_judged, network, context)
        self._original = original
        self._before = self._outcomes(original)

    def drop(self, model: onnx.ModelProto) -> float:
        """Return the accuracy drop, in points; the worst of several outputs."""
        return worst_drop(self._outcomes(model), self._before)

    def _outcomes(self, model: onnx.ModelProto) -> tuple[Outcomes, ...]:
        ours, collector = Probe(model, self._outputs), OutcomeCollector(self._metrics)
        original = Probe(self._original, self._outputs) if collector.needs_reference else None
        for batch in self._batches():
            original_outputs = None if original is None else original.run(batch.inputs)
            collector.add(ours.run(batch.inputs), batch.targets, original_outputs)
        return collector.outcomes()


def _judged(network: Network, context: Context) -> Iterator[Batch]:
    task = context.task
    splits = [task.calibration]
    missing = _JUDGED_ON - len(task.calibration)
    if task.training is not None and missing > 0:
        rows = np.random.default_rng(context.seed).permutation(len(task.training))[:missing]
        splits.append(task.training.take(np.sort(rows)))
    spec = network.inputs[0]
    fixed = None if spec.dynamic_batch or not spec.shape else int(spec.shape[0])
    for split in splits:
        for batch in split.batches(fixed or _BATCH_SIZE):
            # A network of fixed batch cannot take the smaller last one.
            if fixed is None or len(batch) == fixed:
                yield batch
