from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from onnx import numpy_helper

from compress.errors import InternalError
from compress.onnx_graph.fold import prepare
from compress.quantization import Settings, place_and_calibrate
from compress.quantization.aware import Simulation
from compress.quantization.aware.fake_quantize import FakeQuantize, round_to_grid
from compress.quantization.aware.values import ChannelUnits, channel_maxima
from compress.quantization.aware.verification import check_agreement
from compress.quantization.insertion import insert
from compress.target.target import TENSORRT_FLAVOUR, QuantizationFlavour
from tests.graphs import classifier, samples
from tests.random_graphs import SIDE, networks

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)
FLAVOURS = {
    "u8s8": U8S8,
    "tensorrt": TENSORRT_FLAVOUR,
    "reduced": replace(U8S8, reduce_range=True),
    "per tensor": replace(U8S8, per_channel=False),
    "float bias": replace(U8S8, quantize_bias=False),
}


def simulated(model: onnx.ModelProto, batch: dict[str, np.ndarray], flavour: QuantizationFlavour):
    start = place_and_calibrate(model, [batch], flavour, Settings())
    return start, Simulation(start.model, start.placement, start.ranges, flavour)


def exported(start, simulation: Simulation, flavour: QuantizationFlavour) -> onnx.ModelProto:
    learned = simulation.learned()
    return insert(learned.model, start.placement, learned.ranges, flavour, learned.weight_scales)


def stirred(simulation: Simulation) -> None:
    """Every parameter somewhere else, as after a training."""
    torch.manual_seed(0)
    with torch.no_grad():
        for value in simulation.parameters():
            value.add_(0.1 * torch.randn_like(value))


@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=FLAVOURS)
def test_before_training_it_is_post_training_quantization(flavour):
    start, simulation = simulated(classifier(), {"x": samples(16)}, flavour)
    expected = insert(start.model, start.placement, start.ranges, flavour)
    assert exported(start, simulation, flavour).SerializeToString() == expected.SerializeToString()


@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=FLAVOURS)
def test_the_export_computes_what_the_trained_simulation_does(flavour):
    start, simulation = simulated(classifier(), {"x": samples(16)}, flavour)
    stirred(simulation)
    check_agreement(exported(start, simulation, flavour), simulation, {"x": samples(64, seed=1)}, 0.01)


@settings(max_examples=12, deadline=None)
@given(model=networks())
def test_the_export_of_random_graphs_computes_what_the_simulation_does(model):
    value = model.graph.input[0]
    shape = [dim.dim_value or 16 for dim in value.type.tensor_type.shape.dim]
    assert SIDE in shape
    batch = {value.name: np.random.default_rng(0).normal(size=shape).astype(np.float32)}
    for flavour in (U8S8, TENSORRT_FLAVOUR):
        start, simulation = simulated(model, batch, flavour)
        stirred(simulation)
        check_agreement(exported(start, simulation, flavour), simulation, batch, 0.05)


def test_a_simulation_of_something_else_is_found_out():
    start, simulation = simulated(classifier(), {"x": samples(16)}, U8S8)
    quantized = exported(start, simulation, U8S8)
    stirred(simulation)
    with pytest.raises(InternalError, match="agrees with ONNX Runtime within 1% of an output"):
        check_agreement(quantized, simulation, {"x": samples(16)}, 0.01)


def test_the_runtime_still_drops_a_clip_whose_scale_wanted_to_grow():
    start, simulation = simulated(clipped(), {"x": samples(16)}, U8S8)
    with torch.no_grad():
        for name, value in simulation.named_parameters():
            if name.endswith("logarithm") and value.dim() == 0:
                value.fill_(0.9)
    quantized = exported(start, simulation, U8S8)
    (scale,) = (each for each in quantized.graph.initializer if each.name == "clipped_scale")
    # In the runtime's own arithmetic the grid ends at the limit, or before.
    assert numpy_helper.to_array(scale) * np.float32(255) <= np.float32(0.5)
    check_agreement(quantized, simulation, {"x": samples(16)}, 0.01)


def clipped() -> onnx.ModelProto:
    """The classifier with its first activation clipped to [0, 0.5]."""
    model = prepare(classifier())
    node = next(node for node in model.graph.node if node.op_type in ("Relu", "Clip"))
    made = node.output[0]
    for reader in model.graph.node:
        reader.input[:] = ["clipped" if name == made else name for name in reader.input]
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(limit, np.float32), name)
        for name, limit in (("low", 0), ("high", 0.5))
    )
    replacement = onnx.helper.make_node("Clip", [node.input[0], "low", "high"], ["clipped"], name="clip")
    node.CopyFrom(replacement)
    return model


class TestFakeQuantize:
    def test_values_come_back_as_the_integers_tell(self):
        x = torch.tensor([-1.0, 0.04, 0.26, 9.0])
        found = round_to_grid(x, torch.tensor(0.1), 0, 15)
        torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 0.3, 1.5]))

    def test_the_gradients_are_lsq_s(self):
        x = torch.tensor([-1.0, 0.04, 0.26, 9.0], requires_grad=True)
        scale = torch.tensor(0.1, requires_grad=True)
        gradient = torch.tensor([2.0, 3.0, 5.0, 7.0])
        round_to_grid(x, scale, -3, 15).backward(gradient)
        torch.testing.assert_close(x.grad, torch.tensor([0.0, 3.0, 5.0, 0.0]))
        expected = 2 * -3 + 3 * (0 - 0.4) + 5 * (3 - 2.6) + 7 * 15
        torch.testing.assert_close(scale.grad, torch.tensor(expected))

    def test_each_channel_has_its_own_scale(self):
        x = torch.tensor([[1.0, 2.0], [10.0, 20.0]], requires_grad=True)
        scale = torch.tensor([[1.0], [8.0]], requires_grad=True)
        found = round_to_grid(x, scale, -127, 127)
        torch.testing.assert_close(found, torch.tensor([[1.0, 2.0], [8.0, 16.0]]))
        found.sum().backward()
        torch.testing.assert_close(scale.grad, torch.tensor([[0.0], [-0.75]]))

    def test_a_scale_at_its_limit_comes_back(self):
        grid = FakeQuantize(torch.tensor(1.0), 0, 255, largest_scale=1.0)
        with torch.no_grad():
            grid.logarithm.fill_(0.5)
        assert float(grid.scale().detach()) == 1.0
        grid.scale().backward()
        assert float(grid.logarithm.grad) > 0


def test_weights_move_by_a_share_of_their_channel_and_dead_ones_stay():
    weight = torch.tensor([[1000.0, -500.0], [0.001, 0.0], [0.0, 0.0]])
    learned = ChannelUnits(weight, channel_maxima(weight, 0))
    assert torch.equal(learned(), weight)
    with torch.no_grad():
        learned.multiple.add_(0.1)
    expected = weight + 0.1 * torch.tensor([[1000.0], [0.001], [0.0]])
    torch.testing.assert_close(learned(), expected)
