"""A tiny language model made without transformers, and sentences that it is judged on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.language.families import read_config
from compress.language.weights import expected_shapes

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
}

_WHO = ("the old engineer", "a small board", "the network", "nobody", "every kernel of the runtime")
_DOES = ("measures", "prunes", "reads", "waits for", "never trusts")
_WHAT = (
    "what was given",
    "4 bits of a weight",
    "the slow build",
    "a file of 12 MB",
    "the last release (2.13)",
)


def sentences(count: int, seed: int = 0) -> list[str]:
    """Texts of 3 to 9 sentences."""
    random = np.random.default_rng(seed)
    return [
        " ".join(
            f"{random.choice(_WHO)} {random.choice(_DOES)} {random.choice(_WHAT)}.\n"
            for _ in range(random.integers(3, 10))
        )
        for _ in range(count)
    ]


def small_model(directory: Path, **settings: Any) -> Path:
    """Write a directory with config.json, safetensors with random weights, and a tokenizer of its own."""
    tokenizers = pytest.importorskip("tokenizers")
    numpy = pytest.importorskip("safetensors.numpy")
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<end>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(50, seed=1), trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = CONFIG | {"vocab_size": tokenizer.get_vocab_size()} | settings
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    random = np.random.default_rng(0)
    weights = {
        name: np.ones(shape, np.float32)
        if len(shape) == 1
        else random.normal(0, 1.5 * shape[1] ** -0.5, shape).astype(np.float32)
        for name, shape in expected_shapes(read_config(directory)).items()
    }
    numpy.save_file(weights, directory / "model.safetensors")
    return directory


def json_lines(path: Path, texts: list[str]) -> Path:
    """Write texts as JSON lines."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path
