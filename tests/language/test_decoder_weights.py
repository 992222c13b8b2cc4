"""Weights of a directory: whole ones are read, and damaged ones end in one line before any work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.errors import NetworkError
from compress.language.weights import expected_shapes, open_language_model
from tests.language.tiny import KINDS, Tiny, tiny

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(tmp_path_factory.mktemp("shards"), max_shard_size="60KB")


def copy(made: Tiny, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.path, tmp_path / "model"))


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if not kind.startswith(("gpt2", "mixtral", "qwen2_moe", "qwen3_moe"))]
)
def test_a_config_asks_for_the_tensors_of_the_network(tmp_path: Path, kind: str):
    made = tiny(tmp_path, kind)
    state = {name: tuple(each.shape) for name, each in made.network.state_dict().items()}
    if made.network.config.tie_word_embeddings:
        del state["lm_head.weight"]
    assert expected_shapes(open_language_model(tmp_path).config) == state


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_are_those_of_the_network(tmp_path: Path, dtype: str):
    import torch

    made = tiny(tmp_path)
    network = made.network.to(getattr(torch, dtype))
    network.save_pretrained(tmp_path)
    weights = open_language_model(tmp_path).weights
    for name, values in network.state_dict().items():
        found = weights[name]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values.float().numpy())


def test_shards_are_one_model(shards: Tiny):
    assert len(list(shards.path.glob("*.safetensors"))) > 1
    weights = open_language_model(shards.path).weights
    for name, values in shards.network.state_dict().items():
        np.testing.assert_array_equal(weights[name], values.numpy())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "hidden_size",
            64,
            "'model.embed_tokens.weight' of shape 101×64, as the config says; found .*101×48",
        ),
        (
            "num_hidden_layers",
            3,
            "the tensor 'model.layers.2.self_attn.q_proj.weight'; found .*it is missing",
        ),
        ("attention_bias", True, "'model.layers.0.self_attn.q_proj.bias'"),
        ("num_key_value_heads", 4, "'model.layers.0.self_attn.k_proj.weight' of shape 64×48"),
    ],
)
def test_shapes_that_disagree_with_the_config(
    one: Tiny, tmp_path: Path, name: str, value: object, message: str
):
    path = copy(one, tmp_path)
    rewrite(path / "config.json", **{name: value})
    with pytest.raises(NetworkError, match=message):
        open_language_model(path)


def test_a_shard_that_is_missing(shards: Tiny, tmp_path: Path):
    path = copy(shards, tmp_path)
    name = sorted(path.glob("*.safetensors"))[1].name
    (path / name).unlink()
    with pytest.raises(NetworkError, match=rf"{name}: no such file"):
        open_language_model(path)


def test_a_tensor_that_the_index_lists_and_no_file_has(shards: Tiny, tmp_path: Path):
    path = copy(shards, tmp_path)
    index = json.loads((path / INDEX).read_text())
    index["weight_map"]["model.extra"] = sorted(path.glob("*.safetensors"))[0].name
    (path / INDEX).write_text(json.dumps(index))
    with pytest.raises(NetworkError, match=r"no tensor 'model\.extra'"):
        open_language_model(path)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../model.safetensors", "a/../../x", "..", "", "a\0b", 3, None]
)
def test_names_of_shards_stay_in_the_directory(shards: Tiny, tmp_path: Path, name: object):
    path = copy(shards, tmp_path)
    index = json.loads((path / INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = name
    (path / INDEX).write_text(json.dumps(index))
    with pytest.raises(NetworkError, match=r"a file in the same directory|no such file"):
        open_language_model(path)


@pytest.mark.parametrize("content", ["{}", "[]", '{"weight_map": {}}', '{"weight_map": []}', "x"])
def test_an_index_that_is_none(shards: Tiny, tmp_path: Path, content: str):
    path = copy(shards, tmp_path)
    (path / INDEX).write_text(content)
    with pytest.raises(NetworkError):
        open_language_model(path)


@pytest.mark.parametrize("share", [0, 0.0001, 0.01, 0.5, 0.999])
def test_a_truncated_file(one: Tiny, tmp_path: Path, share: float):
    path = copy(one, tmp_path)
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(NetworkError, match="wanted a whole safetensors file"):
        open_language_model(path)


def test_a_directory_without_weights_names_what_is_there(one: Tiny, tmp_path: Path):
    path = copy(one, tmp_path)
    (path / "model.safetensors").rename(path / "models.safetensors")
    with pytest.raises(NetworkError, match=r"no such file; did you mean models\.safetensors\?"):
        open_language_model(path)


def test_pickles_are_not_looked_at(one: Tiny, tmp_path: Path):
    path = copy(one, tmp_path)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(NetworkError, match=r"model\.safetensors: no such file"):
        open_language_model(path)


def test_weights_that_are_not_finite(tmp_path: Path):
    import torch

    made = tiny(tmp_path)
    with torch.no_grad():
        made.network.model.norm.weight[3] = float("nan")
    made.network.save_pretrained(tmp_path)
    with pytest.raises(NetworkError, match=r"'model\.norm\.weight' holds NaN or infinity"):
        _ = open_language_model(tmp_path).weights["model.norm.weight"]


def test_a_type_that_is_no_float(one: Tiny, tmp_path: Path):
    import torch
    from safetensors.torch import load_file, save_file

    path = copy(one, tmp_path)
    tensors = load_file(path / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(dtype=torch.int8)
    save_file(tensors, path / "model.safetensors")
    with pytest.raises(NetworkError, match=r"'model\.norm\.weight' of type I8"):
        open_language_model(path)


def test_neither_directory_nor_gguf(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"PK")
    with pytest.raises(NetworkError, match=r"found .*file: neither"):
        open_language_model(tmp_path / "file")
    with pytest.raises(NetworkError, match="no such file or directory"):
        open_language_model(tmp_path / "nothing")
