"""Rewrites that keep the float function and make it easier to quantize, kept only where they help.

Where plain quantization is not close enough, each is tried on a few samples: the network is quantized with it and
without it, and the outputs say which is closer. What calibration saw of these samples is not thrown away: the variant
that is kept goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import Graph
from compress.quantization.batches import Batch, first_of, sample_bytes
from compress.quantization.calibration import Calibrator
from compress.quantization.equalization import Pair, equalizable, equalize
from compress.quantization.insertion import insert
from compress.quantization.observers import new_observer
from compress.quantization.placement import Placement, place
from compress.quantization.probe import OutputError, compared, float_outputs
from compress.quantization.settings import Settings
from compress.quantization.smoothing import SampledRows, Smoothed, smooth_rows, smoothable
from compress.target.target import QuantizationFlavour

#: Samples that rewrites are tried on, at the most; where activations are large as few as :data:`_LEAST`.
TRIED_ON, _LEAST = 64, 16

#: Bytes of activations that samples may have in all beyond the fewest.
_TRIED_BYTES = 256 << 20

_WORTH_IT = 0.9  # share of the output's error above which a rewrite is not kept

#: An error of the outputs (30 dB below them) that costs a classifier hardly a decision: nothing needs to be tried.
_CLOSE_ENOUGH = 1e-3


def tried_on(batches: Sequence[Batch], graph: Graph, tensors: Sequence[str]) -> list[Batch]:
    """Return the samples that rewrites are tried on.

    Args:
        batches: Batches of samples, at least one.
        graph: Graph of the network.
        tensors: Names of the activations that are quantized.
    """
    size = sample_bytes(batches[0], graph, tensors)
    samples = min(max(_TRIED_BYTES // size, _LEAST), TRIED_ON) if size else TRIED_ON
    return first_of(batches, samples, graph)


@dataclass(frozen=True)
class Variant:
    """A float network in preparation for quantization.

    Attributes:
        model: Prepared model, rewritten where that helps.
        placement: Placement of Q/DQ.
        calibrator: Calibrator of the activations that have a scale of their own.
    """

    model: onnx.ModelProto
    placement: Placement
    calibrator: Calibrator

    @classmethod
    def of(cls, model: onnx.ModelProto, flavour: QuantizationFlavour, settings: Settings) -> Variant:
        """Make a variant whose calibrator has seen nothing."""
        placement = place(model, flavour, settings)
        calibrator = Calibrator(model, _scaled(placement), lambda: new_observer(settings, flavour))
        return cls(model, placement, calibrator)

    def carried_over(
        self,
        model: onnx.ModelProto,
        changed: Mapping[str, NDArray[np.float32] | None],
        flavour: QuantizationFlavour,
        settings: Settings,
    ) -> Variant | None:
        """Return this variant with another model and the same observations; see :meth:`Calibrator.carried_over`."""
        placement = place(model, flavour, settings)
        calibrator = self.calibrator.carried_over(
            model, _scaled(placement), changed, lambda: new_observer(settings, flavour)
        )
        return None if calibrator is None else Variant(model, placement, calibrator)

    def quantized(self, flavour: QuantizationFlavour) -> onnx.ModelProto:
        """Return the network with Q/DQ, by the samples seen so far."""
        return insert(self.model, self.placement, self.calibrator.calibration().ranges, flavour)


def rewrite(
    model: onnx.ModelProto, batches: Sequence[Batch], flavour: QuantizationFlavour, settings: Settings
) -> tuple[Variant, dict[str, Any]]:
    """Apply cross-layer equalisation and smoothing, where the settings ask for them and they help.

    Args:
        model: Prepared model with something to quantize.
        batches: Batches with a few samples.
        flavour: Form of Q/DQ.
        settings: Settings that say which rewrites may be tried.

    Returns:
        The variant that was kept, which has seen these samples, and for each rewrite that applies: its places, the
        error of the quantized network's outputs without and with it (see
        :class:`compress.quantization.probe.OutputError`), and whether it was kept.
    """
    variant = Variant.of(model, flavour, settings)
    norms = smoothable(model) if settings.smooth else []
    if not norms and not (settings.equalize and equalizable(model)):
        variant.calibrator.see(batches)
        return variant, {}
    outputs = float_outputs(Graph(model))
    outputs_of_float: list[list[NDArray[Any]]] = []
    rows = SampledRows(norms)

    def tap(seen: Mapping[str, NDArray[Any]]) -> None:
        outputs_of_float.append(compared(seen[name] for name in outputs))
        rows.take(seen)

    variant.calibrator.see(batches, (*outputs, *norms), tap)  # refuses samples that do not fit
    reference = OutputError(model, batches, outputs_of_float)
    error = reference.of(variant.quantized(flavour))
    notes: dict[str, Any] = {}
    for name in ("equalize", "smooth"):
        if not getattr(settings, name) or not (norms if name == "smooth" else equalizable(variant.model)):
            continue
        if error < _CLOSE_ENOUGH:
            break
        candidate, where = (
            _equalized(variant, flavour, settings, batches)
            if name == "equalize"
            else _smoothed(variant, rows, flavour, settings, batches)
        )
        after = reference.of(candidate.quantized(flavour))
        is_worth_it = after < _WORTH_IT * error
        notes[name] = {
            "where": [asdict(rewritten) for rewritten in where],
            "before": error,
            "after": after,
            "kept": is_worth_it,
        }
        if is_worth_it:
            variant, error = candidate, after
    return variant, notes


def _equalized(
    variant: Variant, flavour: QuantizationFlavour, settings: Settings, batches: Sequence[Batch]
) -> tuple[Variant, tuple[Pair, ...]]:
    model, where = equalize(variant.model)
    candidate = Variant.of(model, flavour, settings)
    candidate.calibrator.see(batches)
    return candidate, where


def _smoothed(
    variant: Variant,
    rows: SampledRows,
    flavour: QuantizationFlavour,
    settings: Settings,
    batches: Sequence[Batch],
) -> tuple[Variant, tuple[Smoothed, ...]]:
    model, where, changed = smooth_rows(variant.model, rows, flavour)
    candidate = variant.carried_over(model, changed, flavour, settings)
    if candidate is None:
        candidate = Variant.of(model, flavour, settings)
        candidate.calibrator.see(batches)
    return candidate, where


def _scaled(placement: Placement) -> list[str]:
    """Return the activations that have a scale of their own."""
    return [name for name in placement.activations if placement.same_scale_as[name] == name]
