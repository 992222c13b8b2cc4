"""Tiny decoders with random weights, made and saved by transformers, and what its own network computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 101,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

_EXPERTS: dict[str, Any] = {"num_experts": 5, "num_experts_per_tok": 3, "moe_intermediate_size": 32}

#: Decoders by what is particular about them: the family, and settings that differ from :data:`SIZES`.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, every head of its own": ("llama", {"num_key_value_heads": 4}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, frequencies of llama 3": ("llama", {"rope_theta": 500.0, "rope_scaling": LLAMA3}),
    "llama, linear": ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral, window": ("mistral", {"sliding_window": 4}),
    "qwen2": ("qwen2", {}),
    "qwen2, window in the second layer": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", {}),
    "gemma": ("gemma", {}),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0]}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "mixtral, window": ("mixtral", {"num_local_experts": 3, "num_experts_per_tok": 1, "sliding_window": 4}),
    "qwen2_moe": ("qwen2_moe", _EXPERTS | {"shared_expert_intermediate_size": 64}),
    "qwen3_moe": ("qwen3_moe", _EXPERTS | {"norm_topk_prob": True}),
    "qwen3_moe, every other layer": ("qwen3_moe", _EXPERTS | {"decoder_sparse_step": 2}),
    "qwen3_moe, but the last layer": ("qwen3_moe", _EXPERTS | {"mlp_only_layers": [1]}),
    "gpt2": ("gpt2", {"num_attention_heads": 6}),
    "gpt2, a head of its own": (
        "gpt2",
        {"num_attention_heads": 3, "tie_word_embeddings": False, "n_inner": 96},
    ),
    "gpt2, other activation": ("gpt2", {"num_attention_heads": 3, "activation_function": "gelu"}),
}

#: Names of settings that GPT-2 calls otherwise.
_OF_GPT2 = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
}
_WITHOUT = ("intermediate_size", "num_key_value_heads", "head_dim")

#: Families whose classes are not named by the family's own name.
_CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "gemma": "GemmaForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}


@dataclass(frozen=True)
class Tiny:
    """A decoder in a directory.

    Attributes:
        path: The directory.
        network: The network of transformers.
    """

    path: Path
    network: Any

    def logits(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits of texts [batch, sequence] without padding."""
        import torch

        with torch.no_grad():
            found: NDArray[np.float32] = self.network(torch.from_numpy(ids)).logits.numpy()
        return found


def tiny(path: Path, kind: str = "llama", max_shard_size: str = "5GB", **changes: Any) -> Tiny:
    """Make a decoder of one of :data:`KINDS`, with changed settings, and save it in a directory."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    family, settings = KINDS[kind]
    given = SIZES | settings | changes
    if family == "gpt2":
        given = {_OF_GPT2.get(name, name): value for name, value in given.items() if name not in _WITHOUT}
    made = getattr(transformers, _CLASSES.get(family, f"{family.title()}ForCausalLM"))
    config = made.config_class(**given)
    torch.manual_seed(0)
    network = made(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # as it is made, norms are ones and biases are zeros
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (0.5 if parameter.ndim == 1 else 0))
    network.save_pretrained(path, max_shard_size=max_shard_size)
    return Tiny(path, network)
