"""Which corrections stay when a block of layers makes the network's error grow and is tried again in halves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import pytest

from compress.quantization import Settings, quantize_static, recovery
from compress.target.target import QuantizationFlavour
from tests.quantization.digits import calibration_batches, fragile

FLAVOUR = QuantizationFlavour("uint8", "int8", False, True, False, True)
LAYERS = ["conv1", "depthwise", "conv2", "conv3", "fc"]


@dataclass
class Run:
    model: onnx.ModelProto
    kept: list[str]
    found: Counter[str]


def recovered(monkeypatch: pytest.MonkeyPatch, errors: Sequence[float]) -> Run:
    """Recovery in one block, with the network's errors given: of no correction, then of each block that is tried."""
    left, found = list(errors), Counter[str]()
    best_correction = recovery._Recovery.best_correction

    def counted(self, layer):
        found[layer.node.name] += 1
        return best_correction(self, layer)

    with monkeypatch.context() as patched:
        patched.setattr(recovery, "_BLOCKS", 1)
        patched.setattr(recovery._Recovery, "network_error", lambda self: left.pop(0))
        patched.setattr(recovery._Recovery, "best_correction", counted)
        settings = Settings(equalize=False, rounding="reconstructed")
        model, report = quantize_static(fragile(30), calibration_batches(), FLAVOUR, settings)
    assert not left
    return Run(model, [layer["kept"] for layer in report.recovery["rounding"]], found)


def test_both_halves_stay_as_they_were_found_together(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = recovered(monkeypatch, [1.0, 0.9])
    halves = recovered(monkeypatch, [1.0, 2.0, 0.9, 0.8])  # the block is worse, each half of it is better
    assert set(whole.kept) != {"nothing"}
    assert halves.kept == whole.kept
    assert halves.model.SerializeToString() == whole.model.SerializeToString()
    assert halves.found == dict.fromkeys(LAYERS, 1)  # nothing is looked for twice


def test_a_second_half_is_looked_for_anew_behind_a_first_that_was_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Block, first half, its two halves: all worse. The second half is better.
    run = recovered(monkeypatch, [1.0, 2.0, 2.0, 2.0, 2.0, 0.8])
    assert run.kept[:2] == ["nothing", "nothing"]
    assert set(run.kept[2:]) != {"nothing"}
    assert run.found["conv1"] == 1  # nothing before it has changed
    assert all(run.found[name] == 2 for name in LAYERS[1:])
