"""Mixtures of experts: read as their files hold them, with experts in integers, of which a step reads the chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from compress.errors import NetworkError, RecipeError
from compress.language.graph import decoder_model, write_decoder
from compress.language.matrices import IntegerMatrix, Matrix, keep_float, round_to_nearest
from compress.language.traffic import weight_bytes
from compress.language.weights import open_language_model
from compress.quantization.weights import Settings, quantize_weights
from tests.language.test_decoder_graph import close, session, whole
from tests.language.tiny import Tiny, tiny

IDS = np.random.default_rng(0).integers(3, 101, (2, 12))


@pytest.fixture(scope="module", params=["mixtral", "qwen2_moe", "qwen3_moe, every other layer"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    sizes = {"hidden_size": 64, "moe_intermediate_size": 96}
    return tiny(tmp_path_factory.mktemp("mixture"), request.param, **sizes)


@pytest.mark.parametrize("compute", ["float32", "int8"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [False, True])
def test_experts_in_integers_compute_what_these_stand_for(
    made: Tiny, bits: int, symmetric: bool, compute: str
):
    opened = open_language_model(made.path)
    rounding = round_to_nearest(
        bits, 32, symmetric=symmetric, compute=compute, head_bits=None, embedding_bits=None
    )

    def dequantized(name: str, values: NDArray[np.float32]) -> Matrix:
        matrix = rounding(name, values)
        return matrix.weight.dequantized() if isinstance(matrix, IntegerMatrix) else matrix

    model = decoder_model(opened.config, opened.weights, rounding)
    assert "QMoE" in {node.op_type for node in model.graph.node}
    wanted = whole(session(decoder_model(opened.config, opened.weights, dequantized)), IDS)
    found = whole(session(model), IDS)
    if compute == "float32" and bits == 4:
        assert close(found, wanted)
    else:  # what is multiplied is rounded too: the runtime has no other products of 8 bits
        assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.97


def test_the_technique_packs_the_same_experts(made: Tiny):
    opened = open_language_model(made.path)
    model = decoder_model(opened.config, opened.weights)
    settings = Settings("onnxruntime", 4, 32)
    packed, report = quantize_weights(model, [], settings)
    rounding = round_to_nearest(4, 32, compute="float32", head_bits=None, embedding_bits=None)
    wanted = decoder_model(opened.config, opened.weights, rounding)
    nodes = [each for each in packed.graph.node if each.op_type == "QMoE"]
    own = {each.name: onnx.numpy_helper.to_array(each) for each in packed.graph.initializer}
    theirs = {each.name: onnx.numpy_helper.to_array(each) for each in wanted.graph.initializer}
    for node in nodes:
        (twin,) = (each for each in wanted.graph.node if each.name == node.name)
        for one, other in zip(node.input[2:], twin.input[2:], strict=True):
            assert bool(one) == bool(other)
            if one in own:
                np.testing.assert_array_equal(own[one], theirs[other])
    assert len(nodes) == len([each for each in wanted.graph.node if each.op_type == "QMoE"]) > 0
    told = {name for layer in report.layers for name in layer.nodes}
    assert {node.name for node in nodes} <= told
    assert report.float_nodes["model.layers.1.mlp.gate"] == "it chooses experts, and is small"


def test_a_step_reads_the_chosen_experts_alone(tmp_path: Path):
    """Twice as many experts, and as many chosen: the same bytes but for the routing."""
    found = []
    for count in (4, 8):
        made = tiny(tmp_path / str(count), "mixtral", num_local_experts=count)
        opened = open_language_model(made.path)
        path = write_decoder(opened.config, opened.weights, tmp_path / f"{count}.onnx")
        found.append(weight_bytes(path))
    assert found[1] - found[0] == 2 * 4 * 48 * 4  # two layers' rows for four more experts


def test_forms_that_the_operator_does_not_take(made: Tiny):
    opened = open_language_model(made.path)
    config, weights = opened.config, opened.weights
    rounding = round_to_nearest(4, 32)

    def some(name: str, values: NDArray[np.float32]) -> Matrix:
        return (rounding if ".experts.0." in name else keep_float)(name, values)

    with pytest.raises(RecipeError, match="one form for all experts of a layer"):
        decoder_model(config, weights, some)
    with pytest.raises(RecipeError, match=r"two or more whole groups.* of 64 inputs in groups of 128"):
        decoder_model(config, weights, round_to_nearest(4, 128))


def test_experts_that_do_not_divide_into_groups_stay_float(tmp_path: Path):
    opened = open_language_model(tiny(tmp_path, "mixtral").path)
    _, report = quantize_weights(
        decoder_model(opened.config, opened.weights), [], Settings("onnxruntime", 4, 32)
    )
    reason = "its 48 inputs are not two or more whole groups of 32"
    assert report.float_nodes["model.layers.0.mlp.mixture"] == reason


def test_an_expert_that_is_missing_is_told(tmp_path: Path):
    made = tiny(tmp_path, "mixtral")
    file = made.path / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.block_sparse_moe.experts.3.w2.weight"]
    save_file(tensors, file)
    with pytest.raises(
        NetworkError, match=r"'model\.layers\.1\.mlp\.experts\.3\.down_proj\.weight'.*it is missing"
    ):
        open_language_model(made.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_experts_per_tok": 6}, "a whole number from 1 to 5 in 'num_experts_per_tok'"),
        ({"num_local_experts": None, "num_experts": None}, "'num_experts'"),
        ({"mlp_only_layers": ["x"]}, "a list of numbers of layers"),
        ({"decoder_sparse_step": 0}, "'decoder_sparse_step'"),
        ({"hidden_act": "gelu_pytorch_tanh"}, "silu"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, changes: dict[str, Any], message: str):
    made = tiny(tmp_path, "qwen3_moe")
    path = made.path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(NetworkError, match=message):
        open_language_model(made.path)


def test_the_runtime_has_the_operators():
    """This ONNX Runtime has the operators of mixtures; the other tests of this file need them."""
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_opkernel_def

    kernels = {each.op_name for each in get_all_opkernel_def() if each.provider == "CPUExecutionProvider"}
    assert {"MoE", "QMoE"} <= kernels, onnxruntime.__version__
