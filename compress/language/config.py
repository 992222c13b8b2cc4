"""Sizes and kinds of a decoder's parts, as one record for all families, and what their readers share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.core.bounded_reading import read_text
from compress.core.suggestions import did_you_mean
from compress.errors import NetworkError, UntrustedFileError
from compress.language.fields import Fields
from compress.language.rope import Rope

#: Families by the name that config.json gives in ``model_type``.
FAMILIES = (
    "gemma",
    "gpt2",
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "smollm3",
)

#: Names of activation functions in config.json, and what they are here.
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}

#: Largest sizes that are believed: beyond those of any published model.
MOST_LAYERS, MOST_WIDTH, MOST_HEADS, MOST_CONTEXT = 1024, 1 << 20, 4096, 1 << 21

_MOST_BYTES = 16 << 20  # of a config.json


@dataclass(frozen=True)
class Experts:
    """The experts of a decoder's layers, some of which each token is sent to.

    Attributes:
        count: Number of experts of a layer.
        chosen: Number of experts that a token is sent to.
        intermediate: Number of values inside an expert.
        renormalized: Whether the shares of the chosen ones are made to add up to 1.
        shared: Number of values inside an expert that every token is sent to beside; None where there is none.
        layers: For each layer whether it has experts; the others have one feed-forward part.
    """

    count: int
    chosen: int
    intermediate: int
    renormalized: bool
    shared: int | None
    layers: tuple[bool, ...]


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes and kinds of a decoder's parts.

    Attributes:
        family: Family, one of :data:`FAMILIES`.
        hidden: Number of values of a token between layers.
        layers: Number of layers.
        heads: Number of query heads.
        kv_heads: Number of key and value heads; divides ``heads``.
        head_dim: Number of values of a head.
        intermediate: Number of values inside a layer's feed-forward part.
        vocabulary: Number of rows of the embedding: ids of tokens are below it.
        rope: Rotary embedding; None where no layer turns queries and keys.
        learned_positions: Whether the embedding of a token's position, which was learned, is added to its own.
        norm: Kind of the norms: ``rms``, or ``layer``, which takes the mean away and adds a bias.
        norm_eps: Number added to the mean square, or to the variance, before its root is taken.
        activation: Activation function of the feed-forward part: ``silu``, ``gelu``, ``gelu_tanh`` or ``relu``.
        gated: Whether the feed-forward part multiplies what the activation gives by a second product.
        tied_head: Whether the head that gives the logits has the embedding's weights.
        qkv_bias: Whether queries, keys and values have biases.
        output_bias: Whether the attention's output has a bias.
        mlp_bias: Whether the feed-forward part has biases.
        qk_norm: Whether each head of queries and keys is normalized.
        context: Largest number of tokens of prompt and answer together.
        windows: For each layer the number of last tokens that it attends to; None for all of them.
        rotary: For each layer whether positions turn its queries and keys.
        norm_offset: Number added to the weights of norms; 1 for Gemma, else 0.
        embedding_scale: Factor of the embedding; the root of ``hidden`` for Gemma, else 1.
        bos: Id of the token that begins a text; None where there is none.
        eos: Ids of the tokens that end an answer; may be empty.
        widths: Number of values inside the feed-forward part of each layer, where layers differ; empty where all have
            ``intermediate``, which is the largest of them.
        experts: Experts of the layers; None where no layer has them.
        head_turn: Whether the product of the last norm and a matrix is added to it before the head, as where a decoder
            with a tied head was rotated.
    """

    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    rope: Rope | None
    learned_positions: bool
    norm: str
    norm_eps: float
    activation: str
    gated: bool
    tied_head: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    context: int
    windows: tuple[int | None, ...]
    rotary: tuple[bool, ...]
    norm_offset: float
    embedding_scale: float
    bos: int | None
    eos: tuple[int, ...]
    widths: tuple[int, ...] = ()
    experts: Experts | None = None
    head_turn: bool = False

    def width(self, layer: int) -> int:
        """Return the number of values inside the feed-forward part of a layer."""
        return self.widths[layer] if self.widths else self.intermediate

    @property
    def parameters(self) -> int:
        """Number of weights in matrices; norms and biases are left out."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        inner = sum(self._inner(layer) for layer in range(self.layers))
        tables = (1 if self.tied_head else 2) * self.vocabulary + self.learned_positions * self.context
        turn = self.head_turn * self.hidden
        return self.layers * attention + (inner + tables + turn) * self.hidden

    def has_experts(self, layer: int) -> bool:
        """Whether the feed-forward part of a layer is a mixture of experts."""
        return self.experts is not None and self.experts.layers[layer]

    def _inner(self, layer: int) -> int:
        """Return the number of weights of a layer's feed-forward part, for each value of a token."""
        experts, matrices = self.experts, 3 if self.gated else 2
        if experts is None or not experts.layers[layer]:
            return matrices * self.width(layer)
        shared = 0 if experts.shared is None else matrices * experts.shared + 1
        return experts.count * (matrices * experts.intermediate + 1) + shared

    @property
    def cache_bytes_per_token(self) -> int:
        """Number of bytes of keys and values that one token adds to the cache, in float32."""
        return self.layers * 2 * self.kv_heads * self.head_dim * 4


def read_json(path: Path) -> Fields:
    """Read a JSON file that holds an object.

    Raises:
        NetworkError: The file is missing, too large or no such JSON.
    """
    wanted = f"a {path.name} of a language model"
    try:
        values = json.loads(read_text(path, _MOST_BYTES))
    except OSError as error:
        raise NetworkError(
            wanted, f"{path}: {error.strerror or error}", "name the model's directory"
        ) from error
    except (ValueError, RecursionError) as error:
        raise NetworkError(wanted, f"{path}: no JSON: {error}", "get the model again") from error
    if not isinstance(values, dict):
        raise NetworkError(wanted, f"{path}: JSON that is no object", "get the model again")
    return Fields(values, str(path))


def read_fields(directory: Path, known: Sequence[str] = FAMILIES) -> tuple[Fields, Fields | None]:
    """Read config.json, and generation_config.json where that is there, of a model that needs no code of its own.

    Args:
        directory: Directory of a model as transformers saves it.
        known: Names of the families that the caller reads, for the message.

    Returns:
        The fields of config.json, and those of generation_config.json; None where there is none.

    Raises:
        NetworkError: A file is missing or wrong.
        UntrustedFileError: The model would need code of its own.
    """
    path = directory / "config.json"
    fields = read_json(path)
    if fields.has("auto_map"):
        raise UntrustedFileError(
            "a model that needs no code of its own",
            f"{path}: 'auto_map' names Python code that came with it",
            f"choose a model of a known family: {', '.join(known)}",
        )
    generation = directory / "generation_config.json"
    return fields, read_json(generation) if generation.is_file() else None


def check_family(family: str, where: str, known: Sequence[str] = FAMILIES) -> None:
    """Refuse an architecture that is not known.

    Args:
        family: Name of the architecture.
        where: Name of the file, for the message.
        known: Names of those that can be read from such a file.

    Raises:
        NetworkError: It is none of these.
    """
    if family not in known:
        raise NetworkError(
            f"a decoder of a known family: {', '.join(known)}",
            f"{where}: '{family}'",
            did_you_mean(family, known) or "choose a model of one of these",
        )


def ends(fields: Fields, generation: Fields | None, vocabulary: int) -> tuple[int | None, tuple[int, ...]]:
    """Return the token that begins a text, and those that end an answer: generation_config.json is asked first."""
    id_groups: list[tuple[int, ...]] = []
    for name in ("bos_token_id", "eos_token_id"):
        source = generation if generation is not None and generation.has(name) else fields
        ids = source.tokens(name)
        if any(token >= vocabulary for token in ids):
            raise source.wrong(name, f"ids of tokens below 'vocab_size', {vocabulary},")
        id_groups.append(ids)
    (bos, eos) = id_groups
    return (bos[0] if bos else None), eos
