"""A decoder of text as a network, in ONNX form, with what is shipped beside each build of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from compress.language.config import FAMILIES
from compress.language.gguf_file import is_gguf
from compress.language.text_to_text_network import FAMILIES as ENCODER_DECODERS
from compress.language.text_to_text_network import is_encoder_decoder, load_encoder_decoder
from compress.language.tokenizer import chat_template, open_tokenizer
from compress.language.weights import open_language_model, weight_files
from compress.network.formats.directory import directory_of
from compress.network.formats.onnx_size import check_room
from compress.network.network import DECODER, Network, Origin
from compress.onnx_graph.files import sha256_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: What is read of a model's directory, beside its weights.
_SETTINGS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)

#: Endings of transformers' names of networks that generate text.
_GENERATIVE = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


def is_decoder(model: Any) -> TypeGuard[str | Path]:
    """Whether a model generates text: a GGUF file, or a directory whose config.json says so, of whichever family.

    Families that are not known are refused when the model is loaded.
    """
    if not isinstance(model, str | Path):
        return False
    path = Path(model)
    if path.is_file():
        return is_gguf(path)
    directory = directory_of(path)
    if directory is None or directory.library != "transformers":
        return False
    heads = directory.config.get("architectures")
    if not isinstance(heads, list):
        return directory.config["model_type"] in (*FAMILIES, *ENCODER_DECODERS)
    return any(str(head).endswith(_GENERATIVE) for head in heads)


@dataclass(frozen=True)
class LoadedDecoder:
    """A decoder, loaded.

    Attributes:
        network: The network in ONNX form.
        tokenizer: Its tokenizer.
        context: Largest number of tokens of a text, or of an answer.
        answer_start: Id of the token that begins every answer of an encoder–decoder; None for another one.
    """

    network: Network
    tokenizer: Tokenizer
    context: int
    answer_start: int | None = None


def load_decoder(path: Path) -> LoadedDecoder:
    """Load a decoder, or an encoder–decoder.

    Args:
        path: A directory as transformers saves it, or a GGUF file.

    Raises:
        NetworkError: A file is missing, damaged, or of a model that is not known.
        UntrustedFileError: The model would need code of its own.
        UnavailableError: A package that reads it is not installed.
    """
    from compress.language.decoder_network import DecoderNetwork, Parts

    if path.is_dir() and is_encoder_decoder(path):
        return LoadedDecoder(*load_encoder_decoder(path, _sha256(path)))
    language_model = open_language_model(path)
    check_room(4 * language_model.config.parameters, str(path))
    tokenizer = open_tokenizer(language_model)
    parts = Parts(language_model.config, language_model.weights, tokenizer, chat_template(language_model))
    network = DecoderNetwork(parts, Origin(str(path), DECODER, _sha256(path)))
    return LoadedDecoder(network, tokenizer, language_model.config.context)


def _sha256(path: Path) -> str:
    """Return one hash of all files that a decoder is read from."""
    if path.is_file():
        return sha256_of(path)
    read = [path / name for name in _SETTINGS if (path / name).is_file()]
    read += weight_files(path)
    listed = "".join(f"{sha256_of(file)}  {file.name}\n" for file in read)
    return hashlib.sha256(listed.encode()).hexdigest()
