"""A mixture of experts without those that few tokens are sent to.

How much an expert is used is the sum of the shares that the tokens of texts have of it: its share in what comes out,
where a token is sent to it, and 0 where it is not. The rows of dropped experts leave the matrix that chooses, so their
tokens go to the best of those that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.errors import RecipeError
from compress.language.documents import PAST, fed
from compress.onnx_graph.sessions import open_session

if TYPE_CHECKING:
    from compress.language.config import DecoderConfig, Experts
    from compress.language.decoder_network import Parts


def expert_shares(parts: Parts, documents: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return how much each expert is used on texts, [layers, experts]; a layer's experts add up to 1.

    Layers without experts have zeros.

    Args:
        parts: The decoder.
        documents: Texts, each as ids of tokens, int64 [tokens].

    Raises:
        RecipeError: The decoder has no experts.
    """
    config, experts = parts.config, _experts(parts.config)
    layers = [layer for layer in range(config.layers) if config.has_experts(layer)]
    model = parts.model()
    names = [f"model.layers.{layer}.mlp.gate" for layer in layers]
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    shares = np.zeros((config.layers, experts.count))
    session = open_session(model)
    empty = {
        graph_input.name: np.zeros((1, graph_input.shape[1], 0, graph_input.shape[3]), np.float32)
        for graph_input in session.get_inputs()
        if graph_input.name.startswith(PAST)
    }
    for document in documents:
        logits = session.run(names, fed(document[None, : config.context], empty))
        for layer, rows in zip(layers, logits, strict=True):
            shares[layer] += _shares(rows.reshape(-1, experts.count), experts).sum(axis=0)
    totals = shares.sum(axis=1, keepdims=True)
    return np.asarray(shares / np.where(totals > 0, totals, 1))


def without_experts(parts: Parts, shares: NDArray[np.float64], kept: int) -> Parts:
    """Return a decoder with the most used experts of each layer, in the order in which they were.

    Args:
        parts: The decoder.
        shares: How much each expert is used; see :func:`expert_shares`.
        kept: Number of experts of each layer that stay, 1 or more; a token is sent to all of them where it was sent to
            more.
    """
    config, experts = parts.config, _experts(parts.config)
    arrays = {name: array for name, array in parts.arrays().items() if ".mlp.experts." not in name}
    for layer in range(config.layers):
        if not config.has_experts(layer):
            continue
        most = np.sort(np.argsort(-shares[layer], kind="stable")[:kept])
        at = f"model.layers.{layer}.mlp"
        arrays[f"{at}.gate.weight"] = arrays[f"{at}.gate.weight"][most]
        for new, old in enumerate(most):
            for part in ("gate_proj", "up_proj", "down_proj"):
                name = f"{at}.experts.{{}}.{part}.weight"
                arrays[name.format(new)] = parts.weights[name.format(old)]
    smaller = replace(experts, count=kept, chosen=min(experts.chosen, kept))
    what = f"{kept} of {experts.count} experts a layer left"
    return parts.changed(replace(config, experts=smaller), arrays, what)


def _shares(logits: NDArray[np.float32], experts: Experts) -> NDArray[np.float64]:
    """Return the share of each expert in what comes out for each token, [tokens, experts]."""
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    chosen = np.argsort(-shares, axis=1, kind="stable")[:, : experts.chosen]
    chosen_shares = np.zeros_like(shares)
    np.put_along_axis(chosen_shares, chosen, np.take_along_axis(shares, chosen, axis=1), axis=1)
    return (
        np.asarray(chosen_shares / chosen_shares.sum(axis=1, keepdims=True))
        if experts.renormalized
        else chosen_shares
    )


def _experts(config: DecoderConfig) -> Experts:
    if config.experts is None:
        raise RecipeError(
            "a mixture of experts, for drop_experts",
            f"a decoder of family {config.family}, which has none",
            "leave drop_experts out of the recipe",
        )
    return config.experts
