"""Writing of a decoder as a directory that transformers and compress read: config.json, safetensors, tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.files import written_safely
from compress.core.replacing import scratch_beside
from compress.errors import NetworkError, OutputError
from compress.language.genai import tokenizer_config

if TYPE_CHECKING:
    from compress.language.config import DecoderConfig
    from compress.language.decoder_network import DecoderNetwork

WEIGHTS = "model.safetensors"

#: Names of transformers' classes that are not the family's with a capital letter.
_CLASSES = {"smollm3": "SmolLM3"}

#: Families whose config.json and tensors are named as those of LLaMA.
_WRITTEN = ("gemma", "llama", "mistral", "qwen2", "qwen3", "smollm3")


def check_directory(path: Path, given: Path) -> None:
    """Check, before any work is done, that a decoder may be written to a path.

    Args:
        path: Directory to make.
        given: Path of the model that is read.

    Raises:
        OutputError: It exists and is no empty directory, or is in none that exists, or has the ending of a file.
    """
    if path.suffix in (".pt2", ".onnx", ".gguf"):
        raise OutputError("a directory to write a language model to", str(path), "choose another --out")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError("a new directory to write", f"{path}, which is there", "choose another --out")
    if not path.absolute().parent.is_dir():
        raise OutputError(
            "a directory in one that exists", f"no directory {path.parent}", "choose another --out"
        )


def write_directory(network: DecoderNetwork, path: Path) -> Path:
    """Write a decoder; the directory appears whole or not at all.

    Args:
        network: The decoder.
        path: Directory to make.

    Returns:
        The file of its weights.

    Raises:
        NetworkError: Its family has other names of fields and tensors than LLaMA, or its rotary embedding is not known
            in the words of a config.json.
        OutputError: It cannot be written.
    """
    from safetensors.numpy import save_file

    parts, source_directory = network.parts, Path(network.origin.path)
    config_content = _config(parts.config, source_directory)
    files = {
        "config.json": json.dumps(config_content, indent=2),
        "tokenizer.json": parts.tokenizer.to_str(),
        "tokenizer_config.json": json.dumps(
            tokenizer_config(parts.config, parts.tokenizer, parts.template), indent=2
        ),
    }
    check_directory(path, source_directory)
    with written_safely(path), scratch_beside(path) as scratch:
        written = scratch / "model"
        written.mkdir()
        save_file(parts.arrays(), written / WEIGHTS, {"format": "pt"})
        for name, text in files.items():
            (written / name).write_text(text, encoding="utf-8")
        if path.is_dir():
            path.rmdir()
        shutil.move(written, path)
    return path / WEIGHTS


def _config(config: DecoderConfig, source_directory: Path) -> dict[str, Any]:
    """Return a config.json: the given model's own, with what has changed."""
    if config.family not in _WRITTEN:
        raise NetworkError(
            f"a decoder of a family that can be written: {', '.join(_WRITTEN)}",
            config.family,
            "ship it with compress optimize and a recipe",
        )
    if config.head_turn:
        raise NetworkError(
            "a decoder that config.json can tell of",
            "one with a matrix between its last norm and its head, as rotate leaves it",
            "ship it with compress optimize and a recipe",
        )
    path = source_directory / "config.json"
    content: dict[str, Any] = {}
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
    elif config.rope is not None and config.rope.divisors is not None:
        raise NetworkError(
            "a model with a config.json, for its rotary embedding",
            str(source_directory),
            "give the directory of the model",
        )
    else:
        content = _from_record(config)
    ends = list(config.eos)
    content |= {
        "hidden_size": config.hidden,
        "intermediate_size": list(config.widths) or config.intermediate,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocabulary,
        "bos_token_id": config.bos,
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
    }
    if any(window is not None for window in config.windows):
        content["layer_types"] = [
            "full_attention" if window is None else "sliding_attention" for window in config.windows
        ]
    else:
        content.pop("layer_types", None)
    if config.family == "smollm3":
        content["no_rope_layers"] = [int(turned) for turned in config.rotary]
    return content


def _from_record(config: DecoderConfig) -> dict[str, Any]:
    """Return the fields of a config.json that do not change, of a model that has none."""
    name = _CLASSES.get(config.family, config.family.title())
    windows = [window for window in config.windows if window is not None]
    return {
        "architectures": [f"{name}ForCausalLM"],
        "model_type": config.family,
        "hidden_act": "gelu_pytorch_tanh" if config.activation == "gelu_tanh" else config.activation,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": 10000.0 if config.rope is None else config.rope.theta,
        "tie_word_embeddings": config.tied_head,
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        "max_position_embeddings": config.context,
        "use_sliding_window": bool(windows),
        "sliding_window": windows[0] if windows else None,
    }
