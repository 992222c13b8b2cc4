from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.backends.tensorrt import build_arguments, build_script
from compress.backends.trtexec import Trtexec
from compress.data.task import load_task
from compress.errors import RecipeError
from compress.lint.checks import lint
from compress.network.network import Network, load_network
from compress.onnx_graph.files import save_model
from compress.onnx_graph.zeros import is_2_4
from compress.recipe import Recipe, Step
from compress.target.target import load_target
from compress.techniques import apply_recipe
from compress.techniques.base import Context
from compress.techniques.sparse_2_4 import Sparse24
from tests.graphs import classifier

X = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return load_network(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), example=[X[:2]])


def context(network: Network, target: str) -> Context:
    return Context(load_task({"input": X}).bind(network.inputs, network.outputs), load_target(target))


def test_wide_layers_alone_are_masked_and_no_gain_is_claimed(network: Network) -> None:
    given = context(network, "jetson")
    recipe = Recipe("sparse", (Step("sparse_2_4", {"least_channels": 64}), Step("cast")))
    sparse = apply_recipe(recipe, network, given)
    report = given.reports["sparse_2_4"]
    assert {name: each["masked"] for name, each in report["layers"].items()} == {"0": True, "2": False}
    assert report["layers"]["0"]["timing"] is None
    assert report["gain"].startswith("not estimated")
    assert is_2_4(sparse.to_onnx())
    assert network.graph is not None
    assert not is_2_4(network.to_onnx())


def test_nothing_wide_hands_the_network_back(network: Network) -> None:
    assert Sparse24().apply(network, context(network, "jetson")) is network


@pytest.mark.parametrize("target", ["cpu", "t4", "jetson-xavier-nx", "raspberry-pi-5"])
def test_a_target_without_sparse_tensor_cores_is_refused(network: Network, target: str) -> None:
    with pytest.raises(RecipeError, match="sparse tensor cores") as refused:
        Sparse24().apply(network, context(network, target))
    assert "\n" not in str(refused.value)


def test_an_onnx_model_is_refused(tmp_path: Path) -> None:
    onnx_network = load_network(save_model(classifier(), tmp_path / "model.onnx"))
    with pytest.raises(RecipeError, match="before quantizing"):
        Sparse24().apply(onnx_network, Context(None, load_target("jetson")))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [3, 8.0, True, "wide"])
def test_a_wrong_setting_is_refused(value: object) -> None:
    with pytest.raises(RecipeError):
        Sparse24(least_channels=value)  # type: ignore[arg-type]


def test_trtexec_is_told_of_sparse_weights_and_only_of_them(network: Network, tmp_path: Path) -> None:
    dense = Trtexec().compile(network.to_onnx(), tmp_path, {"sparse_2_4": True})
    assert "sparse_2_4" not in dense.options
    masked = Sparse24(64).apply(network, context(network, "jetson"))
    assert Trtexec().compile(masked.to_onnx(), tmp_path, {}).options["sparse_2_4"] is True
    target = load_target("jetson")
    assert "--sparsity=enable" in build_arguments(target, network.inputs, "fp16", sparse=True)
    assert not any("sparsity" in each for each in build_arguments(target, network.inputs, "fp16"))
    assert "--sparsity=enable" in build_script(target, network.inputs, "fp16", sparse=True)


def test_zeros_that_gain_nothing_are_found(network: Network) -> None:
    masked = Sparse24(64).apply(network, context(network, "jetson")).to_onnx()

    def found(target: str) -> list[str]:
        return [each.rule for each in lint(masked, load_target(target)) if each.rule == "sparsity-no-gain"]

    assert found("jetson") == []
    assert found("jetson-xavier-nx") == ["sparsity-no-gain"]
    assert found("raspberry-pi-5") == ["sparsity-no-gain"]
    assert not [
        each for each in lint(network.to_onnx(), load_target("cpu")) if each.rule == "sparsity-no-gain"
    ]
