"""Norms of a decoder as nodes: of a residual to which a layer's change is added first, and of single heads."""

from __future__ import annotations

import numpy as np

from compress.language.config import DecoderConfig
from compress.language.graph_writer import GraphWriter
from compress.language.weights import Weights
from compress.quantization.weights.packing import DOMAIN


def add_norm(
    graph: GraphWriter, config: DecoderConfig, weights: Weights, name: str, residual: str, change: str
) -> tuple[str, str]:
    """Add a layer's change to the residual, if there is one, and return the norm of the sum, and the sum.

    Args:
        graph: Graph to add to.
        config: Config of the decoder.
        weights: Weights of the decoder.
        name: Name of the norm.
        residual: Name of the residual, float32 [batch, sequence, hidden].
        change: Name of what is added to it; empty where nothing is.
    """
    weight = graph.constant(f"{name}.weight", weights[f"{name}.weight"] + np.float32(config.norm_offset))
    total = f"{name}.residual"
    if config.norm == "layer":
        bias = graph.constant(f"{name}.bias", weights[f"{name}.bias"])
        if not change:
            inputs = [residual, weight, bias]
            return graph.node("LayerNormalization", inputs, name, axis=-1, epsilon=config.norm_eps), residual
        kind, inputs, between = "SkipLayerNormalization", [residual, change, weight, bias], ["", "", total]
    elif not change:
        return root_mean_square_norm(graph, config.norm_eps, name, residual, weight), residual
    else:
        kind, inputs, between = (
            "SkipSimplifiedLayerNormalization",
            [residual, change, weight],
            ["", "", total],
        )
    return graph.node(kind, inputs, name, domain=DOMAIN, more=between, epsilon=config.norm_eps), total


def root_mean_square_norm(graph: GraphWriter, norm_eps: float, name: str, source: str, weight: str) -> str:
    """Normalize the last axis of a tensor, in standard operators, which the runtime fuses into one of its own.

    That one, SimplifiedLayerNormalization, calls itself a standard operator and is none: with it, no checker of
    ONNX would take the graph.

    Args:
        graph: Graph to add to.
        norm_eps: Number added to the mean square before its root is taken.
        name: Name of the norm.
        source: Name of the tensor.
        weight: Name of the factors, float32 [size of the last axis].
    """
    two, epsilon, axis = (
        graph.constant(f"norm.{what}", np.array(value, dtype))
        for what, value, dtype in (
            ("two", 2, np.float32),
            ("epsilon", norm_eps, np.float32),
            ("axis", [-1], np.int64),
        )
    )
    squares = graph.node("Pow", [source, two], f"{name}.squares")
    mean = graph.node("ReduceMean", [squares, axis], f"{name}.mean", keepdims=1)
    root = graph.node("Sqrt", [graph.node("Add", [mean, epsilon], f"{name}.sum")], f"{name}.root")
    return graph.node("Mul", [graph.node("Div", [source, root], f"{name}.scaled"), weight], name)
