"""Exact rotations of a decoder, folded into its weights (QuaRot, arXiv 2404.00456; SpinQuant, arXiv 2405.16406).

A norm without a mean commutes with an orthogonal matrix Q once its scales stand elsewhere: they are folded into the
columns of the matrices behind it. Then

    embedding · Q,   (W · diag(scales)) · Q for what reads the residual,   Qᵀ · W for what is added to it

compute the same outputs. Inside an attention, the values of each key-value head are turned, and the output matrix
turned back. No outliers are left in the columns of the weights, so that fewer bits lose less.

The scales of the last norm cannot be folded into a head that shares the embedding. They are split into their mean m,
which stays a norm's, and the rest, which becomes a small matrix of its own between norm and head:

    head(x) with x = n + D · n,   n = m · h / |h|,   D = Qᵀ · diag(scales / m - 1) · Q
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compress.errors import RecipeError
from compress.language.matrices import EMBEDDING, HEAD, HEAD_TURN

if TYPE_CHECKING:
    from compress.language.config import DecoderConfig
    from compress.language.decoder_network import Parts

#: Rows that are turned at once, in float64.
_ROWS = 8192

#: Matrices that read the residual behind each of a layer's two norms, by their names in the layer.
_READ_FIRST = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_READ_SECOND = ("gate_proj", "up_proj", "gate", "shared_expert_gate")


def check_rotatable(config: DecoderConfig) -> None:
    """Refuse a decoder whose norms take a mean away.

    Raises:
        RecipeError: It is one, or its head is turned already.
    """
    if config.norm != "rms":
        raise RecipeError(
            "a decoder whose norms take no mean away, for rotate",
            f"one of family {config.family}",
            "leave rotate out of the recipe, or set residual = false",
        )
    if config.head_turn:
        raise RecipeError("one rotation of the residual in a recipe", "two", "remove one rotate")


def rotated(parts: Parts, *, residual: bool, heads: bool, seed: int = 0) -> Parts:
    """Return a decoder that computes the same with turned weights.

    Args:
        parts: The decoder.
        residual: Whether the values of a token between layers are turned.
        heads: Whether the values of each attention head are.
        seed: Seed of the signs and of the random parts of the matrices.

    Raises:
        RecipeError: The residual is to be turned, and the decoder's norms take a mean away.
    """
    if residual:
        check_rotatable(parts.config)
    random = np.random.default_rng(seed)
    config, arrays = parts.config, dict(parts.arrays())
    if heads:
        _turn_heads(config, arrays, random)
    if residual:
        turn = orthogonal(config.hidden, random)
        _fold_norms(config, arrays, turn)
        _turn_residual(arrays, turn)
        config = replace(config, head_turn=config.tied_head)
    return parts.changed(config, arrays, "rotated, which changes no output")


def orthogonal(size: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return a random orthogonal matrix [size, size].

    It is a Hadamard matrix of the largest power of two that divides the size, with random signs, times a random
    orthogonal matrix for the odd rest.

    Args:
        size: Number of rows.
        random: Generator of the random parts.
    """
    power = size & -size
    hadamard = np.ones((1, 1))
    while len(hadamard) < power:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    rest, _ = np.linalg.qr(random.normal(size=(size // power, size // power)))
    signs = random.choice((-1.0, 1.0), size)
    matrix: NDArray[np.float64] = signs[:, np.newaxis] * np.kron(rest, hadamard / power**0.5)
    return matrix


def _turn_heads(
    config: DecoderConfig, arrays: dict[str, NDArray[np.float32]], random: np.random.Generator
) -> None:
    """Turn the values of each key-value head, and what the output matrix takes of the query heads that it serves."""
    group, size = config.heads // config.kv_heads, config.head_dim
    for layer in range(config.layers):
        at = f"model.layers.{layer}.self_attn"
        turns = np.stack([orthogonal(size, random) for _ in range(config.kv_heads)])
        for kind in ("weight", "bias"):
            name = f"{at}.v_proj.{kind}"
            if name in arrays:
                values = arrays[name].reshape(config.kv_heads, size, -1)
                turned = np.einsum("hij,hik->hjk", turns, values.astype(np.float64))
                arrays[name] = turned.reshape(arrays[name].shape).astype(np.float32)
        name = f"{at}.o_proj.weight"
        outputs = arrays[name].reshape(config.hidden, config.kv_heads, group, size)
        turned = np.einsum("ohgi,hij->ohgj", outputs.astype(np.float64), turns)
        arrays[name] = turned.reshape(arrays[name].shape).astype(np.float32)


def _fold_norms(
    config: DecoderConfig, arrays: dict[str, NDArray[np.float32]], turn: NDArray[np.float64]
) -> None:
    """Move the scales of all norms into the matrices behind them, and turn what these matrices read."""
    for name in [name for name in arrays if name.endswith(".weight")]:
        norm = _norm_before(name)
        if norm is not None and arrays[name].ndim == 2:
            arrays[name] = _times(arrays[name], _scales(config, arrays, norm)[:, np.newaxis] * turn)
    scales, mean = _scales(config, arrays, "model.norm"), 1.0
    if config.tied_head:
        mean = float(scales.mean()) or 1.0
        arrays[f"{HEAD_TURN}.weight"] = (turn.T @ ((scales / mean - 1)[:, np.newaxis] * turn)).astype(
            np.float32
        )
    else:
        arrays[f"{HEAD}.weight"] = _times(arrays[f"{HEAD}.weight"], scales[:, np.newaxis] * turn)
    for name in arrays:
        if name.endswith("layernorm.weight"):
            arrays[name] = np.full(config.hidden, 1 - config.norm_offset, np.float32)
    arrays["model.norm.weight"] = np.full(config.hidden, mean - config.norm_offset, np.float32)


def _turn_residual(arrays: dict[str, NDArray[np.float32]], turn: NDArray[np.float64]) -> None:
    """Turn the embedding, and whatever is added to the residual."""
    arrays[f"{EMBEDDING}.weight"] = _times(arrays[f"{EMBEDDING}.weight"], turn)
    for name in arrays:
        owner, _, kind = name.rpartition(".")
        if owner.endswith(("o_proj", "down_proj")):
            values = arrays[name] if kind == "weight" else arrays[name][:, np.newaxis]
            arrays[name] = _times(values.T, turn).T.reshape(arrays[name].shape).copy()


def _norm_before(name: str) -> str | None:
    """Return the name of the norm whose result a matrix of a layer reads; None where it reads none."""
    if not name.startswith("model.layers."):
        return None
    at, owner = name.removesuffix(".weight").split(".", 3)[:3], name.removesuffix(".weight").split(".", 3)[3]
    if owner in _READ_FIRST:
        return f"{'.'.join(at)}.input_layernorm"
    if owner.startswith("mlp.") and owner.rpartition(".")[2] in _READ_SECOND:
        return f"{'.'.join(at)}.post_attention_layernorm"
    return None


def _scales(config: DecoderConfig, arrays: dict[str, NDArray[np.float32]], norm: str) -> NDArray[np.float64]:
    return arrays[f"{norm}.weight"].astype(np.float64) + config.norm_offset


def _times(values: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a product in float64, rounded once; a few rows at a time."""
    result = np.empty((len(values), matrix.shape[1]), np.float32)
    for start in range(0, len(values), _ROWS):
        result[start : start + _ROWS] = values[start : start + _ROWS].astype(np.float64) @ matrix
    return result
