from __future__ import annotations

import numpy as np
import onnx
import pytest

from compress.onnx_graph.graph import Graph
from compress.quantization import quantize_static
from compress.quantization.alignment import align_input_channels
from compress.target.target import TENSORRT_FLAVOUR, QuantizationFlavour
from tests.quantization.test_insertion import images, run
from tests.random_graphs import Builder

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)


def first_weight(
    channels: int, width: int, flavour: QuantizationFlavour = U8S8, **conv: bool
) -> tuple[int, ...]:
    builder = Builder(0, channels)
    model = builder.model(builder.conv("x", width, **conv))
    graph = Graph(quantize_static(model, [{"x": images(channels)}], flavour)[0])
    conv_node = next(node for node in graph.nodes if node.op_type == "Conv")
    return graph.shape(graph.producers[conv_node.input[1]].input[0])


@pytest.mark.parametrize("channels, aligned", [(1, 4), (3, 4), (4, 4), (5, 8), (8, 8)])
def test_input_channels_come_in_fours(channels, aligned):
    assert first_weight(channels, 16) == (16, aligned, 3, 3)


@pytest.mark.parametrize("width", [8, 18])
def test_where_the_fast_kernel_cannot_be_used_anyway_nothing_changes(width):
    assert first_weight(3, width) == (width, 3, 3, 3)


def test_depthwise_convolutions_stay():
    assert first_weight(18, 0, depthwise=True) == (18, 1, 3, 3)


def test_grouped_convolutions_stay():
    builder = Builder(0, 4)
    wide = builder.conv("x", 18)
    grouped = builder.add("Conv", wide, builder.weights(16, 9, 1, 1), group=2, shape=(16, 8, 8))
    graph = Graph(quantize_static(builder.model(grouped), [{"x": images(4)}], U8S8)[0])
    assert "Gather" not in [node.op_type for node in graph.nodes]


def test_tensorrt_gets_the_network_as_it_is():
    assert first_weight(3, 16, TENSORRT_FLAVOUR) == (16, 3, 3, 3)


def test_the_result_is_the_same_to_the_bit_and_other_readers_keep_their_input():
    builder = Builder(0, 3)
    builder.initializers.clear()
    both = builder.add("Concat", builder.conv("x", 16), builder.conv("x", 8), axis=1, shape=(24, 8, 8))
    signed = QuantizationFlavour("int8", "int8", False, True, False, True)
    plain, _ = quantize_static(builder.model(both), [{"x": images(3)}], signed)
    aligned = onnx.ModelProto()
    aligned.CopyFrom(plain)
    align_input_channels(aligned)
    onnx.checker.check_model(aligned, full_check=True)
    assert [node.op_type for node in aligned.graph.node].count("Gather") == 1
    np.testing.assert_array_equal(run(aligned, images(3)), run(plain, images(3)))
