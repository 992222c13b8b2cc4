"""The config of a decoder of any known family, from its config.json, or from fields that say the same."""

from __future__ import annotations

from pathlib import Path

from compress.errors import NetworkError
from compress.language.config import FAMILIES, DecoderConfig, check_family, read_fields
from compress.language.fields import Fields
from compress.language.gpt2 import gpt2_config
from compress.language.llama import llama_config


def read_config(directory: Path) -> DecoderConfig:
    """Read config.json, and the ends of answers from generation_config.json where that is there.

    Args:
        directory: Directory of a model as transformers saves it.

    Raises:
        NetworkError: The file is missing or wrong, or its architecture is not known.
        UntrustedFileError: The model would need code of its own.
    """
    return config_of(*read_fields(directory))


def config_of(fields: Fields, generation: Fields | None = None) -> DecoderConfig:
    """Make a decoder's record from the fields of a config.json.

    Args:
        fields: Fields of config.json.
        generation: Fields of generation_config.json; None where the model has none.

    Raises:
        NetworkError: A field is wrong, or the architecture is not known.
    """
    family = fields.text("model_type")
    if fields.values.get("is_encoder_decoder") is True and family not in FAMILIES:
        raise NetworkError(
            f"a decoder of a known family: {', '.join(FAMILIES)}",
            f"{fields.where}: '{family}', an encoder–decoder",
            "give --data, inputs with their answers" if family in ("t5", "whisper") else "choose a decoder",
        )
    check_family(family, fields.where)
    if fields.has("quantization_config"):
        raise NetworkError(
            "weights in float32, float16 or bfloat16",
            f"{fields.where}: 'quantization_config', so its weights are quantized already",
            "give the model that it was made from",
        )
    return (gpt2_config if family == "gpt2" else llama_config)(fields, generation)
