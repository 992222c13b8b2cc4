"""Networks of published latencies, as ONNX graphs without weight values: the YOLO families.

From the projects' model definitions; see :mod:`benchmarks.data.published.convolutional`. Suppression of overlapping
boxes is no part of the published times and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import onnx

from benchmarks.data.published.convolutional import Graph, scaled

#: Depth factor, width factor and widest layer before scaling, of Ultralytics' sizes.
_YOLO11_SIZES = {
    "n": (0.5, 0.25, 1024),
    "s": (0.5, 0.5, 1024),
    "m": (0.5, 1.0, 512),
    "l": (1.0, 1.0, 512),
    "x": (1.0, 1.5, 512),
}
_CLASSES = 80


def yolov8n() -> onnx.ModelProto:
    """Ultralytics' YOLOv8n at 640×640: C2f blocks, heads of dense convolutions, 16 bins a box edge."""
    graph = Graph(3, 640, 640, activation="Silu")
    x = _c2f(graph, graph.conv(graph.conv("x", 16, 3, 2), 32, 3, 2), 32, 1)
    p3 = _c2f(graph, graph.conv(x, 64, 3, 2), 64, 2)
    p4 = _c2f(graph, graph.conv(p3, 128, 3, 2), 128, 2)
    p5 = _pyramid_pooling(graph, _c2f(graph, graph.conv(p4, 256, 3, 2), 256, 1))
    n4 = _c2f(graph, graph.concat(graph.upsample(p5), p4), 128, 1, shortcut=False)
    n3 = _c2f(graph, graph.concat(graph.upsample(n4), p3), 64, 1, shortcut=False)
    n4 = _c2f(graph, graph.concat(graph.conv(n3, 64, 3, 2), n4), 128, 1, shortcut=False)
    n5 = _c2f(graph, graph.concat(graph.conv(n4, 128, 3, 2), p5), 256, 1, shortcut=False)
    return graph.model(*_heads(graph, (n3, n4, n5), bins=16, separable=False))


def yolo11(size: str, *, version: int = 11) -> onnx.ModelProto:
    """Ultralytics' YOLO11 at 640×640, and YOLO26, which has no bins and attention in its last block."""
    depth, factor, widest = _YOLO11_SIZES[size]
    newer, large = version == 26, size in "mlx"
    graph = Graph(3, 640, 640, activation="Silu")

    def width(channels: int) -> int:
        return (
            scaled(min(channels, widest), 1, 1) if factor == 1 else scaled(min(channels, widest) * factor, 1)
        )

    def block(x: str, channels: int, nested: bool, share: float = 0.5, attention: bool = False) -> str:
        repeats = 1 if attention else max(1, round(2 * depth))
        return _c3k2(graph, x, width(channels), repeats, nested or large, share, attention)

    x = graph.conv(graph.conv("x", width(64), 3, 2), width(128), 3, 2)
    x = block(x, 256, False, 0.25)
    p3 = block(graph.conv(x, width(256), 3, 2), 512, False, 0.25)
    p4 = block(graph.conv(p3, width(512), 3, 2), 512, True)
    x = block(graph.conv(p4, width(1024), 3, 2), 1024, True)
    p5 = _partial_attention(graph, _pyramid_pooling(graph, x), max(1, round(2 * depth)))
    n4 = block(graph.concat(graph.upsample(p5), p4), 512, newer)
    n3 = block(graph.concat(graph.upsample(n4), p3), 256, newer)
    n4 = block(graph.concat(graph.conv(n3, width(256), 3, 2), n4), 512, newer)
    n5 = block(graph.concat(graph.conv(n4, width(512), 3, 2), p5), 1024, True, attention=newer)
    return graph.model(*_heads(graph, (n3, n4, n5), bins=1 if newer else 16, separable=True))


def yolox(size: str, *, activation: str = "Silu") -> onnx.ModelProto:
    """Ge et al. 2021 at 640×640: CSPDarknet, a path aggregation network and decoupled heads."""
    depth, factor = {"small": (0.33, 0.5), "medium": (0.67, 0.75), "large": (1.0, 1.0)}[size]
    graph = Graph(3, 640, 640, activation=activation)

    def width(channels: int) -> int:
        return int(channels * factor)

    def block(x: str, channels: int, repeats: int = 3, *, shortcut: bool = False) -> str:
        half = width(channels) // 2
        y, skip = graph.conv(x, half), graph.conv(x, half)
        for _ in range(max(1, round(repeats * depth))):
            y = _bottleneck(graph, y, half, half, kernels=(1, 3), shortcut=shortcut)
        return graph.conv(graph.concat(y, skip), width(channels))

    focus = graph.node("SpaceToDepth", "x", blocksize=2, channels=12)
    x = block(graph.conv(graph.conv(focus, width(64), 3), width(128), 3, 2), 128, shortcut=True)
    p3 = block(graph.conv(x, width(256), 3, 2), 256, 9, shortcut=True)
    p4 = block(graph.conv(p3, width(512), 3, 2), 512, 9, shortcut=True)
    x = graph.conv(graph.conv(p4, width(1024), 3, 2), width(512))
    x = graph.concat(x, *(graph.pool(x, kernel, 1) for kernel in (5, 9, 13)))
    p5 = block(graph.conv(x, width(1024)), 1024)
    l5 = graph.conv(p5, width(512))
    l4 = graph.conv(block(graph.concat(graph.upsample(l5), p4), 512), width(256))
    n3 = block(graph.concat(graph.upsample(l4), p3), 256)
    n4 = block(graph.concat(graph.conv(n3, width(256), 3, 2), l4), 512)
    n5 = block(graph.concat(graph.conv(n4, width(512), 3, 2), l5), 1024)
    outputs = []
    for scale in (n3, n4, n5):
        stem = graph.conv(scale, width(256))
        classes, boxes = (graph.conv(graph.conv(stem, width(256), 3), width(256), 3) for _ in range(2))
        outputs += [
            graph.node("Sigmoid", graph.conv(classes, _CLASSES, activation="")),
            graph.conv(boxes, 4, activation=""),
            graph.node("Sigmoid", graph.conv(boxes, 1, activation="")),
        ]
    return graph.model(*outputs)


def _bottleneck(
    graph: Graph,
    x: str,
    width: int,
    out: int,
    *,
    kernels: tuple[int, int] = (3, 3),
    shortcut: bool = True,
) -> str:
    y = graph.conv(graph.conv(x, width, kernels[0]), out, kernels[1])
    return graph.node("Add", y, x) if shortcut else y


def _c2f(graph: Graph, x: str, out: int, repeats: int, *, shortcut: bool = True) -> str:
    parts = list(graph.split(graph.conv(x, out)))
    for _ in range(repeats):
        parts.append(_bottleneck(graph, parts[-1], out // 2, out // 2, shortcut=shortcut))
    return graph.conv(graph.concat(*parts), out)


def _c3k2(
    graph: Graph, x: str, out: int, repeats: int, nested: bool, share: float, attention: bool = False
) -> str:
    width = int(out * share)
    parts = list(graph.split(graph.conv(x, 2 * width)))
    for _ in range(repeats):
        y, half = parts[-1], width // 2
        if attention:
            y = _attention_block(graph, _bottleneck(graph, y, half, width))
        elif nested:
            inner = graph.conv(y, half)
            for _ in range(2):
                inner = _bottleneck(graph, inner, half, half)
            y = graph.conv(graph.concat(inner, graph.conv(y, half)), width)
        else:
            y = _bottleneck(graph, y, half, width)
        parts.append(y)
    return graph.conv(graph.concat(*parts), out)


def _pyramid_pooling(graph: Graph, x: str) -> str:
    pooled = [graph.conv(x, graph.channels[x] // 2)]
    for _ in range(3):
        pooled.append(graph.pool(pooled[-1], 5, 1))
    return graph.conv(graph.concat(*pooled), graph.channels[x])


def _partial_attention(graph: Graph, x: str, repeats: int) -> str:
    first, y = graph.split(graph.conv(x, graph.channels[x]))
    for _ in range(repeats):
        y = _attention_block(graph, y)
    return graph.conv(graph.concat(first, y), graph.channels[x])


def _attention_block(graph: Graph, x: str, positions: int = 400) -> str:
    """Attention over 20×20 positions with keys half as wide as values, then two 1×1 convolutions."""
    width = graph.channels[x]
    heads, side = width // 64, math.isqrt(positions)
    mixed = graph.conv(x, 2 * width, activation="")
    parts = graph.node("Reshape", mixed, graph.integers(1, heads, 128, positions))
    axis, ends = graph.integers(2), (0, 32, 64, 128)
    query, key, value = (
        graph.node("Slice", parts, graph.integers(low), graph.integers(high), axis)
        for low, high in pairwise(ends)
    )
    scores = graph.node("MatMul", graph.node("Transpose", query, perm=[0, 1, 3, 2]), key)
    shares = graph.node("Transpose", graph.node("Softmax", scores, axis=-1), perm=[0, 1, 3, 2])
    image = graph.integers(1, width, side, side)
    y = graph.node("Reshape", graph.node("MatMul", value, shares), image, channels=width)
    where = graph.node("Reshape", value, image, channels=width)
    y = graph.node("Add", graph.depthwise(where, 3, activation=""), y)
    x = graph.node("Add", graph.conv(y, width, activation=""), x)
    y = graph.conv(graph.conv(x, 2 * width), width, activation="")
    return graph.node("Add", y, x)


def _heads(graph: Graph, scales: tuple[str, ...], *, bins: int, separable: bool) -> list[str]:
    narrowest = graph.channels[scales[0]]
    box_width, class_width = max(16, narrowest // 4, 4 * bins), max(narrowest, min(_CLASSES, 100))
    outputs = []
    for scale in scales:
        y = graph.conv(graph.conv(scale, box_width, 3), box_width, 3)
        boxes = graph.conv(y, 4 * bins, activation="")
        y = scale
        for _ in range(2):
            y = graph.conv(graph.depthwise(y, 3), class_width) if separable else graph.conv(y, class_width, 3)
        classes = graph.node("Sigmoid", graph.conv(y, _CLASSES, activation=""))
        outputs += [graph.node("Softmax", boxes, axis=1) if bins > 1 else boxes, classes]
    return outputs


DETECTORS: dict[str, Callable[[], onnx.ModelProto]] = {
    "YOLOv8n": yolov8n,
    **{f"YOLO11{size}": partial(yolo11, size) for size in "nlx"},
    **{f"YOLO26{size}": partial(yolo11, size, version=26) for size in "nsml"},
    **{f"YOLOX {size}": partial(yolox, size) for size in ("small", "medium", "large")},
    "YOLOX-S-Leaky": partial(yolox, "small", activation="LeakyRelu"),
}
