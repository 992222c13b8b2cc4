from __future__ import annotations

import gc
import weakref

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from compress.errors import DataError, NetworkError
from compress.quantization import quantize_static
from compress.quantization.calibration import calibrate
from compress.quantization.grid import Range
from compress.quantization.observers import MinMaxObserver
from tests.graphs import classifier, samples
from tests.processor import U8S8
from tests.random_graphs import SIDE, Builder
from tests.sequences import WIDTH, recurrent, sequences


def relu_of_image() -> tuple[Builder, str]:
    builder = Builder(0, 2)
    return builder, builder.relu("x")


def images(*sizes: int) -> list[dict[str, np.ndarray]]:
    return [{"x": np.full((size, 2, SIDE, SIDE), size, np.float32)} for size in sizes]


def test_ranges_of_inputs_activations_and_outputs_over_batches_of_any_size():
    builder, relu = relu_of_image()
    output = builder.sigmoid(relu)
    batches = [{"x": -images(4)[0]["x"]}, *images(4, 4, 1)]
    found = calibrate(builder.model(output), ["x", relu, output], batches, MinMaxObserver)
    assert found.ranges["x"] == Range(-4, 4)
    assert found.ranges[relu] == Range(0, 4)
    assert found.ranges[output].low == 0.5
    assert found.samples == 13


def test_batches_are_read_once_and_none_is_kept():
    builder, relu = relu_of_image()
    alive = []

    def batches():
        for _ in range(5):
            gc.collect()
            # The one before may still be in the caller's hands; older ones are gone.
            assert sum(reference() is not None for reference in alive) <= 1
            array = images(2)[0]["x"]
            alive.append(weakref.ref(array))
            yield {"x": array}

    calibrate(builder.model(relu), ["x", relu], batches(), MinMaxObserver)
    assert len(alive) == 5


def test_no_batches():
    with pytest.raises(DataError, match="calibration samples"):
        calibrate(classifier(), ["r1"], [], MinMaxObserver)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_in_the_samples_names_the_input(wrong):
    batch = samples(4)
    batch[2, 1, 3, 3] = wrong
    with pytest.raises(DataError, match="tensor 'x'"):
        calibrate(classifier(), ["x", "r1"], [{"x": batch}], MinMaxObserver)


def test_a_value_that_is_not_finite_inside_names_the_activation():
    builder, relu = relu_of_image()
    logarithm = builder.add("Log", relu)
    with pytest.raises(DataError, match=f"tensor '{logarithm}'"):
        calibrate(builder.model(logarithm), ["x", logarithm], [{"x": -images(2)[0]["x"]}], MinMaxObserver)


@pytest.mark.parametrize(
    "batch",
    [
        {"image": samples(2)},
        {"x": samples(2), "y": samples(2)},
        {},
        {"x": samples(2).astype(np.float64)},
        {"x": samples(2)[:, :2]},
        {"x": samples(2)[0]},
    ],
    ids=["name", "extra", "nothing", "type", "channels", "rank"],
)
def test_a_batch_that_does_not_fit_says_what_is_wanted(batch):
    with pytest.raises(DataError, match="x"):
        calibrate(classifier(), ["x", "r1"], [batch], MinMaxObserver)


def test_a_static_batch_size_is_the_callers_to_keep():
    network = classifier(batch=4)
    assert calibrate(network, ["r1"], [{"x": samples(4)}] * 2, MinMaxObserver).samples == 8
    with pytest.raises(DataError):
        calibrate(network, ["r1"], [{"x": samples(4)}, {"x": samples(1)}], MinMaxObserver)


def test_a_network_that_does_not_run_is_a_network_error():
    network = classifier()
    network.graph.node.append(helper.make_node("Unheard", ["x"], ["lost"], "misfit", domain="elsewhere"))
    network.opset_import.append(helper.make_opsetid("elsewhere", 1))
    with pytest.raises(NetworkError, match="ONNX Runtime can run"):
        calibrate(network, ["r1", "lost"], [{"x": samples(2)}], MinMaxObserver)


class TestSequences:
    def test_batches_of_any_length_and_inputs_of_two_types(self):
        batches = [{**batch, "h0": np.zeros((1, 2, WIDTH), np.float32)} for batch in sequences(3, 9, 1)]
        found = calibrate(recurrent(), ["x", "scores"], batches, MinMaxObserver)
        everything = np.concatenate([batch["x"].reshape(-1) for batch in batches])
        assert found.ranges["x"] == Range(float(everything.min()), float(everything.max()))
        assert found.samples == 6

    def test_a_state_that_is_left_out_starts_at_zero(self):
        zeros = [{**batch, "h0": np.zeros((1, 2, WIDTH), np.float32)} for batch in sequences(3, 9)]
        ones = [{**batch, "h0": np.ones((1, 2, WIDTH), np.float32)} for batch in sequences(3, 9)]
        found, wanted, other = (
            calibrate(recurrent(), ["scores"], batches, MinMaxObserver).ranges["scores"]
            for batches in (sequences(3, 9), zeros, ones)
        )
        assert found == wanted != other

    def test_an_input_that_is_no_state_may_not_be_left_out(self):
        with pytest.raises(DataError, match="length"):
            calibrate(recurrent(), ["x"], [{"x": sequences(3)[0]["x"]}], MinMaxObserver)

    def test_samples_are_counted_where_the_state_comes_first(self):
        model = recurrent()
        state = model.graph.input[1]
        del model.graph.input[1]
        model.graph.input.insert(0, state)
        assert calibrate(model, ["x"], sequences(3, batch=5), MinMaxObserver).samples == 5

    def test_the_recurrence_itself_stays_float_around_int8_neighbours(self):
        batches = sequences(5, 9, 12, batch=8)
        quantized, report = quantize_static(recurrent(), batches, U8S8)
        assert {"embed", "head"} <= set(report.int8_nodes)
        assert "gru" in report.float_nodes
        gru = next(node for node in quantized.graph.node if node.op_type == "GRU")
        assert list(gru.input[1:3]) == ["gru_w", "gru_r"]
        feeds = {**batches[0], "h0": np.zeros((1, 8, WIDTH), np.float32)}
        wanted, found = (
            onnxruntime.InferenceSession(each.SerializeToString()).run(["scaled"], feeds)[0]
            for each in (recurrent(), quantized)
        )
        assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
