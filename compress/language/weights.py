"""Weights by name, one tensor at a time, with the shapes that the config gives; nothing that could run is read.

Names are those that transformers gives to LLaMA (``model.layers.0.self_attn.q_proj.weight``), whatever the file calls
them; what LLaMA lacks is named alike (``model.embed_positions.weight``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.core.suggestions import nearest
from compress.errors import NetworkError
from compress.language.config import DecoderConfig
from compress.language.families import read_config
from compress.language.gguf_file import GgufFile, is_gguf
from compress.language.gguf_model import GgufTensors, gguf_config
from compress.language.gpt2 import gpt2_tensors
from compress.language.mixture import mixtral_tensors
from compress.language.safetensors_files import SafetensorsFiles
from compress.language.tensors import Tensors

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")

#: Values that are checked at once.
_PIECE = 1 << 22


class Weights:
    """The tensors that a config asks for; all are there, in the right shape and in a type that can be read.

    Args:
        config: Config of the decoder, or the shape of each tensor that is needed, by its name.
        tensors: Tensors of the model; those that nothing asks for are left alone.

    Raises:
        NetworkError: A tensor is missing, has another shape, or is of a type that cannot be read.
    """

    def __init__(self, config: DecoderConfig | Mapping[str, tuple[int, ...]], tensors: Tensors) -> None:
        self._tensors = tensors
        self._shapes = expected_shapes(config) if isinstance(config, DecoderConfig) else dict(config)
        stored_shapes = tensors.shapes()
        for name, shape in self._shapes.items():
            if name not in stored_shapes:
                near = nearest(name, stored_shapes)
                problem = f"{tensors.where}: it is missing" + (f", and {near[0]} is there" if near else "")
                raise NetworkError(f"the tensor '{name}'", problem, "check the files against config.json")
            if stored_shapes[name] != shape:
                raise NetworkError(
                    f"'{name}' of shape {_told(shape)}, as the config says",
                    f"{tensors.where}: {_told(stored_shapes[name])}",
                    "check the files against config.json",
                )
            tensors.check(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Return a tensor; it is read from the file each time.

        Raises:
            NetworkError: It holds values that are not finite.
        """
        values = self._tensors.read(name)
        if not _all_finite(values):
            raise NetworkError(
                "finite weights",
                f"{self._tensors.where}: '{name}' holds NaN or infinity",
                "get the model again",
            )
        return values


@dataclass(frozen=True)
class LanguageModel:
    """A decoder as its files give it.

    Attributes:
        path: Directory, or GGUF file.
        config: Config of the decoder.
        weights: Weights of the decoder.
    """

    path: Path
    config: DecoderConfig
    weights: Weights


def open_language_model(path: Path) -> LanguageModel:
    """Open a directory as transformers saves it, or a GGUF file; its weights are checked for shape and not yet read.

    Raises:
        NetworkError: A file is missing, damaged, or of an architecture that is not known.
        UntrustedFileError: The model would need code of its own.
        UnavailableError: The package ``gguf`` is needed and not installed.
    """
    if path.is_dir():
        config = read_config(path)
        return LanguageModel(path, config, Weights(config, _named(config, SafetensorsFiles(path))))
    if not is_gguf(path):
        raise NetworkError(
            "a directory with config.json and safetensors, or a GGUF file",
            f"{path}: {'neither' if path.exists() else 'no such file or directory'}",
            "name the directory of the model",
        )
    file = GgufFile(path)
    config = gguf_config(file)
    return LanguageModel(path, config, Weights(config, _named(config, GgufTensors(file, config))))


def _named(config: DecoderConfig, stored: Tensors) -> Tensors:
    """Return the tensors of a file under the names that all families share."""
    named = {"gpt2": gpt2_tensors, "mixtral": mixtral_tensors}.get(config.family)
    return stored if named is None else named(stored)


def weight_files(path: Path) -> tuple[Path, ...]:
    """Return the files of a model that hold its weights, and their index."""
    if path.is_file():
        return (path,)
    return tuple(sorted(file for pattern in _WEIGHTS for file in path.glob(pattern)))


def expected_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that a decoder needs, by its name."""
    hidden = config.hidden
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocabulary, hidden)}
    if config.learned_positions:
        shapes["model.embed_positions.weight"] = (config.context, hidden)
    norm = ("weight", "bias") if config.norm == "layer" else ("weight",)
    for layer in range(config.layers):
        at = f"model.layers.{layer}."
        matrices = (
            ("self_attn.q_proj", queries, hidden, config.qkv_bias),
            ("self_attn.k_proj", keys, hidden, config.qkv_bias),
            ("self_attn.v_proj", keys, hidden, config.qkv_bias),
            ("self_attn.o_proj", hidden, queries, config.output_bias),
            *_inner_matrices(config, layer),
        )
        for name, outputs, inputs, biased in matrices:
            shapes[f"{at}{name}.weight"] = (outputs, inputs)
            if biased:
                shapes[f"{at}{name}.bias"] = (outputs,)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes |= {f"{at}{name}.{part}": (hidden,) for part in norm}
        if config.qk_norm:
            for name in ("q_norm", "k_norm"):
                shapes[f"{at}self_attn.{name}.weight"] = (config.head_dim,)
    shapes |= {f"model.norm.{part}": (hidden,) for part in norm}
    if config.head_turn:
        shapes["model.head_turn.weight"] = (hidden, hidden)
    if not config.tied_head:
        shapes["lm_head.weight"] = (config.vocabulary, hidden)
    return shapes


def _all_finite(values: NDArray[np.float32]) -> bool:
    flat = values.reshape(-1)
    return all(bool(np.isfinite(flat[start : start + _PIECE]).all()) for start in range(0, flat.size, _PIECE))


def _inner_matrices(config: DecoderConfig, layer: int) -> Iterator[tuple[str, int, int, bool]]:
    """Yield name, outputs, inputs and whether there is a bias of each matrix of a layer's feed-forward part."""
    hidden, experts = config.hidden, config.experts
    parts = [("mlp", config.width(layer))]
    if experts is not None and experts.layers[layer]:
        yield "mlp.gate", experts.count, hidden, False
        parts = [(f"mlp.experts.{number}", experts.intermediate) for number in range(experts.count)]
        if experts.shared is not None:
            yield "mlp.shared_expert_gate", 1, hidden, False
            parts.append(("mlp.shared_expert", experts.shared))
    for part, inner in parts:
        if config.gated:
            yield f"{part}.gate_proj", inner, hidden, config.mlp_bias
        yield f"{part}.up_proj", inner, hidden, config.mlp_bias
        yield f"{part}.down_proj", hidden, inner, config.mlp_bias


def _told(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"
