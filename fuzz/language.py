"""A tiny decoder in the files that language models come in, and the readers of each."""

from __future__ import annotations

import io
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.corpus import Corpus

_CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 120,
    "max_position_embeddings": 32,
    "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": [0, 2],
}
_TOKENS = [
    "<end>",
    "<begin>",
    "<stop>",
    *map(chr, range(33, 127)),
    "Ċ",
    "Ġ",
    "th",
    "Ġth",
]


def _tensors() -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    from compress.language.families import config_of
    from compress.language.fields import Fields
    from compress.language.weights import expected_shapes

    shapes = expected_shapes(config_of(Fields(_CONFIG, "config.json")))
    return {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}


@cache
def configs() -> Corpus:
    """Settings of decoders, as transformers writes them since its release 5, and before."""
    before = {"rope_theta": 1e4, "rope_scaling": None, "sliding_window": 8, "model_type": "mistral"}
    return {"since": json.dumps(_CONFIG).encode(), "before": json.dumps(_CONFIG | before).encode()}


@cache
def weights() -> Corpus:
    """Weights of the decoder."""
    from safetensors.numpy import save

    return {"float32": save(_tensors())}


@cache
def tokenizers() -> Corpus:
    """A byte-level BPE."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {token: number for number, token in enumerate(_TOKENS)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h"), ("Ġ", "th")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(_TOKENS[:3])
    return {"bytes": made.to_str().encode()}


@cache
def ggufs() -> Corpus:
    """The decoder with its tokenizer as a GGUF file."""
    import struct

    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def entry(key: str, value: object) -> bytes:
        if isinstance(value, str):
            return text(key) + struct.pack("<I", 8) + text(value)
        if isinstance(value, float):
            return text(key) + struct.pack("<If", 6, value)
        if isinstance(value, list) and isinstance(value[0], str):
            return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        if isinstance(value, list):
            return text(key) + struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
        return text(key) + struct.pack("<II", 4, value)

    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 32,
        "llama.context_length": 32,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": _TOKENS,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(_TOKENS) - 3),
        "tokenizer.ggml.merges": ["t h", "Ġ th"],
        "tokenizer.ggml.eos_token_id": 2,
    }
    head, body = io.BytesIO(), io.BytesIO()
    tensors = _tensors()
    head.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    head.write(b"".join(entry(key, value) for key, value in metadata.items()))
    for name, values in tensors.items():
        called = name.replace("model.layers.", "blk.")
        for theirs, ours in names.items():
            called = called.replace(f"{theirs}.", f"{ours}.")
        head.write(text(called) + struct.pack(f"<I{values.ndim}Q", values.ndim, *values.shape[::-1]))
        head.write(struct.pack("<IQ", 0, body.tell()))
        body.write(values.tobytes())
    return {"float32": head.getvalue() + bytes(-head.tell() % 32) + body.getvalue()}


def read_gguf(path: Path) -> None:
    """Read a GGUF file whole."""
    _read(path)


def read_config(path: Path) -> None:
    """Read a directory with a damaged config.json."""
    _read(_directory(path, "config.json"))


def read_weights(path: Path) -> None:
    """Read a directory with damaged weights."""
    _read(_directory(path, "model.safetensors"))


def read_tokenizer(path: Path) -> None:
    """Read a directory with a damaged tokenizer.json."""
    _read(_directory(path, "tokenizer.json"))


def _directory(path: Path, name: str) -> Path:
    directory = path.with_name(f"{path.stem}.model")
    directory.mkdir(exist_ok=True)
    good = {
        "config.json": configs()["since"],
        "model.safetensors": weights()["float32"],
        "tokenizer.json": tokenizers()["bytes"],
    }
    for each, content in good.items():
        (directory / each).write_bytes(content)
    shutil.copyfile(path, directory / name)
    return directory


def _read(path: Path) -> None:
    from compress.language.graph import decoder_model
    from compress.language.tokenizer import open_tokenizer
    from compress.language.weights import open_language_model

    model = open_language_model(path)
    decoder_model(model.config, model.weights)
    open_tokenizer(model)
