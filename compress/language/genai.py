"""A directory that onnxruntime-genai loads: the decoder, its tokenizer, and genai_config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.replacing import replaced_whole
from compress.language.config import DecoderConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONFIG = "genai_config.json"

#: Families whose name stands for a graph of another form there; ``decoder`` is one of the form that is written here.
_TYPES = {"gpt2": "decoder", "mixtral": "decoder", "qwen2_moe": "decoder", "qwen3_moe": "decoder"}


def write_genai(
    directory: Path,
    config: DecoderConfig,
    tokenizer: Tokenizer,
    graph: str,
    context: int,
    chat_template: str | None = None,
) -> None:
    """Write what onnxruntime-genai needs beside a decoder: genai_config.json, and the tokenizer with its config.

    Args:
        directory: Directory of the decoder.
        config: Config of the decoder.
        tokenizer: Tokenizer of the decoder.
        graph: Name of the decoder's file in the directory.
        context: Largest number of tokens of prompt and answer, as the decoder was built.
        chat_template: Template by which a conversation becomes a prompt; None where the model has none.

    Raises:
        OutputError: A file cannot be written.
    """
    for name, text in genai_texts(config, tokenizer, graph, context, chat_template).items():
        with replaced_whole(directory / name) as path:
            path.write_text(text, encoding="utf-8")


def genai_texts(
    config: DecoderConfig, tokenizer: Tokenizer, graph: str, context: int, chat_template: str | None = None
) -> dict[str, str]:
    """Return the content of each file that :func:`write_genai` writes, by its name."""
    return {
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": json.dumps(tokenizer_config(config, tokenizer, chat_template), indent=2),
        CONFIG: json.dumps(genai_config(config, graph, context), indent=2),
    }


def tokenizer_config(
    config: DecoderConfig, tokenizer: Tokenizer, chat_template: str | None = None
) -> dict[str, Any]:
    """Return a tokenizer_config.json for runtimes that look for a class and for special tokens there."""
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.context,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": config.bos is not None and tokenizer.encode("a").ids[:1] == [config.bos],
    }
    if chat_template is not None:
        settings["chat_template"] = chat_template
    if config.bos is not None:
        settings["bos_token"] = tokenizer.id_to_token(config.bos)
    if config.eos:
        settings["eos_token"] = tokenizer.id_to_token(config.eos[0])
    return settings


def genai_config(config: DecoderConfig, graph: str, context: int) -> dict[str, Any]:
    """Return a genai_config.json: greedy, with a cache that is written to where it lies.

    Args:
        config: Config of the decoder.
        graph: Name of the decoder's file.
        context: Largest number of tokens of prompt and answer.
    """
    # It takes no null: a model without these tokens gets one that the vocabulary has.
    ends = list(config.eos) or [config.vocabulary - 1]
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": graph,
        "head_size": config.head_dim,
        "hidden_size": config.hidden,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.kv_heads,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }
    return {
        "model": {
            "type": _TYPES.get(config.family, config.family),
            "bos_token_id": ends[0] if config.bos is None else config.bos,
            "eos_token_id": ends if len(ends) > 1 else ends[0],
            "pad_token_id": ends[0],
            "context_length": context,
            "vocab_size": config.vocabulary,
            "decoder": decoder,
        },
        "search": {
            "do_sample": False,
            "max_length": context,
            "min_length": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            "past_present_share_buffer": True,
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "top_k": 1,
            "top_p": 1.0,
        },
    }
