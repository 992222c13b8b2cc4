"""A network made fragile on purpose: what is lost by default elsewhere comes back without training or settings."""

from __future__ import annotations

from itertools import chain, repeat
from pathlib import Path

import numpy as np
import onnx
import onnxruntime.quantization
import pytest

from compress.data import Batch
from compress.data.arrays import ArraySplit
from compress.data.task import Task
from compress.errors import NetworkError, RecipeError
from compress.metrics import load_metric
from compress.network.network import load_network
from compress.onnx_graph.files import save_model
from compress.quantization import quantize_static
from compress.target.target import QuantizationFlavour, load_target
from compress.techniques import quantize_mixed
from compress.techniques.base import Context
from compress.techniques.quantize_mixed import QuantizeMixed
from tests.quantization.digits import TRAINING, accuracy, calibration_batches, data, fragile, trained

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)


class _Reader(onnxruntime.quantization.CalibrationDataReader):
    def __init__(self) -> None:
        self._batches = iter(calibration_batches())

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def context(images: np.ndarray, labels: np.ndarray) -> Context:
    def split(rows: slice) -> ArraySplit:
        return ArraySplit(Batch({"x": images[rows]}, labels[rows]), {})

    task = Task(
        evaluation=split(slice(TRAINING, None)),
        calibration=split(slice(0, 256)),
        training=split(slice(256, TRAINING)),
        metric=load_metric("top-1"),
        provenance={},
    )
    return Context(task, load_target("cpu"))


def test_channels_of_very_different_range_come_back_with_the_defaults(tmp_path: Path) -> None:
    model = fragile()
    assert accuracy(model) == accuracy(trained()) > 85
    save_model(model, tmp_path / "float.onnx")
    plain = tmp_path / "plain.onnx"
    onnxruntime.quantization.quantize_static(tmp_path / "float.onnx", plain, _Reader(), per_channel=False)
    assert accuracy(onnx.load(plain)) < accuracy(model) - 20
    ours, _ = quantize_static(model, calibration_batches(), U8S8)
    assert accuracy(ours) > accuracy(model) - 1


def test_layers_that_int8_breaks_stay_float_and_are_named(tmp_path: Path) -> None:
    save_model(fragile(behind=["conv2"]), tmp_path / "model.onnx")
    made = context(*data())
    mixed = QuantizeMixed(max_drop=1.0, equalize=False)
    result = mixed.apply(load_network(tmp_path / "model.onnx"), made)
    assert accuracy(result.to_onnx()) > accuracy(fragile()) - 1
    told = {layer["layer"]: layer for layer in made.reports["sensitivity"]["layers"]}
    assert list(told) == ["conv1", "depthwise", "conv2", "conv3", "fc"]
    kept = [name for name, layer in told.items() if layer["kept"] == "float"]
    assert 0 < len(kept) < 5
    assert max(told.values(), key=lambda layer: layer["error"])["kept"] == "float"
    assert sum(layer["cost"] for layer in told.values()) == pytest.approx(1)
    nodes = {node.name: node for node in result.to_onnx().graph.node}
    dequantized = {node.output[0] for node in nodes.values() if node.op_type == "DequantizeLinear"}
    for name, node in nodes.items():
        if name in told:
            assert (node.input[1] in dequantized) == (told[name]["kept"] == "int8")


def test_a_network_that_int8_does_not_hurt_stays_int8_throughout(tmp_path: Path) -> None:
    save_model(trained(), tmp_path / "model.onnx")
    made = context(*data())
    QuantizeMixed(max_drop=2.0).apply(load_network(tmp_path / "model.onnx"), made)
    assert {layer["kept"] for layer in made.reports["sensitivity"]["layers"]} == {"int8"}


def test_a_margin_that_cannot_be_held_is_said(tmp_path: Path) -> None:
    save_model(fragile(1e6), tmp_path / "model.onnx")
    made = context(*data())
    with pytest.raises(NetworkError, match="points"):
        QuantizeMixed(max_drop=0.0, equalize=False).apply(load_network(tmp_path / "model.onnx"), made)
    assert {layer["kept"] for layer in made.reports["sensitivity"]["layers"]} == {"float"}


@pytest.mark.parametrize(
    ("max_drop", "kept"), [(3.0, {"int8"}), (2.9, {"int8", "float"}), (0.5, {"int8", "float"})]
)
def test_half_of_the_margin_may_be_lost_on_the_samples_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_drop: float, kept: set[str]
) -> None:
    drops = chain(
        [1.5], repeat(0.0)
    )  # All layers in int8 lose 1.5 points, any one of them in float brings them back.
    monkeypatch.setattr(quantize_mixed._Judge, "drop", lambda _self, _model: next(drops))
    save_model(trained(), tmp_path / "model.onnx")
    made = context(*data())
    QuantizeMixed(max_drop=max_drop).apply(load_network(tmp_path / "model.onnx"), made)
    assert {layer["kept"] for layer in made.reports["sensitivity"]["layers"]} == kept


@pytest.mark.parametrize("wrong", [-1, "1", True, float("nan")])
def test_a_margin_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(RecipeError, match="max_drop"):
        QuantizeMixed(max_drop=wrong)
