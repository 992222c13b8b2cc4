from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from compress.data.task import load_task
from compress.errors import RecipeError
from compress.network.network import load_network
from compress.onnx_graph.files import save_model
from compress.target.target import load_target
from compress.techniques.base import Context
from compress.techniques.int4_blocks import Int4Blocks
from tests.quantization.test_int4_blocks import network as matrices

THOR = replace(load_target("jetson-thor-t5000"), opset_max=21)


def applied(tmp_path, target):
    network = load_network(save_model(matrices(opset=20), tmp_path / "model.onnx"))
    x = np.random.default_rng(0).standard_normal((20, 5, 128)).astype(np.float32)
    task = load_task({"x": x}).bind(network.inputs, network.outputs)
    context = Context(task, target)
    return Int4Blocks().apply(network, context).to_onnx(), context


def test_weights_are_int4_in_a_graph_raised_to_opset_21(tmp_path):
    quantized, context = applied(tmp_path, THOR)
    onnx.checker.check_model(quantized, full_check=True)
    assert quantized.opset_import[0].version == 21
    assert [tensor.data_type for tensor in quantized.graph.initializer].count(TensorProto.INT4) == 2
    assert context.reports["int4_blocks"] == {"block": 64, "float_nodes": {}}


@pytest.mark.parametrize("target", ["cpu", "jetson-thor-t5000", "jetson-agx-xavier"])
def test_targets_that_do_not_read_it_refuse(tmp_path, target):
    with pytest.raises(RecipeError, match="opset 21"):
        applied(tmp_path, load_target(target))


@pytest.mark.parametrize("block", [0, 32, "64"])
def test_block_sizes(block):
    with pytest.raises(RecipeError, match="64 or 128"):
        Int4Blocks(block)
