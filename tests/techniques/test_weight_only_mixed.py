from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from compress.data.task import load_task
from compress.errors import RecipeError
from compress.language.document_calls import beginnings
from compress.language.network import load_decoder
from compress.network.network import Network, load_network
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe, Step
from compress.target.target import load_target
from compress.techniques import apply_recipe
from compress.techniques.base import Context
from compress.techniques.weight_only_mixed import WeightOnlyMixed
from tests.language.documents import sentences, small_model
from tests.quantization.weights.matrices import matrices, rows

SIZES = {"group_sizes": [16, 32]}


@pytest.fixture
def network(tmp_path) -> Network:
    return load_network(save_model(matrices(96), tmp_path / "model.onnx"))


def context(network: Network, target: str = "cpu") -> Context:
    task = load_task({"x": rows(200, 96)}).bind(network.inputs, network.outputs)
    return Context(task, load_target(target))


def applied(network: Network, **settings) -> tuple[Network, dict]:
    given = context(network)
    made = apply_recipe(Recipe("mixed", (Step("weight_only_mixed", {**SIZES, **settings}),)), network, given)
    return made, given.reports


def error(network: Network, made: Network) -> float:
    x = rows(64, 96, seed=9)
    wanted, found = (
        onnxruntime.InferenceSession(each.to_onnx().SerializeToString()).run(None, {"x": x})[0]
        for each in (network, made)
    )
    return float(np.square(found - wanted).sum() / np.square(wanted - wanted.mean()).sum())


@pytest.mark.parametrize("bits", [5.5, 7.0])
def test_bits_on_average_are_kept(network, bits):
    made, reports = applied(network, average_bits=bits, compute="float32")
    found = reports["mixed_weights"]
    assert bits - 1 < found["average_bits"] <= bits
    stored = sum(row["bytes"] for row in found["matrices"])
    weights = sum(row["shape"][0] * row["shape"][1] for row in found["matrices"])
    assert 8 * stored / weights == pytest.approx(found["average_bits"])
    assert {node.op_type for node in made.to_onnx().graph.node} >= {"MatMulNBits"}
    # What was chosen is what is in the graph.
    kinds = [f"{row['bits']} bits, groups of {row['group_size']}" for row in reports["weight_only"]["layers"]]
    chosen = [row["form"].removesuffix(", zero points") for row in found["matrices"]]
    assert kinds == chosen


def test_more_bits_lose_less(network):
    errors = [
        error(network, applied(network, average_bits=each, compute="float32")[0]) for each in (5.5, 9.5)
    ]
    assert errors[1] < errors[0] / 4


def test_the_loss_together_is_measured_and_stands_beside_the_sum(network):
    found = applied(network, average_bits=6.0, compute="float32")[1]["mixed_weights"]
    assert found["loss"] == "relative squared error"
    assert found["measured_together"] == pytest.approx(found["sum_of_losses"], rel=0.5)


def test_a_matrix_stays_float_where_that_is_allowed_and_there_is_room(network):
    made, reports = applied(network, average_bits=16.0, bits=[4, 8, 32], compute="float32")
    found = reports["mixed_weights"]
    forms = [row["form"] for row in found["matrices"]]
    assert "float" in forms
    assert forms.count("float") == sum(
        node.op_type in ("MatMul", "Gemm") for node in made.to_onnx().graph.node
    )
    assert 9 < found["average_bits"] <= 16
    assert error(network, made) < error(network, applied(network, average_bits=16.0, compute="float32")[0])


def test_a_size_is_kept(network):
    size = 18_000
    made, _ = applied(network, max_size=size / 1e6)
    assert 0.7 * size < made.to_onnx().ByteSize() <= size


@pytest.mark.parametrize(("settings", "wanted"), [
    ({"average_bits": 3.0}, "average_bits of"),
    ({"max_size": 0.001}, "max_size of"),
    ({"average_bits": 5.0, "max_size": 1.0}, "average_bits or max_size"),
    ({"bits": [3]}, "'bits' among 4, 8"),
    ({"bits": [32]}, "'bits' with 4 or 8"),
    ({"algorithm": "hqq"}, "4 and 8 bits"),
    ({"tried_on": 0}, "'tried_on' above 0"),
])  # fmt: skip
def test_what_cannot_be_is_refused(network, settings, wanted):
    with pytest.raises(RecipeError, match=wanted):
        applied(network, **settings)


def test_a_target_without_the_operator_is_refused(network):
    with pytest.raises(RecipeError, match="tensorrt serves"):
        WeightOnlyMixed().apply(network, context(network, "jetson-orin-nano-super"))


def test_a_decoder_with_a_tied_head_is_judged_by_divergence(tmp_path):
    decoder = load_decoder(small_model(tmp_path / "model"))
    documents = [np.array(decoder.tokenizer.encode(text).ids[:48], np.int64) for text in sentences(12)]
    split = beginnings(documents, {}, decoder.network)
    given = Context(SimpleNamespace(calibration=split), load_target("cpu"))
    steps = (Step("weight_only_mixed", {**SIZES, "average_bits": 6.0, "compute": "float32"}),)
    made = apply_recipe(Recipe("mixed", steps), decoder.network, given).to_onnx()
    found = given.reports["mixed_weights"]
    assert found["loss"] == "divergence"
    assert found["average_bits"] <= 6.0
    assert len(found["matrices"]) == 5 * 2 + 1  # those of two layers, and the embedding that the head shares
    assert found["measured_together"] == pytest.approx(found["sum_of_losses"], rel=1.0)
    kinds = [node.op_type for node in made.graph.node]
    assert kinds.count("MatMulNBits") == 11
    assert kinds.count("GatherBlockQuantized") == 1
