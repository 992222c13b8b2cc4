"""Networks of published latencies, as ONNX graphs without weight values: convolutional ones.

Written from the papers and checked against the multiply-accumulate operations that the same publications state
(``tests/benchmarks/test_estimator_fit.py``). Only shapes matter, so an initializer has dimensions and no data: enough
for :func:`compress.onnx_graph.layers.layers`, which reads them as it reads a user's network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import onnx
from onnx import TensorProto, helper


class Graph:
    """Grows an ONNX graph; every method takes names of tensors and returns the name of its result.

    Args:
        shape: Shape of the image [3, height, width], or of embedded tokens [tokens, width]; batch 1 goes before it.
        activation: Activation behind a convolution: an ONNX operator, or ``Silu`` for x · sigmoid(x).
    """

    def __init__(self, *shape: int, activation: str = "Relu") -> None:
        self.activation = activation
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.channels = {"x": shape[0]}
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *shape])

    def node(self, op: str, *inputs: str, channels: int = 0, **attributes: Any) -> str:
        """Any operator; ``channels`` of its result are the first operand's unless given."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        self.channels[name] = channels or self.channels.get(inputs[0], 0)
        return name

    def weight(self, *shape: int) -> str:
        """A learned tensor of which only the shape is known."""
        name = f"w{len(self.weights)}"
        self.weights.append(TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT))
        return name

    def integers(self, *values: int) -> str:
        """A constant that an operator needs as an input: axes, sizes."""
        name = f"w{len(self.weights)}"
        self.weights.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    def act(self, x: str, activation: str | None = None) -> str:
        """An activation function; the graph's own unless another is named, none for the empty name."""
        match self.activation if activation is None else activation:
            case "":
                return x
            case "Silu":
                return self.node("Mul", x, self.node("Sigmoid", x))
            case op:
                return self.node(op, x)

    def conv(
        self,
        x: str,
        out: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        dilation: int = 1,
        activation: str | None = None,
    ) -> str:
        """A convolution with folded batch normalisation, and what follows it; "same" padding."""
        pad = dilation * (kernel - 1) // 2
        weight = self.weight(out, self.channels[x] // groups, kernel, kernel)
        y = self.node(
            "Conv",
            x,
            weight,
            self.weight(out),
            channels=out,
            strides=[stride] * 2,
            pads=[pad] * 4,
            dilations=[dilation] * 2,
            group=groups,
        )
        return self.act(y, activation)

    def depthwise(self, x: str, kernel: int, stride: int = 1, activation: str | None = None) -> str:
        """A convolution of each channel by itself."""
        channels = self.channels[x]
        return self.conv(x, channels, kernel, stride, groups=channels, activation=activation)

    def pool(self, x: str, kernel: int, stride: int, op: str = "MaxPool") -> str:
        """Pooling with "same" padding."""
        pad = (kernel - 1) // 2
        return self.node(op, x, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)

    def concat(self, *inputs: str) -> str:
        """Along the channels."""
        return self.node("Concat", *inputs, channels=sum(self.channels[name] for name in inputs), axis=1)

    def split(self, x: str) -> tuple[str, str]:
        """Two halves of the channels."""
        half = self.channels[x] // 2
        axes = self.integers(1)
        first = self.node("Slice", x, self.integers(0), self.integers(half), axes, channels=half)
        return first, self.node("Slice", x, self.integers(half), self.integers(2 * half), axes, channels=half)

    def upsample(self, x: str, factor: int = 2) -> str:
        """Return a tensor enlarged by nearest neighbours."""
        scales = helper.make_tensor(f"s{len(self.weights)}", TensorProto.FLOAT, [4], [1, 1, factor, factor])
        self.weights.append(scales)
        return self.node("Resize", x, "", scales.name, mode="nearest")

    def squeeze_excite(self, x: str, width: int, activation: str, gate: str) -> str:
        """Channels weighted by a network of their means (Hu et al. 2018)."""
        weights = self.conv(self.node("GlobalAveragePool", x), width, activation=activation)
        return self.node("Mul", x, self.conv(weights, self.channels[x], activation=gate))

    def linear(self, x: str, out: int, bias: bool = True) -> str:
        """A dense layer over the last axis; ``channels`` is that axis."""
        y = self.node("MatMul", x, self.weight(self.channels[x], out), channels=out)
        return self.node("Add", y, self.weight(out)) if bias else y

    def classifier(self, x: str, classes: int = 1000) -> str:
        """Mean over the image and a dense layer."""
        return self.linear(self.node("Flatten", self.node("GlobalAveragePool", x)), classes)

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The finished graph."""
        found = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "network", [self.input], found, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def resnet(depth: int, *, squeeze: bool = False) -> onnx.ModelProto:
    """He et al. 2015 (v1.5: the 3×3 convolution has the stride), with Hu et al.'s squeeze-and-excitation."""
    graph = Graph(3, 224, 224)
    x, _ = _residual_stages(graph, depth, squeeze=squeeze)
    return graph.model(graph.classifier(x))


def _residual_stages(
    graph: Graph, depth: int, *, squeeze: bool = False, dilated: bool = False, stem: int = 1
) -> tuple[str, str]:
    """The stages of a ResNet: the last one's result, and the one's before it."""
    blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[depth]
    x = graph.conv("x", 64, 7, 2) if stem == 1 else _deep_stem(graph)
    x, before = graph.pool(x, 3, 2), ""
    for stage, count in enumerate(blocks):
        width, before = 64 * 2**stage, x
        for index in range(count):
            stride = 2 if stage and not index else 1
            dilation = 1
            if dilated and stage >= 2:
                # Dilation in place of the last two strides; a stage's first block keeps the previous one.
                stride, dilation = 1, 2 ** (stage - 1 - (index == 0))
            out = width if depth < 50 else 4 * width
            skip = x
            if stride > 1 or graph.channels[x] != out:
                skip = graph.conv(x, out, 1, stride, activation="")
            if depth < 50:
                y = graph.conv(x, width, 3, stride)
                y = graph.conv(y, width, 3, activation="")
            else:
                y = graph.conv(graph.conv(x, width), width, 3, stride, dilation=dilation)
                y = graph.conv(y, out, activation="")
            if squeeze:
                y = graph.squeeze_excite(y, out // 16, "Relu", "Sigmoid")
            x = graph.act(graph.node("Add", y, skip))
    return x, before


def _deep_stem(graph: Graph) -> str:
    return graph.conv(graph.conv(graph.conv("x", 32, 3, 2), 32, 3), 64, 3)


def fcn() -> onnx.ModelProto:
    """A dilated ResNet-50 with a convolutional head (Long et al. 2015) in MMSegmentation's shape."""
    graph = Graph(3, 512, 1024)
    x, _ = _residual_stages(graph, 50, dilated=True, stem=3)
    y = graph.conv(graph.conv(x, 512, 3), 512, 3)
    y = graph.conv(graph.concat(x, y), 512, 3)
    return graph.model(
        graph.node("ReduceMax", graph.upsample(graph.conv(y, 19, activation=""), 8), graph.integers(1))
    )


def pspnet() -> onnx.ModelProto:
    """A dilated ResNet-50 with pyramid pooling (Zhao et al. 2017) in MMSegmentation's shape."""
    graph = Graph(3, 512, 1024)
    x, _ = _residual_stages(graph, 50, dilated=True, stem=3)
    # Pooled to 1, 2, 4 and 8 positions a side; the paper's 1, 2, 3 and 6 do not divide this image.
    pyramid = [
        graph.node("Resize", graph.conv(_mean(graph, x, side), 512), "", "", graph.integers(1, 512, 64, 128))
        for side in (1, 2, 4, 8)
    ]
    y = graph.conv(graph.concat(x, *pyramid), 512, 3)
    return graph.model(
        graph.node("ReduceMax", graph.upsample(graph.conv(y, 19, activation=""), 8), graph.integers(1))
    )


def _mean(graph: Graph, x: str, side: int) -> str:
    size = [64 // side, 128 // side]
    return graph.node("AveragePool", x, kernel_shape=size, strides=size)


def ssd_mobilenet() -> onnx.ModelProto:
    """MobileNet v1 at 300×300 (Howard et al. 2017) with SSD's heads (Liu et al. 2016), without suppression."""
    graph = Graph(3, 300, 300, activation="Clip")
    x = graph.conv("x", 32, 3, 2)
    scales = []
    for out, stride in (
        *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        *((512, 1),) * 5,
        *((1024, 2), (1024, 1)),
    ):
        if out == 1024 and stride == 2:
            scales.append(x)
        x = graph.conv(graph.depthwise(x, 3, stride), out)
    scales.append(x)
    for width, out in ((256, 512), (128, 256), (128, 256), (64, 128)):
        x = graph.conv(graph.conv(x, width), out, 3, 2)
        scales.append(x)
    boxes = []
    for index, scale in enumerate(scales):
        anchors = 6 if index else 3
        boxes += [graph.conv(scale, anchors * each, activation="") for each in (4, 91)]
    return graph.model(*boxes)


def mobilenet_v3(size: str) -> onnx.ModelProto:
    """Howard et al. 2019, tables 1 and 2; kernel, expansion, out, squeeze-and-excitation, activation, stride."""
    relu, swish = "Relu", "HardSwish"
    rows: dict[str, list[tuple[int, int, int, bool, str, int]]] = {
        "large": [
            *((3, 16, 16, False, relu, 1), (3, 64, 24, False, relu, 2), (3, 72, 24, False, relu, 1)),
            *((5, 72, 40, True, relu, 2), (5, 120, 40, True, relu, 1), (5, 120, 40, True, relu, 1)),
            *((3, 240, 80, False, swish, 2), (3, 200, 80, False, swish, 1), (3, 184, 80, False, swish, 1)),
            *((3, 184, 80, False, swish, 1), (3, 480, 112, True, swish, 1), (3, 672, 112, True, swish, 1)),
            *((5, 672, 160, True, swish, 2), (5, 960, 160, True, swish, 1), (5, 960, 160, True, swish, 1)),
        ],
        "small": [
            *((3, 16, 16, True, relu, 2), (3, 72, 24, False, relu, 2), (3, 88, 24, False, relu, 1)),
            *((5, 96, 40, True, swish, 2), (5, 240, 40, True, swish, 1), (5, 240, 40, True, swish, 1)),
            *((5, 120, 48, True, swish, 1), (5, 144, 48, True, swish, 1), (5, 288, 96, True, swish, 2)),
            *((5, 576, 96, True, swish, 1), (5, 576, 96, True, swish, 1)),
        ],
    }
    graph = Graph(3, 224, 224, activation=swish)
    x = graph.conv("x", 16, 3, 2)
    for kernel, width, out, squeeze, activation, stride in rows[size]:
        y = x if width == graph.channels[x] else graph.conv(x, width, activation=activation)
        y = graph.depthwise(y, kernel, stride, activation)
        if squeeze:
            y = graph.squeeze_excite(y, _divisible(width / 4), "Relu", "HardSigmoid")
        y = graph.conv(y, out, activation="")
        x = graph.node("Add", y, x) if stride == 1 and out == graph.channels[x] else y
    x = graph.conv(x, 6 * graph.channels[x])
    x = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    x = graph.act(graph.linear(x, {"large": 1280, "small": 1024}[size]))
    return graph.model(graph.linear(x, 1000))


def _divisible(width: float, by: int = 8) -> int:
    rounded = max(by, int(width + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * width else rounded


def efficientnet_b0() -> onnx.ModelProto:
    """Tan and Le 2019, table 1; kernel, expansion, out, blocks, stride."""
    graph = Graph(3, 224, 224, activation="Silu")
    x = graph.conv("x", 32, 3, 2)
    for kernel, expansion, out, blocks, stride in (
        *((3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2)),
        *((5, 6, 112, 3, 1), (5, 6, 192, 4, 2), (3, 6, 320, 1, 1)),
    ):
        for index in range(blocks):
            narrow = graph.channels[x]
            y = graph.conv(x, expansion * narrow) if expansion > 1 else x
            y = graph.depthwise(y, kernel, 1 if index else stride)
            y = graph.squeeze_excite(y, narrow // 4, "Silu", "Sigmoid")
            y = graph.conv(y, out, activation="")
            x = graph.node("Add", y, x) if index else y
    return graph.model(graph.classifier(graph.conv(x, 1280)))


def regnet_y(name: str) -> onnx.ModelProto:
    """Radosavovic et al. 2020, table of RegNetY: depths, widths, width of a group."""
    depths, widths, group = {
        "200": ((1, 1, 4, 7), (24, 56, 152, 368), 8),
        "400": ((1, 3, 6, 6), (48, 104, 208, 440), 8),
        "800": ((1, 3, 8, 2), (64, 144, 320, 784), 16),
    }[name]
    graph = Graph(3, 224, 224)
    x = graph.conv("x", 32, 3, 2)
    for depth, width in zip(depths, widths, strict=True):
        for index in range(depth):
            stride, before = (1, x) if index else (2, graph.conv(x, width, 1, 2, activation=""))
            squeezed = round(graph.channels[x] / 4)
            y = graph.conv(graph.conv(x, width), width, 3, stride, groups=width // group)
            y = graph.squeeze_excite(y, squeezed, "Relu", "Sigmoid")
            x = graph.act(graph.node("Add", graph.conv(y, width, activation=""), before))
    return graph.model(graph.classifier(x))


def shufflenet_v2() -> onnx.ModelProto:
    """Ma et al. 2018, table 5, 1×; a shuffle of channels is a Transpose."""
    graph = Graph(3, 224, 224)
    x, side = graph.pool(graph.conv("x", 24, 3, 2), 3, 2), 56
    for out, blocks in ((116, 4), (232, 8), (464, 4)):
        half = out // 2
        for index in range(blocks):
            if index:
                first, y = graph.split(x)
                y = graph.depthwise(graph.conv(y, half), 3, activation="")
            else:
                side //= 2
                first = graph.conv(graph.depthwise(x, 3, 2, activation=""), half)
                y = graph.depthwise(graph.conv(x, half), 3, 2, activation="")
            x = graph.concat(first, graph.conv(y, half))
            x = graph.node("Reshape", x, graph.integers(1, 2, half, side, side))
            x = graph.node("Transpose", x, perm=[0, 2, 1, 3, 4])
            x = graph.node("Reshape", x, graph.integers(1, out, side, side), channels=out)
    return graph.model(graph.classifier(graph.conv(x, 1024)))


def scaled(width: float, of: int, by: int = 8) -> int:
    """A width times its factor, rounded up to a multiple as the YOLO families do."""
    return math.ceil(width * of / by) * by


CONVOLUTIONAL: dict[str, Callable[[], onnx.ModelProto]] = {
    **{name: partial(resnet, 50) for name in ("ResNet-50 v1.5", "ResNet-50", "ResNet 50")},
    **{f"ResNet {depth}": partial(resnet, depth) for depth in (18, 34)},
    "SE-ResNet-50": partial(resnet, 50, squeeze=True),
    "FCN R50-D8": fcn,
    "PSPNet R50-D8": pspnet,
    "SSD-MobileNet-v1": ssd_mobilenet,
    **{f"MobileNet V3_{size}": partial(mobilenet_v3, size) for size in ("large", "small")},
    "EfficientNet B0": efficientnet_b0,
    **{f"RegNet Y{size}": partial(regnet_y, size) for size in ("200", "400", "800")},
    "ShuffleNetV2 1.0x": shufflenet_v2,
}
