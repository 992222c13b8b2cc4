"""config.json of a stranger: what is right is read, and everything else ends in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import NetworkError, UntrustedFileError
from compress.language.config import DecoderConfig
from compress.language.families import config_of, read_config
from compress.language.fields import Fields
from compress.language.rope import Rope

SMOLLM2: dict[str, Any] = {
    "model_type": "llama",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "vocab_size": 49152,
}


def config(**changes: Any) -> DecoderConfig:
    return config_of(Fields(SMOLLM2 | changes, "config.json"))


def test_what_a_config_says():
    found = config()
    assert (found.hidden, found.layers, found.heads, found.kv_heads, found.head_dim) == (576, 30, 9, 3, 64)
    assert (found.intermediate, found.vocabulary, found.context) == (1536, 49152, 8192)
    assert found.rope == Rope(100000.0)
    assert found.tied_head
    assert (found.qkv_bias, found.output_bias, found.mlp_bias, found.qk_norm) == (False,) * 4
    assert (found.bos, found.eos) == (1, (2,))
    assert found.windows == (None,) * 30
    assert found.parameters == 134_479_872
    assert found.cache_bytes_per_token == 30 * 2 * 3 * 64 * 4


def test_the_families_differ():
    assert config(model_type="qwen2").qkv_bias
    assert not config(model_type="qwen2").output_bias
    assert config(model_type="qwen3", head_dim=128).qk_norm
    assert config(model_type="qwen3").head_dim == 128
    assert config(model_type="mistral", sliding_window=4096).windows == (4096,) * 30
    assert config(model_type="mistral", sliding_window=None).windows == (None,) * 30
    assert config(model_type="qwen2", sliding_window=4096).windows == (None,) * 30
    windows = config(model_type="qwen2", sliding_window=64, use_sliding_window=True, max_window_layers=29)
    assert windows.windows == (None,) * 29 + (64,)
    gemma = config(model_type="gemma", head_dim=64)
    assert (gemma.activation, gemma.norm_offset, gemma.embedding_scale) == ("gelu_tanh", 1.0, 24.0)


@pytest.mark.parametrize("name", ["rope_scaling", "rope_parameters"])
def test_stretched_positions(name: str):
    linear = config(**{name: {"rope_type": "linear", "factor": 2.0, "rope_theta": 100000.0}})
    assert linear.rope == Rope(100000.0, (2.0,) * 32)
    llama3 = {
        "rope_type": "llama3",
        "rope_theta": 100000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 1024,
    }
    divisors = config(**{name: llama3}).rope.divisors
    assert divisors is not None
    assert divisors[0] == 1  # 1024 / 2π turns
    assert divisors[-1] == pytest.approx(8)  # less than one turn
    assert list(divisors) == sorted(divisors)


def test_ends_of_answers_come_from_the_generation_config(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(SMOLLM2))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 5]}))
    assert read_config(tmp_path).eos == (2, 5)
    assert read_config(tmp_path).bos == 1


def test_an_unknown_architecture_names_the_closest(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(SMOLLM2 | {"model_type": "qwen"}))
    with pytest.raises(
        NetworkError, match=r"gemma, gpt2, llama, .*'qwen'; did you mean qwen3, qwen2 or qwen3_moe\?"
    ):
        read_config(tmp_path)


def test_code_that_comes_with_a_model_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(SMOLLM2 | {"auto_map": {"AutoModel": "model.Model"}}))
    with pytest.raises(UntrustedFileError, match="'auto_map' names Python code"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": -1}, r"a whole number from 1 to 1048576 in 'hidden_size'; found .* it is -1"),
        ({"hidden_size": True}, "it is True"),
        ({"hidden_size": 10**5000}, "a number of too many digits"),
        ({"num_hidden_layers": "30"}, "it is '30'"),
        ({"num_hidden_layers": 10**9}, "from 1 to 1024 in 'num_hidden_layers'"),
        ({"num_attention_heads": 7}, "a divisor of 'hidden_size', 576,"),
        ({"num_attention_heads": 24, "num_key_value_heads": 3}, "a multiple of 16 values"),
        ({"num_key_value_heads": 2}, "a divisor of 'num_attention_heads', 9,"),
        ({"vocab_size": None}, "'vocab_size'; found config.json: it is None"),
        ({"eos_token_id": 49152}, "ids of tokens below 'vocab_size'"),
        ({"eos_token_id": ["2"]}, "the id of a token"),
        ({"rms_norm_eps": float("nan")}, "'rms_norm_eps'; found config.json: it is nan"),
        ({"rope_theta": 0}, "a number from 1 to 1e"),
        ({"rope_scaling": {"type": "yarn", "factor": 2}}, "of kind default, linear, llama3; found .*'yarn'"),
        (
            {"rope_scaling": {"rope_type": "linear"}},
            r"'rope_scaling\.factor'; found config.json: it is missing",
        ),
        ({"rope_scaling": 3}, "an object with fields in 'rope_scaling'"),
        ({"hidden_act": "relu"}, "an activation function of silu"),
        ({"tie_word_embeddings": 1}, "true or false in 'tie_word_embeddings'"),
        ({"partial_rotary_factor": 0.5}, "the whole head turned"),
        (
            {"model_type": "bart", "is_encoder_decoder": True},
            "found .*'bart', an encoder–decoder; choose a decoder",
        ),
        (
            {"model_type": "t5", "is_encoder_decoder": True},
            "'t5', an encoder–decoder; give --data",
        ),
        ({"quantization_config": {"bits": 4}}, "its weights are quantized already"),
        (
            {"model_type": "qwen2", "sliding_window": 4, "use_sliding_window": True, "layer_types": ["x"]},
            "30",
        ),
    ],
)
def test_what_is_wrong_is_told(changes: dict[str, Any], message: str):
    with pytest.raises(NetworkError, match=message):
        config(**changes)


@pytest.mark.parametrize("content", ["", "{", "[]", '"llama"', "[" * 100_000, "\ufeff{}", "{}"])
def test_no_config(tmp_path: Path, content: str):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(NetworkError):
        read_config(tmp_path)


def test_no_directory(tmp_path: Path):
    with pytest.raises(NetworkError, match="No such file"):
        read_config(tmp_path / "nothing")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)
NAMES = [
    *SMOLLM2,
    "head_dim",
    "rope_parameters",
    "sliding_window",
    "use_sliding_window",
    "layer_types",
    "max_window_layers",
    "no_rope_layers",
    "attention_bias",
    "mlp_bias",
]


@given(
    family=st.sampled_from(["llama", "qwen2", "qwen3", "mistral", "gemma", "smollm3"]),
    changes=st.dictionaries(st.sampled_from(NAMES), ANYTHING, min_size=1, max_size=3),
)
def test_whatever_a_field_holds_is_read_or_refused_in_one_line(family: str, changes: dict[str, Any]):
    found = read_or_refused({"model_type": family} | changes)
    if isinstance(found, str):
        assert "\n" not in found
    else:
        assert found.heads % found.kv_heads == 0
        assert found.head_dim % 16 == 0
        assert len(found.windows) == len(found.rotary) == found.layers
        assert all(each < found.vocabulary for each in found.eos)


def read_or_refused(changes: dict[str, Any]) -> DecoderConfig | str:
    try:
        return config(**changes)
    except NetworkError as error:
        return str(error)
