"""An encoder–decoder as a network, in ONNX form, with what is shipped beside each build of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import NetworkError
from compress.language.config import read_json
from compress.language.joined import joined
from compress.language.t5 import DECODER, ENCODER, open_t5, t5_shapes
from compress.language.t5_graph import t5_graph
from compress.language.tokenizer import FILE, check_tokens, read_tokenizer
from compress.language.whisper import open_whisper, whisper_shapes
from compress.language.whisper_graph import whisper_graph
from compress.network.formats.onnx_file import read_specs
from compress.network.network import ENCODER_DECODER, Network, Origin
from compress.onnx_graph.weights import exceeds_message

if TYPE_CHECKING:
    import onnx
    from tokenizers import Tokenizer

#: Families of encoder–decoders, by the name that config.json gives in ``model_type``.
FAMILIES = ("t5", "whisper")

#: Largest number of tokens of an answer of a T5, which has no limit of its own.
_CONTEXT = 1 << 16


def is_encoder_decoder(path: Path) -> bool:
    """Whether a directory holds an encoder–decoder of a known family."""
    config = path / "config.json"
    return config.is_file() and read_json(config).values.get("model_type") in FAMILIES


def load_encoder_decoder(path: Path, sha256: str) -> tuple[Network, Tokenizer, int, int]:
    """Load an encoder–decoder.

    Args:
        path: A directory as transformers saves it.
        sha256: Hash of its files.

    Returns:
        The network, its tokenizer, the largest number of tokens of an answer, and the token that begins each.

    Raises:
        NetworkError: A file is missing, damaged, or of a model that is not known.
        UntrustedFileError: The model would need code of its own.
        UnavailableError: A package that reads it is not installed.
    """
    model, vocabulary, context, start = _read(path)
    tokenizer = read_tokenizer(path)
    check_tokens(tokenizer, vocabulary, str(path / FILE))
    inputs, outputs = read_specs(model)
    origin = Origin(str(path), ENCODER_DECODER, sha256)
    program = (files("compress.language") / "text_to_text.py").read_text(encoding="utf-8")
    companions = {FILE: tokenizer.to_str(), "generation.py": program}
    network = Network(inputs=inputs, outputs=outputs, origin=origin, model=model, companions=companions)
    return network, tokenizer, context, start


def _read(path: Path) -> tuple[onnx.ModelProto, int, int, int]:
    """Return graph, number of tokens, context and first token of a model."""
    family = read_json(path / "config.json").text("model_type")
    if family == "t5":
        t5 = open_t5(path)
        _check_size(t5_shapes(t5.config), path)
        parts = [t5_graph(t5, part) for part in (ENCODER, DECODER)]
        return joined(*parts), t5.config.vocabulary, _CONTEXT, t5.config.start
    whisper = open_whisper(path)
    _check_size(whisper_shapes(whisper.config), path)
    parts = [whisper_graph(whisper, part) for part in (ENCODER, DECODER)]
    return joined(*parts), whisper.config.vocabulary, whisper.config.context, whisper.config.start


def _check_size(shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Refuse weights that one graph has no room for.

    Raises:
        NetworkError: They take 2 GiB or more in float32.
    """
    size = 4 * sum(math.prod(shape) for shape in shapes.values())
    if exceeds_message(size):
        raise NetworkError(
            "an encoder–decoder with less than 2 GiB of weights in float32",
            f"{path}: {size / 1e9:.3g} GB",
            "choose a smaller one",
        )
