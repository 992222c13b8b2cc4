"""Scanned digits, a small network trained on them, and a fragile one that computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from torch import nn

TRAINING = 1200  # of 1,797 samples; the others are for evaluation

_LAYERS = ("conv1", "depthwise", "conv2", "conv3", "fc")


@cache
def data() -> tuple[np.ndarray, np.ndarray]:
    """Images float32 (1797, 1, 8, 8) in [0, 1] and labels int64 (1797,), in a fixed random order."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = (digits.images[order, None] / 16).astype(np.float32)
    return images, digits.target[order].astype(np.int64)


@cache
def trained() -> onnx.ModelProto:
    """Conv, depthwise conv and two more, each with ReLU, a pool and a Gemm; about 90 % right."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )
    images, labels = (torch.tensor(array[:TRAINING]) for array in data())
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(8):
        for rows in torch.randperm(TRAINING).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
    weighted = [module for module in network if hasattr(module, "weight")]
    return _model(
        {
            f"{name}.{part}": getattr(module, part).detach().numpy()
            for name, module in zip(_LAYERS, weighted, strict=True)
            for part in ("weight", "bias")
        }
    )


def fragile(spread: float = 1e3, behind: Sequence[str] = _LAYERS[:-1]) -> onnx.ModelProto:
    """The trained network with channels rescaled by factors from 1/√spread to √spread, and scaled back by the next.

    Args:
        spread: Of the factors.
        behind: Names of the layers whose output channels are rescaled.
    """
    model = onnx.ModelProto()
    model.CopyFrom(trained())
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    values = {name: numpy_helper.to_array(tensor).copy() for name, tensor in stored.items()}
    random = np.random.default_rng(0)
    for first, second in pairwise(_LAYERS):
        if first not in behind:
            continue
        channels = len(values[f"{first}.bias"])
        factors = np.exp(np.log(spread) * random.permutation(np.linspace(-0.5, 0.5, channels)))
        values[f"{first}.weight"] *= factors[:, None, None, None]
        values[f"{first}.bias"] *= factors
        shape = (-1, 1, 1, 1) if second == "depthwise" else (1, -1, 1, 1)
        values[f"{second}.weight"] /= factors.reshape(shape[: values[f"{second}.weight"].ndim])
    for name, tensor in stored.items():
        tensor.CopyFrom(numpy_helper.from_array(values[name].astype(np.float32), name))
    return model


def scores(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """The network's outputs, (n, 10)."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": images})[0]


def accuracy(model: onnx.ModelProto) -> float:
    """Share of the evaluation samples that are right, in percent."""
    images, labels = (array[TRAINING:] for array in data())
    return 100 * float((scores(model, images).argmax(1) == labels).mean())


def calibration_batches(samples: int = 256, size: int = 32) -> list[dict[str, np.ndarray]]:
    """Training images in batches."""
    images = data()[0][:samples]
    return [{"x": images[start : start + size]} for start in range(0, samples, size)]


def _model(values: dict[str, np.ndarray]) -> onnx.ModelProto:
    def weighted(op_type: str, name: str, source: str, result: str, **attributes: object) -> onnx.NodeProto:
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        return helper.make_node(op_type, inputs, [result], name, **attributes)

    nodes = [
        weighted("Conv", "conv1", "x", "c1", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("MaxPool", ["r1"], ["p1"], "pool1", kernel_shape=[2, 2], strides=[2, 2]),
        weighted("Conv", "depthwise", "p1", "c2", pads=[1] * 4, group=16),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        weighted("Conv", "conv2", "r2", "c3"),
        helper.make_node("Relu", ["c3"], ["r3"], "relu3"),
        weighted("Conv", "conv3", "r3", "c4", pads=[1] * 4),
        helper.make_node("Relu", ["c4"], ["r4"], "relu4"),
        helper.make_node("GlobalAveragePool", ["r4"], ["p2"], "pool2"),
        helper.make_node("Flatten", ["p2"], ["f"], "flatten"),
        weighted("Gemm", "fc", "f", "scores", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
