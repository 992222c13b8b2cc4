"""Networks of published latencies, as ONNX graphs without weight values: transformers.

From the papers; see :mod:`benchmarks.data.published.convolutional`. Embeddings of tokens are looked up, which costs
next to nothing, and are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import onnx

from benchmarks.data.published.convolutional import Graph


def bert_large(length: int) -> onnx.ModelProto:
    """Devlin et al. 2018: 24 layers of width 1024 with 16 heads, and the two logits of SQuAD."""
    graph = Graph(length, 1024)
    graph.channels["x"] = 1024
    x = _normalized(graph, "x")
    for _ in range(24):
        x = _normalized(graph, graph.node("Add", _attention(graph, x, length, 16), x))
        x = _normalized(graph, graph.node("Add", _perceptron(graph, x), x))
    return graph.model(graph.linear(x, 2))


def vit(width: int, depth: int, side: int) -> onnx.ModelProto:
    """Dosovitskiy et al. 2020: patches of 16×16 pixels, heads of width 64."""
    graph = Graph(3, side, side)
    patches = (side // 16) ** 2
    tokens = patches + 1
    x = _patches(graph, width, 16, patches)
    # The class token has the shape of one patch more; it is learned, and concatenated.
    x = graph.node("Concat", graph.weight(1, 1, width), x, channels=width, axis=1)
    x = graph.node("Add", x, graph.weight(tokens, width))
    for _ in range(depth):
        x = graph.node("Add", _attention(graph, _normalized(graph, x), tokens, width // 64), x)
        x = graph.node("Add", _perceptron(graph, _normalized(graph, x)), x)
    x = graph.node("Gather", _normalized(graph, x), graph.integers(0), axis=1)
    return graph.model(graph.linear(x, 1000))


def swin(size: str) -> onnx.ModelProto:
    """Liu et al. 2021 at 224×224, windows of 7×7, heads of width 32; every second block shifts its windows."""
    width, depths = {"T": (96, (2, 2, 6, 2)), "B": (128, (2, 2, 18, 2)), "L": (192, (2, 2, 18, 2))}[size]
    graph, side, window = Graph(3, 224, 224), 56, 7
    x = _normalized(graph, _patches(graph, width, 4, side * side))
    for stage, depth in enumerate(depths):
        if stage:
            parts = graph.node("Reshape", x, graph.integers(1, side // 2, 2, side // 2, 2, width))
            parts = graph.node("Transpose", parts, perm=[0, 1, 3, 4, 2, 5])
            side //= 2
            x = graph.node("Reshape", parts, graph.integers(1, side * side, 4 * width), channels=4 * width)
            x, width = graph.linear(_normalized(graph, x), 2 * width, bias=False), 2 * width
        grid = side // window
        for _ in range(depth):
            y = graph.node(
                "Reshape", _normalized(graph, x), graph.integers(1, grid, window, grid, window, width)
            )
            y = graph.node("Transpose", y, perm=[0, 1, 3, 2, 4, 5])
            y = graph.node("Reshape", y, graph.integers(grid * grid, window * window, width), channels=width)
            y = _attention(graph, y, window * window, width // 32, batch=grid * grid)
            y = graph.node("Reshape", y, graph.integers(1, grid, grid, window, window, width))
            y = graph.node("Transpose", y, perm=[0, 1, 3, 2, 4, 5])
            y = graph.node("Reshape", y, graph.integers(1, side * side, width), channels=width)
            x = graph.node("Add", y, x)
            x = graph.node("Add", _perceptron(graph, _normalized(graph, x)), x)
    x = graph.node("ReduceMean", _normalized(graph, x), graph.integers(1), keepdims=0)
    return graph.model(graph.linear(x, 1000))


def _patches(graph: Graph, width: int, size: int, count: int) -> str:
    weight = graph.weight(width, 3, size, size)
    x = graph.node("Conv", "x", weight, graph.weight(width), channels=width, strides=[size, size])
    x = graph.node("Reshape", x, graph.integers(1, width, count))
    return graph.node("Transpose", x, channels=width, perm=[0, 2, 1])


def _normalized(graph: Graph, x: str) -> str:
    width = graph.channels[x]
    return graph.node("LayerNormalization", x, graph.weight(width), graph.weight(width), axis=-1)


def _attention(graph: Graph, x: str, tokens: int, heads: int, batch: int = 1) -> str:
    """Self-attention; ``batch`` counts windows."""
    width = graph.channels[x]

    def split(name: str, order: list[int]) -> str:
        parts = graph.node("Reshape", name, graph.integers(batch, tokens, heads, width // heads))
        return graph.node("Transpose", parts, perm=order)

    query, key, value = (
        split(graph.linear(x, width), order) for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    )
    shares = graph.node("Softmax", graph.node("MatMul", query, key), axis=-1)
    y = graph.node("Transpose", graph.node("MatMul", shares, value), perm=[0, 2, 1, 3])
    y = graph.node("Reshape", y, graph.integers(batch, tokens, width), channels=width)
    return graph.linear(y, width)


def _perceptron(graph: Graph, x: str) -> str:
    width = graph.channels[x]
    return graph.linear(graph.node("Gelu", graph.linear(x, 4 * width)), width)


TRANSFORMERS: dict[str, Callable[[], onnx.ModelProto]] = {
    "BERT-large 1x128": partial(bert_large, 128),
    "BERT-large 1x384": partial(bert_large, 384),
    "BERT-large SQuAD": partial(bert_large, 384),
    "ViT-B/16 224": partial(vit, 768, 12, 224),
    "ViT-B/16 384": partial(vit, 768, 12, 384),
    "ViT base": partial(vit, 768, 12, 224),
    "ViT large": partial(vit, 1024, 24, 224),
    **{f"Swin-{size}": partial(swin, size) for size in "TBL"},
}
