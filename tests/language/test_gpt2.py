"""Decoders like GPT-2: their tensors under the names of LLaMA, their greedy text, and what is wrong with some."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from compress.errors import NetworkError
from compress.language.generation import Decoder, likeliest, read_prompt
from compress.language.graph import decoder_model
from compress.language.weights import LanguageModel, open_language_model
from tests.language.gguf_files import write_gguf
from tests.language.tiny import Tiny, tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(tmp_path_factory.mktemp("gpt2"), "gpt2")


def decoder(model: LanguageModel) -> Decoder:
    graph = decoder_model(model.config, model.weights).SerializeToString()
    return Decoder(onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]))


def test_queries_keys_and_values_are_taken_apart_and_turned(made: Tiny):
    weights = open_language_model(made.path).weights
    state = {name: each.numpy() for name, each in made.network.state_dict().items()}
    for kind in ("weight", "bias"):
        together = state[f"transformer.h.1.attn.c_attn.{kind}"]
        parts = [
            weights[f"model.layers.1.self_attn.{part}.{kind}"].T for part in ("q_proj", "k_proj", "v_proj")
        ]
        np.testing.assert_array_equal(np.concatenate(parts, axis=-1), together)
    np.testing.assert_array_equal(
        weights["model.layers.0.mlp.up_proj.weight"], state["transformer.h.0.mlp.c_fc.weight"].T
    )
    np.testing.assert_array_equal(weights["model.embed_positions.weight"], state["transformer.wpe.weight"])
    assert "lm_head.weight" not in weights


def test_the_greedy_text_is_that_of_transformers_up_to_the_end_of_the_context(made: Tiny):
    """Several texts at once: each step's position is behind all tokens before."""
    prompt = np.random.default_rng(1).integers(3, 101, (2, 5))
    ours = decoder(open_language_model(made.path))
    cache = ours.begin(64, 2)
    found = [read_prompt(cache, prompt)]
    while cache.length < 64:
        found.append(likeliest(cache.step(found[-1][:, np.newaxis])))
    ids = prompt
    for tokens in found:
        np.testing.assert_array_equal(made.logits(ids)[:, -1].argmax(-1), tokens)
        ids = np.concatenate([ids, tokens[:, np.newaxis]], axis=1)
    assert ids.shape == (2, 65)


def test_files_without_the_name_of_the_network_in_front(made: Tiny, tmp_path: Path):
    """Names of tensors without the prefix ``transformer.``, as in GPT-2's first release, are read alike."""
    made.network.transformer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((made.path / "config.json").read_text())
    found, wanted = (open_language_model(path).weights for path in (tmp_path, made.path))
    assert list(found) == list(wanted)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_a_gguf_file_is_the_network_that_it_was_made_from(made: Tiny, tmp_path: Path):
    found = open_language_model(write_gguf(made, tmp_path / "tiny.gguf"))
    wanted = open_language_model(made.path)
    assert found.config.norm_eps == pytest.approx(wanted.config.norm_eps)  # float32 in the file
    assert replace(found.config, norm_eps=wanted.config.norm_eps) == wanted.config
    for name in wanted.weights:
        np.testing.assert_array_equal(found.weights[name], wanted.weights[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_head": 7}, "a divisor of 'n_embd', 48,"),
        ({"n_head": 4}, "heads of a multiple of 8 values"),
        ({"scale_attn_by_inverse_layer_idx": True}, "false, as GPT-2 has it,"),
        ({"add_cross_attention": True}, "false, as GPT-2 has it,"),
        ({"activation_function": "tanh"}, "an activation function of silu"),
        ({"n_positions": 0}, "a whole number from 1 to"),
        ({"n_embd": 96}, "'model.embed_tokens.weight' of shape 101×96, as the config says"),
        (
            {"n_inner": 96},
            "'model.layers.0.mlp.up_proj.weight' of shape 96×48, as the config says; found .*192×48",
        ),
    ],
)
def test_what_is_wrong_is_told(made: Tiny, tmp_path: Path, changes: dict[str, Any], message: str):
    config = json.loads((made.path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(made.path / "model.safetensors")
    with pytest.raises(NetworkError, match=message):
        open_language_model(tmp_path)
