"""Rewrites that leave the float function as it is and make it easier to quantize, kept only where they do.

Where plain quantization is not close enough, each is tried on the samples: the network is quantized with it and
without it, and the outputs say which is closer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import onnx

from compress.quantization.calibration import calibrate
from compress.quantization.equalization import equalizable, equalize
from compress.quantization.insertion import insert
from compress.quantization.observers import new_observer
from compress.quantization.placement import place
from compress.quantization.probe import Batch, OutputError
from compress.quantization.settings import Settings
from compress.quantization.smoothing import smooth, smoothable
from compress.target import QuantizationFlavour

_WORTH_IT = 0.9  # share of the output's error above which a rewrite is not kept

#: An error of the outputs (30 dB below them) that costs a classifier hardly a decision: nothing needs to be tried.
_CLOSE_ENOUGH = 1e-3


def rewrite(
    model: onnx.ModelProto, batches: Sequence[Batch], flavour: QuantizationFlavour, settings: Settings
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The model with cross-layer equalisation and smoothing, where the settings ask for them and they help.

    Args:
        model: Prepared, with something to quantize in it.
        batches: Samples.
        flavour: How Q/DQ will look.
        settings: Which rewrites may be tried.

    Returns:
        The model, and for each rewrite that found something to do: where, the error of the quantized network's
        outputs without and with it (see :class:`compress.quantization.probe.OutputError`), and whether it was kept.
    """
    notes: dict[str, Any] = {}
    error: float | None = None
    for name in ("equalize", "smooth"):
        found = smoothable(model) if name == "smooth" else equalizable(model)
        if not getattr(settings, name) or not found:
            continue
        if error is None:
            plain = quickly_quantized(model, batches, flavour, settings)  # it refuses samples that do not fit
            wanted = OutputError(model, batches)
            error = wanted.of(plain)
        if error < _CLOSE_ENOUGH:
            break
        changed, where = equalize(model) if name == "equalize" else smooth(model, batches, flavour)
        after = wanted.of(quickly_quantized(changed, batches, flavour, settings))
        kept = after < _WORTH_IT * error
        notes[name] = {
            "where": [asdict(each) for each in where],
            "before": error,
            "after": after,
            "kept": kept,
        }
        if kept:
            model, error = changed, after
    return model, notes


def quickly_quantized(
    model: onnx.ModelProto, batches: Sequence[Batch], flavour: QuantizationFlavour, settings: Settings
) -> onnx.ModelProto:
    """A prepared model quantized as these few samples suggest."""
    placement = place(model, flavour, settings)
    own = [name for name in placement.activations if placement.same_scale_as[name] == name]
    calibration = calibrate(model, own, batches, lambda: new_observer(settings, flavour))
    return insert(model, placement, calibration.ranges, flavour)
