"""Encoder–decoders like T5: their config and their weights, from a directory as transformers saves it.

The encoder reads a whole input, each token seeing all others; the decoder writes the answer token by token and looks at
what the encoder made of the input. Both know how far apart tokens are by a learned number for each distance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.language.config import (
    ACTIVATIONS,
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
FAMILIES = ("t5",)

#: Largest number of distances that a model tells apart, as is believed.
_MOST_DISTANCES = 1 << 16

#: Names of the parts.
ENCODER, DECODER = "encoder", "decoder"


@dataclass(frozen=True)
class T5Config:
    """Sizes and kinds of the parts of an encoder–decoder.

    Attributes:
        hidden: Number of values of a token between layers.
        encoder_layers: Number of layers of the encoder.
        decoder_layers: Number of layers of the decoder.
        heads: Number of heads.
        head_dim: Number of values of a head.
        intermediate: Number of values inside a feed-forward part.
        vocabulary: Number of rows of the embedding.
        buckets: Number of learned numbers for distances; far distances share some.
        farthest: Distance from which all are alike.
        norm_eps: Number added to the mean square before its root is taken.
        activation: Activation function of the feed-forward parts.
        gated: Whether they multiply what the activation gives by a second product.
        tied_head: Whether the head that gives the logits has the embedding's weights.
        scaled_head: Whether what the head is given is divided by the root of ``hidden``.
        start: Id of the token that begins every answer.
        eos: Ids of the tokens that end an answer; may be empty.
    """

    hidden: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    buckets: int
    farthest: int
    norm_eps: float
    activation: str
    gated: bool
    tied_head: bool
    scaled_head: bool
    start: int
    eos: tuple[int, ...]

    def layers(self, part: str) -> int:
        """Return the number of layers of a part."""
        return self.encoder_layers if part == ENCODER else self.decoder_layers


@dataclass(frozen=True)
class T5Model:
    """An encoder–decoder as its files give it.

    Attributes:
        path: Directory.
        config: Config of the model.
        weights: Weights of the model, under the names of transformers.
    """

    path: Path
    config: T5Config
    weights: Weights


def open_t5(directory: Path) -> T5Model:
    """Open a directory as transformers saves it; its weights are checked for shape and not yet read.

    Raises:
        NetworkError: A file is missing, damaged, or of an architecture that is not known.
        UntrustedFileError: The model would need code of its own.
    """
    fields, generation = read_fields(directory, FAMILIES)
    check_family(fields.text("model_type"), fields.where, FAMILIES)
    tensors = SafetensorsFiles(directory)
    config = t5_config(fields, generation, tied_head="lm_head.weight" not in tensors.shapes())
    return T5Model(directory, config, Weights(t5_shapes(config), tensors))


def t5_config(fields: Fields, generation: Fields | None = None, *, tied_head: bool = True) -> T5Config:
    """Make the record of a T5.

    Args:
        fields: Fields of config.json.
        generation: Fields of generation_config.json; None where the model has none.
        tied_head: Whether the files hold no head of its own.

    Raises:
        NetworkError: A field is wrong.
    """
    form = fields.text("feed_forward_proj", "relu")
    gated = form.startswith("gated-")
    activation = "gelu_new" if form == "gated-gelu" else form.removeprefix("gated-")
    if activation not in ACTIVATIONS:
        names = ", ".join(ACTIVATIONS)
        raise fields.wrong("feed_forward_proj", f"an activation function of {names}, or gated- and one,")
    vocabulary = fields.count("vocab_size", MOST_TOKENS)
    encoder_layers = fields.count("num_layers", MOST_LAYERS)
    start = fields.tokens("decoder_start_token_id") or fields.tokens("pad_token_id") or (0,)
    if start[0] >= vocabulary:
        raise fields.wrong("decoder_start_token_id", f"the id of a token below 'vocab_size', {vocabulary},")
    buckets = fields.count("relative_attention_num_buckets", _MOST_DISTANCES, 32, least=4)
    farthest = fields.count("relative_attention_max_distance", _MOST_DISTANCES, 128)
    if buckets % 4 or farthest <= buckets // 2:
        raise fields.wrong(
            "relative_attention_num_buckets", "a multiple of 4, and half of it below the largest distance,"
        )
    return T5Config(
        hidden=fields.count("d_model", MOST_WIDTH),
        encoder_layers=encoder_layers,
        decoder_layers=fields.count("num_decoder_layers", MOST_LAYERS, encoder_layers),
        heads=fields.count("num_heads", MOST_HEADS),
        head_dim=fields.count("d_kv", 4096),
        intermediate=fields.count("d_ff", MOST_WIDTH),
        vocabulary=vocabulary,
        buckets=buckets,
        farthest=farthest,
        norm_eps=fields.number("layer_norm_epsilon", 0, 1, 1e-6),
        activation=ACTIVATIONS[activation],
        gated=gated,
        tied_head=tied_head,
        scaled_head=fields.flag("scale_decoder_outputs", fields.flag("tie_word_embeddings", True)),
        start=start[0],
        eos=ends(fields, generation, vocabulary)[1],
    )


def t5_shapes(config: T5Config) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that an encoder–decoder needs, by its name."""
    shapes: dict[str, tuple[int, ...]] = {"shared.weight": (config.vocabulary, config.hidden)}
    for part in (ENCODER, DECODER):
        shapes[f"{bias_name(part)}.weight"] = (config.buckets, config.heads)
        for layer in range(config.layers(part)):
            for name, outputs, inputs in _matrices(config, part, layer):
                shapes[f"{name}.weight"] = (outputs, inputs)
            for number in range(2 if part == ENCODER else 3):
                shapes[f"{part}.block.{layer}.layer.{number}.layer_norm.weight"] = (config.hidden,)
        shapes[f"{part}.final_layer_norm.weight"] = (config.hidden,)
    if not config.tied_head:
        shapes["lm_head.weight"] = (config.vocabulary, config.hidden)
    return shapes


def bias_name(part: str) -> str:
    """Return the name of a part's learned numbers for distances."""
    return f"{part}.block.0.layer.0.SelfAttention.relative_attention_bias"


def distance_table(config: T5Config, values: NDArray[np.float32], part: str) -> NDArray[np.float32]:
    """Return the learned number of each distance from a token to another, float32 [distances, heads].

    In the encoder the distances go from −``farthest`` to ``farthest``, later tokens positive; in the decoder from 0 to
    ``farthest``, backwards. Larger ones have the number of the largest.

    Args:
        config: Config of the model.
        values: Learned numbers, float32 [buckets, heads].
        part: The part, encoder or decoder.
    """
    farthest, buckets = config.farthest, config.buckets
    if part == DECODER:
        return values[_buckets(np.arange(farthest + 1), buckets, farthest)]
    distances = np.arange(-farthest, farthest + 1)
    half = buckets // 2
    return values[_buckets(np.abs(distances), half, farthest) + half * (distances > 0)]


def _buckets(distances: NDArray[np.int64], buckets: int, farthest: int) -> NDArray[np.int64]:
    """Return the bucket of each distance: near ones have their own, far ones share, in steps of a logarithm."""
    exact = buckets // 2
    ratio = np.maximum(distances, 1).astype(np.float32) / np.float32(exact)
    steps = np.log(ratio) / np.float32(math.log(farthest / exact)) * np.float32(buckets - exact)
    far = np.minimum(exact + steps.astype(np.int64), buckets - 1)
    return np.where(distances < exact, distances, far)


def _matrices(config: T5Config, part: str, layer: int) -> Iterator[tuple[str, int, int]]:
    """Yield name, outputs and inputs of each matrix of a layer."""
    at, inner, hidden = f"{part}.block.{layer}.layer", config.heads * config.head_dim, config.hidden
    attentions = ["0.SelfAttention", *(["1.EncDecAttention"] if part == DECODER else [])]
    for attention in attentions:
        for kind in ("q", "k", "v"):
            yield f"{at}.{attention}.{kind}", inner, hidden
        yield f"{at}.{attention}.o", hidden, inner
    dense = f"{at}.{len(attentions)}.DenseReluDense"
    for kind in ("wi_0", "wi_1") if config.gated else ("wi",):
        yield f"{dense}.{kind}", config.intermediate, hidden
    yield f"{dense}.wo", hidden, config.intermediate
