from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from compress.errors import RecipeError
from compress.network import Network, load_network
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe, Step
from compress.target import load_target
from compress.task import load_task
from compress.techniques import apply_recipe, technique_names
from compress.techniques.base import Context
from compress.techniques.prune import IMPORTANCES, Prune
from tests.graphs import classifier
from tests.networks import NETWORKS, FusedAttention, ResidualCNN, TwoInputs, build

X = np.random.default_rng(0).standard_normal((80, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(build(ResidualCNN), example={"x": X[:2]})


def context(network: Network, data: dict[str, np.ndarray]) -> Context:
    return Context(load_task(data).bind(network.inputs, network.outputs), load_target("cpu"))


def test_a_recipe_reaches_it_with_all_its_settings(network: Network) -> None:
    assert "prune" in technique_names()
    settings = {
        "ratio": 0.5,
        "per_layer": True,
        "keep_layers": ["stem"],
        "multiple": 4,
        "importance": "magnitude",
    }
    given = context(network, {"x": X})
    pruned = apply_recipe(Recipe("small", (Step("prune", {**settings, "samples": 8}),)), network, given)
    assert pruned.trainable
    report = given.reports["prune"]
    assert report["groups"] == {
        "stem": [8, 8],
        "layers.0.conv1": [8, 4],
        "layers.1.conv1": [16, 8],
        "layers.1.conv2": [16, 8],
    }
    assert report["macs"][1] < 0.6 * report["macs"][0]
    assert report["parameters"][1] == sum(each.numel() for each in pruned.graph.parameters())
    assert report["settings"]["multiple"] == 4
    session = onnxruntime.InferenceSession(pruned.to_onnx().SerializeToString())
    with torch.no_grad():
        expected = pruned.graph(torch.from_numpy(X))
    np.testing.assert_allclose(session.run(None, {"x": X})[0], expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_every_importance_is_reached(network: Network, importance: str) -> None:
    given = context(network, {"x": X})
    pruned = Prune(0.3, importance=importance).apply(network, given)
    assert sum(each.numel() for each in pruned.graph.parameters()) < given.reports["prune"]["parameters"][0]


def test_only_so_many_samples_are_seen(network: Network) -> None:
    many = np.random.default_rng(1).standard_normal((512, 3, 8, 8)).astype(np.float32)
    given = context(network, {"x": many})
    assert len(given.task.calibration) == 128
    batches = Prune(importance="taylor", samples=33)._batches(network, given)
    assert [len(x) for (x,) in batches] == [32, 32]


def test_quantized_after_it(network: Network) -> None:
    given = context(network, {"x": X})
    recipe = Recipe("both", (Step("prune", {"ratio": 0.3}), Step("quantize", {})))
    quantized = apply_recipe(recipe, network, given).to_onnx()
    assert onnxruntime.InferenceSession(quantized.SerializeToString()).run(None, {"x": X})[0].shape == (80, 5)


def test_several_inputs() -> None:
    network = load_network(build(TwoInputs), example=NETWORKS[TwoInputs])
    tokens = np.random.default_rng(0).integers(0, 10, size=(80, 6))
    given = context(network, {"image": X, "tokens": tokens})
    pruned = Prune(0.5, importance="hessian_diagonal").apply(network, given)
    assert pruned.graph.get_submodule("embedding").embedding_dim == 4


def test_nothing_can_be_removed() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 3))
    network = load_network(module, example=[np.ones((2, 4), np.float32)])
    with pytest.raises(RecipeError, match="channels that can be removed"):
        Prune().apply(network, context(network, {"input": X[:, 0, 0, :4]}))


def test_an_onnx_model_is_refused(tmp_path) -> None:
    network = load_network(save_model(classifier(), tmp_path / "model.onnx"))
    with pytest.raises(RecipeError, match="prune before quantizing"):
        Prune().apply(network, Context(None, load_target("cpu")))  # type: ignore[arg-type]


def test_a_network_without_batch_norm_is_refused() -> None:
    network = load_network(build(FusedAttention), example=NETWORKS[FusedAttention])
    with pytest.raises(RecipeError, match="a network with batch norm"):
        Prune(importance="batch_norm_scale").apply(
            network, context(network, {"x": X.reshape(80, 12, 16)[:, :6]})
        )


@pytest.mark.parametrize(
    "settings",
    [
        {"ratio": 1},
        {"ratio": "half"},
        {"ratio": True},
        {"importance": "size"},
        {"multiple": 0},
        {"samples": 1.5},
        {"keep_layers": "stem"},
    ],
)
def test_a_wrong_setting_is_refused(settings) -> None:
    with pytest.raises(RecipeError):
        Prune(**settings)
