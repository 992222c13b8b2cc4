"""A directory that openvino-genai loads: the decoder, its ends of answers, and its tokenizer as OpenVINO's networks.

The tokenizer is converted by the package openvino_tokenizers, which reads transformers' own class of it. What it makes
is held against the tokenizer on a text: a tokenizer that it reads wrongly gives nonsense without a word.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.files import written_safely
from compress.errors import NetworkError, UnavailableError
from compress.language.config import DecoderConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Text on which the converted tokenizer has to give the same tokens: words, digits, marks, and what is not ASCII.
_SAMPLE = "The 12 cats, 345 in all, sat on naïve mats;\n\tthey did — übrigens — 6789 things."


def write_openvino_genai(
    directory: Path, config: DecoderConfig, tokenizer: Tokenizer, chat_template: str | None = None
) -> None:
    """Write what openvino-genai needs beside ``openvino_model.xml``.

    Args:
        directory: Directory of the decoder.
        config: Config of the decoder.
        tokenizer: Tokenizer of the decoder.
        chat_template: Template by which a conversation becomes a prompt; None where the model has none.

    Raises:
        UnavailableError: A package that converts the tokenizer is not installed.
        NetworkError: The tokenizer cannot be converted, or takes a text apart otherwise then.
        OutputError: A file cannot be written.
    """
    import openvino

    both = _converted(config, tokenizer, chat_template)
    _check(both[0], tokenizer)
    with written_safely(directory):
        for name, network in zip(("openvino_tokenizer", "openvino_detokenizer"), both, strict=True):
            openvino.save_model(network, str(directory / f"{name}.xml"))
        ends = {"eos_token_id": list(config.eos), "do_sample": False}
        if config.bos is not None:
            ends["bos_token_id"] = config.bos
        for name, content in (("generation_config", ends), ("config", {"model_type": config.family})):
            (directory / f"{name}.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


def _converted(config: DecoderConfig, tokenizer: Tokenizer, chat_template: str | None) -> tuple[Any, Any]:
    """Return the networks that take texts apart and join them again."""
    try:
        import openvino_tokenizers
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise UnavailableError(
            "openvino_tokenizers and transformers, which convert the tokenizer",
            str(error),
            "pip install openvino-tokenizers transformers",
        ) from error
    tokens: dict[str, str | None] = {}
    if config.eos:
        tokens["eos_token"] = tokenizer.id_to_token(config.eos[0])
    if config.bos is not None:
        tokens["bos_token"] = tokenizer.id_to_token(config.bos)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)
    wrapped.chat_template = chat_template
    try:
        taking_apart, joining = openvino_tokenizers.convert_tokenizer(wrapped, with_detokenizer=True)
    except Exception as error:  # the package raises what its converters happen to
        raise NetworkError(
            "a tokenizer that openvino_tokenizers converts",
            str(error).partition("\n")[0],
            "generate with compress.backends.openvino_generation, which takes it as it is",
        ) from error
    return taking_apart, joining


def _check(taking_apart: Any, tokenizer: Tokenizer) -> None:
    """Refuse a converted tokenizer that gives other tokens than the tokenizer does."""
    import openvino

    request = openvino.Core().compile_model(taking_apart, "CPU")
    tokens = request([_SAMPLE])["input_ids"][0].tolist()
    wanted = tokenizer.encode(_SAMPLE).ids
    if tokens != wanted:
        raise NetworkError(
            f"tokens {wanted} of the text that tokenizers are compared on, after openvino_tokenizers",
            str(tokens),
            "generate with compress.backends.openvino_generation, which takes the tokenizer as it is",
        )
