"""Rewrites that leave the float function as it is and make it easier to quantize, kept only where they do.

Where plain quantization is not close enough, each is tried on a few samples: the network is quantized with it and
without it, and the outputs say which is closer. What calibration saw of these samples is not thrown away: the variant
that is kept goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import Graph
from compress.quantization.batches import Batch
from compress.quantization.calibration import Calibrator
from compress.quantization.equalization import equalizable, equalize
from compress.quantization.insertion import insert
from compress.quantization.observers import new_observer
from compress.quantization.placement import Placement, place
from compress.quantization.probe import OutputError, compared, float_outputs
from compress.quantization.settings import Settings
from compress.quantization.smoothing import Rows, smooth_rows, smoothable
from compress.target import QuantizationFlavour

#: Samples that rewrites are tried on.
TRIED_ON = 32

_WORTH_IT = 0.9  # share of the output's error above which a rewrite is not kept

#: An error of the outputs (30 dB below them) that costs a classifier hardly a decision: nothing needs to be tried.
_CLOSE_ENOUGH = 1e-3


@dataclass(frozen=True)
class Variant:
    """A float network on its way to being quantized.

    Attributes:
        model: Prepared, and rewritten where that helps.
        placement: Where Q/DQ go.
        calibrator: Observes the activations that have a scale of their own.
    """

    model: onnx.ModelProto
    placement: Placement
    calibrator: Calibrator

    @classmethod
    def of(cls, model: onnx.ModelProto, flavour: QuantizationFlavour, settings: Settings) -> Variant:
        """A variant whose calibrator has seen nothing."""
        placement = place(model, flavour, settings)
        own = [name for name in placement.activations if placement.same_scale_as[name] == name]
        return cls(model, placement, Calibrator(model, own, lambda: new_observer(settings, flavour)))

    def quantized(self, flavour: QuantizationFlavour) -> onnx.ModelProto:
        """The network with Q/DQ, by the samples seen so far."""
        return insert(self.model, self.placement, self.calibrator.found().ranges, flavour)


def rewrite(
    model: onnx.ModelProto, batches: Sequence[Batch], flavour: QuantizationFlavour, settings: Settings
) -> tuple[Variant, dict[str, Any]]:
    """The model with cross-layer equalisation and smoothing, where the settings ask for them and they help.

    Args:
        model: Prepared, with something to quantize in it.
        batches: Samples, a few.
        flavour: How Q/DQ will look.
        settings: Which rewrites may be tried.

    Returns:
        The variant that was kept, which has seen these samples, and for each rewrite that found something to do:
        where, the error of the quantized network's outputs without and with it (see
        :class:`compress.quantization.probe.OutputError`), and whether it was kept.
    """
    variant = Variant.of(model, flavour, settings)
    norms = smoothable(model) if settings.smooth else []
    if not norms and not (settings.equalize and equalizable(model)):
        variant.calibrator.see(batches)
        return variant, {}
    outputs = float_outputs(Graph(model))
    wanted: list[list[NDArray[Any]]] = []
    rows = Rows(norms)

    def tap(seen: Mapping[str, NDArray[Any]]) -> None:
        wanted.append(compared(seen[name] for name in outputs))
        rows.take(seen)

    variant.calibrator.see(batches, (*outputs, *norms), tap)  # refuses samples that do not fit
    reference = OutputError(model, batches, wanted)
    error = reference.of(variant.quantized(flavour))
    notes: dict[str, Any] = {}
    for name in ("equalize", "smooth"):
        model = variant.model
        if not getattr(settings, name) or not (norms if name == "smooth" else equalizable(model)):
            continue
        if error < _CLOSE_ENOUGH:
            break
        changed, where = equalize(model) if name == "equalize" else smooth_rows(model, rows, flavour)
        candidate = Variant.of(changed, flavour, settings)
        candidate.calibrator.see(batches)
        after = reference.of(candidate.quantized(flavour))
        kept = after < _WORTH_IT * error
        notes[name] = {
            "where": [asdict(each) for each in where],
            "before": error,
            "after": after,
            "kept": kept,
        }
        if kept:
            variant, error = candidate, after
    return variant, notes
