"""GGUF files: the network in one is that of transformers, and damaged ones end in one line."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import NetworkError
from compress.language.gguf_file import GgufFile
from compress.language.weights import open_language_model
from tests.language.gguf_files import smollm2, write_gguf
from tests.language.tiny import Tiny, tiny

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def file(llama: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(llama, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.mark.parametrize("kind", ["llama", "llama, tied", "mistral", "qwen2", "qwen3", "gemma"])
def test_a_file_is_the_network_that_it_was_made_from(tmp_path: Path, kind: str):
    made = tiny(tmp_path / "directory", kind)
    found = open_language_model(write_gguf(made, tmp_path / "tiny.gguf"))
    wanted = open_language_model(made.path)
    for name in ("hidden", "layers", "heads", "kv_heads", "head_dim", "vocabulary", "context", "rope", "eos"):
        assert getattr(found.config, name) == getattr(wanted.config, name)
    for name in (
        "tied_head",
        "qkv_bias",
        "qk_norm",
        "activation",
        "norm_offset",
        "embedding_scale",
        "windows",
    ):
        assert getattr(found.config, name) == getattr(wanted.config, name)
    for name, values in made.network.state_dict().items():
        if name in wanted.weights:
            np.testing.assert_allclose(found.weights[name], values.numpy(), atol=3e-7)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q5_1", "F16", "BF16"])
def test_formats_of_weights(tmp_path: Path, kind: str):
    made = tiny(tmp_path, hidden_size=64)
    found = open_language_model(write_gguf(made, tmp_path / "tiny.gguf", kind)).weights
    name = "model.layers.0.mlp.up_proj.weight"
    wanted = made.network.state_dict()[name].numpy()
    number = gguf.GGMLQuantizationType[kind]
    np.testing.assert_array_equal(
        found[name], gguf.quants.dequantize(gguf.quants.quantize(wanted, number), number)
    )


def test_an_answer_ends_with_a_text_or_a_turn(llama: Tiny, tmp_path: Path):
    path = write_gguf(llama, tmp_path / "tiny.gguf", tokenizer__ggml__eot_token_id=7)
    assert open_language_model(path).config.eos == (2, 7)


def test_a_part_of_a_model_is_refused(llama: Tiny, tmp_path: Path):
    path = write_gguf(llama, tmp_path / "tiny.gguf", split__count=3)
    with pytest.raises(NetworkError, match=r"the whole model in one file .* 'split\.count'; found .*it is 3"):
        open_language_model(path)


def test_factors_of_frequencies_are_a_tensor(llama: Tiny, tmp_path: Path):
    factors = np.linspace(1, 8, 8, dtype=np.float32)
    state = llama.network.state_dict()

    class WithFactors:
        config = llama.network.config

        @staticmethod
        def state_dict() -> dict[str, Any]:
            import torch

            return state | {"rope_freqs.weight": torch.from_numpy(factors)}

    path = write_gguf(Tiny(llama.path, WithFactors), tmp_path / "tiny.gguf")
    divisors = open_language_model(path).config.rope.divisors
    assert divisors == pytest.approx(tuple(factors.tolist()))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"llama__rope__scaling__type": "yarn"}, r"none or linear in 'llama\.rope\.scaling\.type'"),
        ({"llama__expert_count": 8}, "no experts, which are read from safetensors alone,"),
        ({"llama__rope__dimension_count": 8}, "16, the whole head,"),
        ({"tokenizer__ggml__bos_token_id": 500}, "ids of tokens below 'vocab_size', 101"),
        ({"llama__attention__sliding_window": "x"}, None),
    ],
)
def test_metadata_that_is_wrong(llama: Tiny, tmp_path: Path, metadata: dict[str, Any], message: str | None):
    if message is None:
        open_language_model(write_gguf(llama, tmp_path / "tiny.gguf", **metadata))
        return
    if "tokenizer__ggml__bos_token_id" in metadata:
        path = write_gguf(llama, tmp_path / "tiny.gguf")
        key = b"tokenizer.ggml.bos_token_id"
        content = path.read_bytes()
        at = content.index(key) + len(key) + 4
        path.write_bytes(content[:at] + struct.pack("<I", 500) + content[at + 4 :])
    else:
        path = write_gguf(llama, tmp_path / "tiny.gguf", **metadata)
    with pytest.raises(NetworkError, match=message):
        open_language_model(path)


def test_an_architecture_that_is_not_known(file: Path, tmp_path: Path):
    path = tmp_path / "other.gguf"
    path.write_bytes(file.read_bytes().replace(b"llama", b"qwen4", 1).replace(b"llama", b"qwen4"))
    with pytest.raises(NetworkError, match="'qwen4'; did you mean"):
        open_language_model(path)


def test_a_format_that_cannot_be_read_is_named(file: Path, tmp_path: Path):
    content = file.read_bytes()
    name = b"blk.0.ffn_up.weight"
    at = content.index(name) + len(name) + 4 + 2 * 8
    for number, told in (
        (41, r"'blk\.0\.ffn_up\.weight' in number 41|in rows of"),
        (99, "in number 99"),
        (27, "in I64"),
    ):
        path = tmp_path / "other.gguf"
        path.write_bytes(content[:at] + struct.pack("<I", number) + content[at + 4 :])
        with pytest.raises(NetworkError, match=told):
            open_language_model(path)


@pytest.mark.parametrize("share", [0, 0.0001, 0.001, 0.01, 0.02, 0.03, 0.1, 0.5, 0.99])
def test_a_truncated_file(file: Path, tmp_path: Path, share: float):
    path = tmp_path / "short.gguf"
    path.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(NetworkError, match=r"whole GGUF file|a GGUF file|a directory with config\.json"):
        read_all(path)


def read_all(path: Path) -> None:
    model = open_language_model(path)
    for name in model.weights:
        _ = model.weights[name]


@settings(max_examples=200)
@given(at=st.integers(4, 3000), value=st.binary(min_size=1, max_size=8))
def test_whatever_the_header_holds_is_read_or_refused_in_one_line(
    file: Path, tmp_path_factory: pytest.TempPathFactory, at: int, value: bytes
):
    path = tmp_path_factory.getbasetemp() / "changed.gguf"
    content = file.read_bytes()
    path.write_bytes(content[:at] + value + content[at + len(value) :])
    try:
        open_language_model(path)
    except NetworkError as error:
        told = str(error)
    else:
        told = ""
    assert "\n" not in told


def test_counts_are_not_believed(tmp_path: Path):
    path = tmp_path / "many.gguf"
    key = struct.pack("<Q", 1) + b"a"
    many = (1 << 60) - 1
    for body in (
        struct.pack("<QQ", many, 0),
        struct.pack("<QQ", 0, many),
        struct.pack("<QQ", 0, 1) + key + struct.pack("<IIQ", 9, 4, many),
        struct.pack("<QQ", 0, 1) + key + struct.pack("<IIQ", 9, 8, many),
        struct.pack("<QQ", 0, 1) + key + struct.pack("<IIQ", 9, 9, many),
        struct.pack("<QQ", 0, 1) + struct.pack("<Q", many),
    ):
        path.write_bytes(b"GGUF" + struct.pack("<I", 3) + body)
        with pytest.raises(NetworkError, match="a whole GGUF file"):
            GgufFile(path)


def test_the_header_of_a_real_file():
    model = open_language_model(smollm2())
    assert (model.config.layers, model.config.hidden, model.config.tied_head) == (30, 576, True)
    assert model.config.parameters == 134_479_872
    assert model.weights["model.layers.29.self_attn.q_proj.weight"].shape == (576, 576)
