"""Encoder–decoders like Whisper: their config and their weights, from a directory as transformers saves it.

The encoder reads the log-mel spectrum of half a minute of sound; the decoder writes what is said, token by token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compress.language.config import (
    ACTIVATIONS,
    MOST_CONTEXT,
    MOST_HEADS,
    MOST_LAYERS,
    MOST_WIDTH,
    check_family,
    ends,
    read_fields,
)
from compress.language.fields import MOST_TOKENS, Fields
from compress.language.safetensors_files import SafetensorsFiles
from compress.language.weights import Weights

#: Families that can be read, by the name that config.json gives in ``model_type``.
FAMILIES = ("whisper",)

#: Number that transformers adds to the variance in these models' norms.
NORM_EPS = 1e-5


@dataclass(frozen=True)
class WhisperConfig:
    """Sizes and kinds of the parts.

    Attributes:
        hidden: Number of values of a token between layers.
        bands: Number of bands of the spectrum.
        positions: Number of positions of the encoder; a spectrum has twice as many frames.
        context: Largest number of tokens of an answer.
        layers: Number of layers of encoder and decoder.
        heads: Number of heads of encoder and decoder.
        intermediate: Number of values inside the feed-forward parts of encoder and decoder.
        vocabulary: Number of rows of the decoder's embedding.
        activation: Activation function of the feed-forward parts.
        tied_head: Whether the head that gives the logits has the embedding's weights.
        start: Id of the token that begins every answer.
        eos: Ids of the tokens that end an answer; may be empty.
    """

    hidden: int
    bands: int
    positions: int
    context: int
    layers: tuple[int, int]
    heads: tuple[int, int]
    intermediate: tuple[int, int]
    vocabulary: int
    activation: str
    tied_head: bool
    start: int
    eos: tuple[int, ...]


@dataclass(frozen=True)
class WhisperModel:
    """A model as its files give it.

    Attributes:
        path: Directory.
        config: Config of the model.
        weights: Weights of the model, under the names of transformers.
    """

    path: Path
    config: WhisperConfig
    weights: Weights


def open_whisper(directory: Path) -> WhisperModel:
    """Open a directory as transformers saves it; its weights are checked for shape and not yet read.

    Raises:
        NetworkError: A file is missing, damaged, or of an architecture that is not known.
        UntrustedFileError: The model would need code of its own.
    """
    fields, generation = read_fields(directory, FAMILIES)
    check_family(fields.text("model_type"), fields.where, FAMILIES)
    tensors = SafetensorsFiles(directory)
    config = whisper_config(fields, generation)
    return WhisperModel(directory, config, Weights(whisper_shapes(config), tensors))


def whisper_config(fields: Fields, generation: Fields | None = None) -> WhisperConfig:
    """Make the record of a Whisper.

    Args:
        fields: Fields of config.json.
        generation: Fields of generation_config.json; None where the model has none.

    Raises:
        NetworkError: A field is wrong.
    """
    hidden = fields.count("d_model", MOST_WIDTH)
    sizes = {
        name: (fields.count(f"encoder_{name}", most), fields.count(f"decoder_{name}", most))
        for name, most in (
            ("layers", MOST_LAYERS),
            ("attention_heads", MOST_HEADS),
            ("ffn_dim", MOST_WIDTH),
        )
    }
    for part, heads in zip(("encoder", "decoder"), sizes["attention_heads"], strict=True):
        if hidden % heads:
            raise fields.wrong(f"{part}_attention_heads", f"a divisor of 'd_model', {hidden},")
    activation = fields.text("activation_function", "gelu")
    if activation not in ACTIVATIONS:
        raise fields.wrong("activation_function", f"an activation function of {', '.join(ACTIVATIONS)}")
    vocabulary = fields.count("vocab_size", MOST_TOKENS)
    return WhisperConfig(
        hidden=hidden,
        bands=fields.count("num_mel_bins", MOST_WIDTH),
        positions=fields.count("max_source_positions", MOST_CONTEXT),
        context=fields.count("max_target_positions", MOST_CONTEXT),
        layers=sizes["layers"],
        heads=sizes["attention_heads"],
        intermediate=sizes["ffn_dim"],
        vocabulary=vocabulary,
        activation=ACTIVATIONS[activation],
        tied_head=fields.flag("tie_word_embeddings", True),
        start=fields.count("decoder_start_token_id", vocabulary - 1, least=0),
        eos=ends(fields, generation, vocabulary)[1],
    )


def whisper_shapes(config: WhisperConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that a model needs, by its name."""
    hidden = config.hidden
    shapes: dict[str, tuple[int, ...]] = {
        "model.encoder.conv1.weight": (hidden, config.bands, 3),
        "model.encoder.conv1.bias": (hidden,),
        "model.encoder.conv2.weight": (hidden, hidden, 3),
        "model.encoder.conv2.bias": (hidden,),
        "model.encoder.embed_positions.weight": (config.positions, hidden),
        "model.decoder.embed_tokens.weight": (config.vocabulary, hidden),
        "model.decoder.embed_positions.weight": (config.context, hidden),
    }
    for number, part in enumerate(("model.encoder", "model.decoder")):
        for layer in range(config.layers[number]):
            for name, outputs, inputs, biased in _matrices(config, number):
                shapes[f"{part}.layers.{layer}.{name}.weight"] = (outputs, inputs)
                if biased:
                    shapes[f"{part}.layers.{layer}.{name}.bias"] = (outputs,)
            norms = ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")
            for norm in norms if number else norms[::2]:
                shapes |= {f"{part}.layers.{layer}.{norm}.{kind}": (hidden,) for kind in ("weight", "bias")}
        shapes |= {f"{part}.layer_norm.{kind}": (hidden,) for kind in ("weight", "bias")}
    if not config.tied_head:
        shapes["proj_out.weight"] = (config.vocabulary, hidden)
    return shapes


def _matrices(config: WhisperConfig, number: int) -> Iterator[tuple[str, int, int, bool]]:
    """Yield name, outputs, inputs and whether there is a bias of each matrix of a layer."""
    hidden, inner = config.hidden, config.intermediate[number]
    for attention in ("self_attn", "encoder_attn")[: number + 1]:
        for kind in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{attention}.{kind}", hidden, hidden, kind != "k_proj"
    yield "fc1", inner, hidden, True
    yield "fc2", hidden, inner, True
