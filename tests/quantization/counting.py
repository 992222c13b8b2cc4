"""How much ONNX Runtime is asked to do: nodes times samples, never seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper


@dataclass
class Ledger:
    """What was asked for.

    Attributes:
        sessions: That were opened.
        nodes: In all of them together.
        work: Nodes times samples, over all runs.
        most: Samples in one run, at the most.
        bytes: Size of the models that sessions were opened from, without files beside them.
    """

    sessions: int = 0
    nodes: int = 0
    work: int = 0
    most: int = 0
    bytes: int = 0


@contextmanager
def counted() -> Iterator[Ledger]:
    """Count what sessions do that are opened inside the block."""
    ledger = Ledger()

    class Counted(onnxruntime.InferenceSession):
        def __init__(self, model: bytes, *arguments: Any, **settings: Any) -> None:
            super().__init__(model, *arguments, **settings)
            self._count = len(onnx.load_model_from_string(model).graph.node)
            ledger.sessions += 1
            ledger.nodes += self._count
            ledger.bytes += len(model)

        def run(self, names: Any, feeds: Mapping[str, np.ndarray], *rest: Any) -> Any:
            samples = max((len(values) for values in feeds.values() if values.ndim), default=1)
            ledger.work += self._count * samples
            ledger.most = max(ledger.most, samples)
            return super().run(names, feeds, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxruntime, "InferenceSession", Counted)
        yield ledger


def chain(depth: int, channels: int = 8, seed: int = 0) -> onnx.ModelProto:
    """Convolutions and ReLUs one behind another, then a mean and a Gemm: float [batch, 3, 6, 6] to [batch, 4]."""
    random = np.random.default_rng(seed)
    nodes, weights, name = [], [], "x"
    for index in range(depth):
        given = 3 if index == 0 else channels
        weight = random.standard_normal((channels, given, 3, 3)) * np.sqrt(2 / (9 * given))
        weights += [(f"w{index}", weight), (f"b{index}", 0.1 * random.standard_normal(channels))]
        nodes.append(
            helper.make_node(
                "Conv", [name, f"w{index}", f"b{index}"], [f"c{index}"], f"conv{index}", pads=[1] * 4
            )
        )
        name = f"r{index}"
        nodes.append(helper.make_node("Relu", [f"c{index}"], [name], f"relu{index}"))
    nodes.append(helper.make_node("GlobalAveragePool", [name], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"))
    nodes.append(helper.make_node("Gemm", ["flat", "w", "b"], ["y"], "head"))
    weights += [("w", random.standard_normal((channels, 4))), ("b", random.standard_normal(4))]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def batches(count: int = 8, size: int = 4) -> list[dict[str, np.ndarray]]:
    """Noise for :func:`chain`."""
    random = np.random.default_rng(1)
    return [{"x": random.standard_normal((size, 3, 6, 6)).astype(np.float32)} for _ in range(count)]
