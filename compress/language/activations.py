"""Activation functions as nodes."""

from __future__ import annotations

from compress.language.graph_writer import GraphWriter


def activate(graph: GraphWriter, kind: str, source: str, result: str) -> str:
    """Add an activation function and return the name of its result.

    Args:
        graph: Graph to add to.
        kind: One of the values of :data:`compress.language.config.ACTIVATIONS`.
        source: Name of what it is given.
        result: Name of its result.
    """
    if kind == "silu":
        return graph.node("Mul", [source, graph.node("Sigmoid", [source], f"{result}.sigmoid")], result)
    if kind == "relu":
        return graph.node("Relu", [source], result)
    return graph.node("Gelu", [source], result, approximate="tanh" if kind == "gelu_tanh" else "none")
