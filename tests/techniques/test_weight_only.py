from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from compress.data.task import load_task
from compress.errors import NetworkError, RecipeError
from compress.network.network import Network, load_network
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe, Step
from compress.target.target import load_target
from compress.techniques import apply_recipe, technique_names
from compress.techniques.base import Context
from compress.techniques.weight_only import WeightOnly
from tests.graphs import classifier, samples
from tests.networks import VisionTransformer
from tests.quantization.weights.matrices import matrices, rows


@pytest.fixture
def network(tmp_path) -> Network:
    return load_network(save_model(matrices(96), tmp_path / "model.onnx"))


def context(network: Network, x: np.ndarray, target: str = "cpu") -> Context:
    return Context(load_task({"x": x}).bind(network.inputs, network.outputs), load_target(target))


def test_a_recipe_reaches_it_with_all_its_settings(network):
    assert "weight_only" in technique_names()
    settings = {"algorithm": "awq", "bits": 8, "symmetric": True, "exclude_nodes": ["third"]}
    given = context(network, rows(200, 96))
    applied = apply_recipe(Recipe("int8", (Step("weight_only", settings),)), network, given)
    assert not applied.trainable
    report = given.reports["weight_only"]
    assert report["settings"]["symmetric"] is True
    assert report["bytes_after"] < 0.6 * report["bytes_before"]
    assert list(report["float_nodes"]) == ["third"]
    x = rows(16, 96, seed=9)
    wanted, found = (
        onnxruntime.InferenceSession(each.to_onnx().SerializeToString()).run(None, {"x": x})[0]
        for each in (network, applied)
    )
    np.testing.assert_allclose(found, wanted, atol=0.02 * np.abs(wanted).max())


def test_a_lifted_transformer_loses_its_matrices_to_packed_ones():
    x = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)
    network = load_network(VisionTransformer(), example={"x": x[:2]})
    given = context(network, x)
    applied = WeightOnly(group_size=16).apply(network, given).to_onnx()
    kinds = [node.op_type for node in applied.graph.node]
    assert kinds.count("MatMulNBits") == 5  # query-key-value, its projection, two of the perceptron, the head
    assert "Gemm" not in kinds
    wanted, found = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, {network.inputs[0].name: x})[0]
        for each in (network.to_onnx(), applied)
    )
    assert np.square(found - wanted).sum() < 0.05 * np.square(wanted).sum()


def test_a_network_of_convolutions_is_refused(tmp_path):
    network = load_network(save_model(classifier(), tmp_path / "model.onnx"))
    with pytest.raises(NetworkError, match="nothing to quantize"):
        WeightOnly().apply(network, context(network, samples(40)))


def test_a_target_without_the_operator_is_refused(network):
    with pytest.raises(RecipeError, match="tensorrt serves"):
        WeightOnly().apply(network, context(network, rows(200, 96), "jetson-orin-nano-super"))
