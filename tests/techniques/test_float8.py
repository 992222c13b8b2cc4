from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from compress.backends.onnxruntime import OnnxRuntime
from compress.data.task import load_task
from compress.errors import NetworkError, RecipeError
from compress.network.network import Network, load_network
from compress.onnx_graph.files import save_model
from compress.onnx_graph.graph import Graph
from compress.target.target import load_target
from compress.techniques.base import Context
from compress.techniques.cast import Cast
from compress.techniques.float8 import Float8
from tests.graphs import classifier, samples
from tests.quantization.test_int4_blocks import network as matrices
from tests.techniques.test_cast import element_types


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as directory:
        backend = OnnxRuntime()
        with backend.open(backend.compile(model, Path(directory), {})) as session:
            return session.run({"x": x})[0]


@pytest.fixture
def network(tmp_path) -> Network:
    return load_network(save_model(classifier(), tmp_path / "model.onnx"))


def context(network: Network, target: str = "h100-sxm") -> Context:
    task = load_task({"x": samples(40)}).bind(network.inputs, network.outputs)
    return Context(task, load_target(target))


def rounded(values: np.ndarray) -> np.ndarray:
    """E4M3FN by its definition: 8 steps to each power of two, from 2⁻⁶ up, and even ones of 2⁻⁹ below."""
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(values), 1e-30))), -6)
    step = 2.0 ** (exponent - 3)
    return np.clip(np.rint(values / step) * step, -448, 448)


def test_weights_are_eight_bits_and_the_file_shrinks(network):
    quantized = Float8().apply(network, context(network)).to_onnx()
    onnx.checker.check_model(quantized, full_check=True)
    graph = Graph(quantized)
    types = {name: tensor.data_type for name, tensor in graph.initializers.items()}
    assert types["w2_quantized"] == TensorProto.FLOAT8E4M3FN
    assert TensorProto.INT8 not in types.values()
    assert len([node for node in graph.nodes if node.op_type == "QuantizeLinear"]) == 3


def test_the_runtime_emulates_what_the_definition_says(network):
    quantized = Float8(exclude_nodes=("conv2", "fc")).apply(network, context(network)).to_onnx()
    graph = Graph(quantized)
    weight = numpy_helper.to_array(Graph(classifier()).initializers["w1"])
    scales = np.abs(weight).max((1, 2, 3), keepdims=True) / 448
    stored = numpy_helper.to_array(graph.initializers["w1_quantized"]).astype(np.float32)
    np.testing.assert_allclose(stored, rounded(weight / scales), rtol=1e-6)
    scale = float(numpy_helper.to_array(graph.initializers["x_scale"]))
    x = samples(8, seed=5)
    emulated = classifier()
    for tensor in emulated.graph.initializer:
        if tensor.name == "w1":
            values = (rounded(weight / scales) * scales).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, "w1"))
    wanted = run(emulated, (rounded(x / scale) * scale).astype(np.float32))
    np.testing.assert_allclose(run(quantized, x), wanted, atol=1e-4)


def test_close_to_the_float_network_and_so_with_float16_around(network):
    given = context(network)
    quantized = Float8().apply(network, given)
    both = Cast().apply(quantized, given).to_onnx()
    onnx.checker.check_model(both, full_check=True)
    assert element_types(both)["conv1"] == TensorProto.FLOAT16
    wanted = run(network.to_onnx(), samples(32))
    for found in (run(quantized.to_onnx(), samples(32)), run(both, samples(32))):
        assert np.square(found - wanted).sum() < 0.01 * np.square(wanted).sum()


def test_only_for_targets_that_have_it_and_float_networks(network):
    with pytest.raises(RecipeError, match="fp8 for cpu"):
        Float8().apply(network, context(network, "cpu"))
    quantized = Float8().apply(network, context(network))
    with pytest.raises(NetworkError, match="quantized already"):
        Float8().apply(quantized, context(network))
    with pytest.raises(RecipeError):
        Float8(exclude_nodes=("nobody",)).apply(network, context(network))


def test_matrix_products_too(tmp_path):
    network = load_network(save_model(matrices(opset=20), tmp_path / "matrices.onnx"))
    x = np.random.default_rng(0).standard_normal((20, 5, 128)).astype(np.float32)
    given = Context(load_task({"x": x}).bind(network.inputs, network.outputs), load_target("h100-sxm"))
    both = Cast().apply(Float8().apply(network, given), given).to_onnx()
    onnx.checker.check_model(both, full_check=True)
    wanted = run(network.to_onnx(), x)
    assert np.square(run(both, x) - wanted).sum() < 0.01 * np.square(wanted).sum()
