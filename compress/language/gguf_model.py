"""A decoder in a GGUF file: its config, and its tensors under the names and in the layout of transformers.

llama.cpp turns neighbouring values of a head where transformers turns those half a head apart, so files of the
architecture ``llama`` hold rows of queries and keys in another order, which is undone here. Files of ``gemma`` hold
norms with their 1 added.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.core.installation import imported
from compress.errors import NetworkError
from compress.language.config import DecoderConfig, check_family
from compress.language.families import config_of
from compress.language.fields import Fields
from compress.language.gguf_file import GgufFile, StoredTensor
from compress.language.rope import Rope

#: Architectures whose layout in these files is known; files of Mistral call themselves llama.
_FAMILIES = ("gemma", "gpt2", "llama", "qwen2", "qwen3")

#: Names outside of layers, and those inside of ``blk.N``, and what transformers calls them.
_OUTSIDE = {
    "token_embd": "model.embed_tokens",
    "position_embd": "model.embed_positions",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_INSIDE = {
    "attn_qkv": "self_attn.qkv_proj",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

#: Keys of the metadata behind the architecture's name, and the fields of config.json that hold the same.
_KEYS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "context_length": "max_position_embeddings",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "attention.sliding_window": "sliding_window",
}
_KEYS_OF_GPT2 = {
    "block_count": "n_layer",
    "embedding_length": "n_embd",
    "feed_forward_length": "n_inner",
    "context_length": "n_positions",
    "attention.head_count": "n_head",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
}

#: Tokens that end an answer: that of a text, and that of a turn in a conversation.
_ENDS = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")

_ROPE_FACTORS = "rope_freqs.weight"


def gguf_config(file: GgufFile) -> DecoderConfig:
    """Return the config of the decoder in a GGUF file.

    Raises:
        NetworkError: The metadata is wrong, or its architecture is not known.
    """
    where = str(file.path)
    metadata = Fields(file.metadata, where)
    family = metadata.text("general.architecture")
    check_family(family, where, _FAMILIES)
    if metadata.count("split.count", 1 << 16, 1, least=0) > 1:
        raise metadata.wrong("split.count", "1, the whole model in one file (gguf-split --merge),")
    if metadata.count(f"{family}.expert_count", 1 << 16, 0, least=0) > 0:
        raise metadata.wrong(f"{family}.expert_count", "no experts, which are read from safetensors alone,")
    keys = _KEYS_OF_GPT2 if family == "gpt2" else _KEYS
    settings = {name: file.metadata.get(f"{family}.{key}") for key, name in keys.items()}
    values: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    names = {_name(tensor) for tensor in file.tensors}
    values |= {
        "model_type": family,
        "vocab_size": _vocabulary(file),
        "tie_word_embeddings": "lm_head.weight" not in names,
        "attention_bias": "model.layers.0.self_attn.q_proj.bias" in names,
        "bos_token_id": file.metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": [file.metadata[key] for key in _ENDS if key in file.metadata],
    }
    config = config_of(Fields(values, where))
    turned = metadata.count(f"{family}.rope.dimension_count", config.head_dim, config.head_dim)
    if turned != config.head_dim:
        raise metadata.wrong(f"{family}.rope.dimension_count", f"{config.head_dim}, the whole head,")
    return _with_rope(config, file)


class GgufTensors:
    """The tensors of a GGUF file, under the names of transformers, turned into float32 when they are asked for.

    Args:
        file: The file.
        config: Config of its decoder.

    Raises:
        UnavailableError: The package ``gguf`` is not installed.
    """

    def __init__(self, file: GgufFile, config: DecoderConfig) -> None:
        _gguf()
        self.where = str(file.path)
        self._file = file
        self._config = config
        self._tensors = {_name(name): tensor for name, tensor in file.tensors.items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor by its name."""
        return {name: tensor.shape for name, tensor in self._tensors.items()}

    def check(self, name: str) -> None:
        """Refuse a tensor that is in a format that cannot be read, or behind the end of the file.

        Raises:
            NetworkError: It is.
        """
        kind, rows = _stored(self._file, self._tensors[name])
        self._file.content(self._tensors[name], math.prod(rows))
        _values(
            self._file, self._tensors[name], np.zeros((1, _gguf().GGML_QUANT_SIZES[kind][1]), np.uint8), kind
        )

    def read(self, name: str) -> NDArray[np.float32]:
        """Return a tensor that is there and can be read, as float32, in the layout of transformers."""
        values = dequantized(self._file, self._tensors[name])
        if self._config.family == "llama" and name.endswith(
            ("q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias")
        ):
            values = _halves(values, self._config.head_dim)
        if name.endswith("norm.weight"):
            values = values - np.float32(self._config.norm_offset)
        return values


def dequantized(file: GgufFile, tensor: StoredTensor) -> NDArray[np.float32]:
    """Return a tensor of a GGUF file as float32.

    Raises:
        NetworkError: Its format cannot be read, or the file is too short.
    """
    kind, rows = _stored(file, tensor)
    content = file.content(tensor, math.prod(rows)).reshape(rows)
    return np.asarray(_values(file, tensor, content, kind), np.float32).reshape(tensor.shape)


def _stored(file: GgufFile, tensor: StoredTensor) -> tuple[Any, tuple[int, ...]]:
    """Return the format of a tensor, and its shape in bytes."""
    gguf = _gguf()
    try:
        kind = gguf.GGMLQuantizationType(tensor.kind)
        block, size = gguf.GGML_QUANT_SIZES[kind]
    except (ValueError, KeyError) as error:
        raise _unreadable(file, tensor, f"number {tensor.kind}") from error
    if tensor.shape[-1] % block:
        raise _unreadable(file, tensor, f"{kind.name} in rows of {tensor.shape[-1]} values")
    return kind, (*tensor.shape[:-1], tensor.shape[-1] // block * size)


def _values(file: GgufFile, tensor: StoredTensor, content: NDArray[np.uint8], kind: Any) -> Any:
    """Return the values that bytes of a tensor stand for."""
    try:
        return _gguf().quants.dequantize(content, kind)
    except (NotImplementedError, ValueError) as error:
        raise _unreadable(file, tensor, kind.name) from error


def _halves(values: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """Undo the order of llama.cpp: rows 0, 1, 2, 3 … of a head are its rows 0, n / 2, 1, n / 2 + 1 …."""
    pairs = values.reshape(-1, head_dim // 2, 2, *values.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)


def _name(name: str) -> str:
    """Return what transformers calls a tensor; the name as it is where it has none there."""
    inside = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if inside is not None and inside[2] in _INSIDE:
        return f"model.layers.{inside[1]}.{_INSIDE[inside[2]]}.{inside[3]}"
    stem, _, kind = name.rpartition(".")
    return f"{_OUTSIDE[stem]}.{kind}" if stem in _OUTSIDE else name


def _vocabulary(file: GgufFile) -> int:
    """Return the number of rows of the embedding: not every file tells the size of its vocabulary."""
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise NetworkError(
            "a language model", f"{file.path}: no tensor 'token_embd.weight'", "name another file"
        )
    return embedding.shape[0]


def _with_rope(config: DecoderConfig, file: GgufFile) -> DecoderConfig:
    """Add the divisors of frequencies, which a file holds as a tensor, or as one number for all."""
    if config.rope is None:
        return config
    tensor = file.tensors.get(_ROPE_FACTORS)
    if tensor is not None:
        factors = dequantized(file, tensor)
        if factors.shape != (config.head_dim // 2,) or not (np.isfinite(factors) & (factors > 0)).all():
            problem = f"{file.path}: '{_ROPE_FACTORS}' of shape {list(factors.shape)}"
            raise NetworkError(
                f"{config.head_dim // 2} positive factors of frequencies", problem, "get the file again"
            )
        return replace(config, rope=Rope(config.rope.theta, tuple(map(float, factors))))
    fields = Fields(file.metadata, str(file.path))
    key = f"{config.family}.rope.scaling."
    kind = fields.text(f"{key}type", "none")
    if kind == "none":
        return config
    if kind != "linear":
        raise fields.wrong(f"{key}type", "none or linear")
    factor = fields.number(f"{key}factor", 1.0, 1e6)
    return replace(config, rope=Rope(config.rope.theta, (factor,) * (config.head_dim // 2)))


def _unreadable(file: GgufFile, tensor: StoredTensor, kind: str) -> NetworkError:
    return NetworkError(
        "weights in a format that the package gguf reads, such as Q8_0 or Q4_K",
        f"{file.path}: '{tensor.name}' in {kind}",
        "take a file in another format",
    )


def _gguf() -> Any:
    return imported("gguf", "language")
