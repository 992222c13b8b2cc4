"""How much is run, opened and held while a network is quantized: counted, never timed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import onnx
import pytest

from compress.onnx_graph.fold import prepare
from compress.quantization import Settings, quantize_static
from compress.quantization.batches import Batch
from compress.quantization.probe import OutputError
from compress.quantization.sensitivity import ALONE, Trials
from tests.processor import U8S8
from tests.quantization.counting import Ledger, batches, chain, counted


def work(run: Callable[[onnx.ModelProto, list[Batch]], object], depth: int) -> Ledger:
    model = chain(depth)
    with counted() as ledger:
        run(model, batches())
    return ledger


def recovered(**settings: object) -> Callable[[onnx.ModelProto, list[Batch]], object]:
    return lambda model, given: quantize_static(model, given, U8S8, Settings(equalize=False, **settings))


def judged(monkeypatch: pytest.MonkeyPatch, change: int) -> None:
    """Let the network's error shrink (-1) or grow (1) each time that it is asked for; what it takes is run."""
    asked = count(1)
    real = OutputError.of_parts

    def of_parts(self: OutputError, found: object) -> float:
        real(self, found)
        return 1e6 + change * next(asked)

    monkeypatch.setattr(OutputError, "of_parts", of_parts)


@pytest.mark.parametrize("change", [-1, 1], ids=["all corrections stay", "none stays"])
def test_recovery_takes_work_in_proportion_to_the_depth(change, monkeypatch):
    found = []
    for depth in (32, 64, 128):
        with monkeypatch.context() as patch:
            judged(patch, change)
            found.append(work(recovered(correct_bias=True), depth))
    short, middle, long = found
    assert long.work - middle.work <= 2.2 * (middle.work - short.work)
    assert long.sessions - middle.sessions <= 2.2 * (middle.sessions - short.sessions)
    assert long.nodes - middle.nodes <= 2.2 * (middle.nodes - short.nodes)


def test_recovery_runs_both_networks_about_once_where_every_correction_stays(monkeypatch):
    judged(monkeypatch, -1)
    depth, samples = 80, 32
    plain, with_recovery = (work(recovered(correct_bias=correct), depth) for correct in (False, True))
    quantized, _ = quantize_static(chain(depth), batches(), U8S8, Settings(equalize=False))
    once = samples * (len(quantized.graph.node) + 2 * depth)
    # The judge runs half of the quantized network on a quarter of the samples, eight times.
    assert with_recovery.work - plain.work <= 2.5 * once


def test_sensitivities_take_work_in_proportion_to_the_depth():
    short, middle, long = (
        work(lambda model, given: Trials(prepare(model), given, U8S8, Settings()).sensitivities(), depth)
        for depth in (40, 80, 160)
    )
    assert max(short.sessions, middle.sessions, long.sessions) <= 90
    assert long.work <= 2.2 * middle.work <= 2.2 * 2.2 * short.work


@pytest.mark.parametrize("depth", [ALONE - 1, 3 * ALONE])
def test_every_layer_has_a_sensitivity_and_the_one_that_hurts_is_found(depth):
    model, at = chain(depth), depth - 4
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    # One channel is a thousand times wider than the others, and the next layer takes that back: int8 loses the others.
    wide = np.ones(8)
    wide[3] = 1000
    for name, factors in (
        (f"w{at}", wide[:, None, None, None]),
        (f"b{at}", wide),
        (f"w{at + 1}", 1 / wide[:, None, None]),
    ):
        values = onnx.numpy_helper.to_array(stored[name]) * factors
        stored[name].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    found = Trials(prepare(model), batches(), U8S8, Settings()).sensitivities()
    assert [each.layer for each in found] == [*(f"conv{index}" for index in range(depth)), "head"]
    worst = max(found, key=lambda each: each.error)
    assert worst.layer in (f"conv{at}", f"conv{at + 1}")
    assert worst.together == 1
    if depth < ALONE:
        assert all(each.together == 1 for each in found)


def test_plain_quantization_runs_the_float_network_once():
    ledger = work(recovered(), 20)
    assert ledger.sessions == 1
    assert ledger.work <= 32 * (2 * 20 + 3)


def test_a_batch_whose_activations_do_not_fit_is_run_in_parts(monkeypatch):
    monkeypatch.setattr("compress.quantization.batches.AT_ONCE", 200_000)
    monkeypatch.setattr("compress.quantization.batches.bounded.__defaults__", (200_000,))
    given = [{"x": np.concatenate([batch["x"] for batch in batches(16)])}]
    with counted() as ledger:
        whole, _ = quantize_static(chain(20), given, U8S8, Settings(equalize=False))
    per_sample = 4 * (3 + 20 * 8) * 36  # bytes of the activations that are watched, about
    assert ledger.most <= 1.2 * 200_000 / per_sample + 1
    parts, _ = quantize_static(chain(20), batches(16), U8S8, Settings(equalize=False))
    assert whole.SerializeToString() == parts.SerializeToString()


def test_weights_in_files_are_not_part_of_any_session(monkeypatch):
    monkeypatch.setattr("compress.onnx_graph.weights.LARGE", 1 << 10)
    model = chain(10, channels=64)
    with counted() as ledger:
        quantize_static(model, batches(), U8S8, Settings(equalize=False))
    assert ledger.bytes < 0.2 * model.ByteSize()
