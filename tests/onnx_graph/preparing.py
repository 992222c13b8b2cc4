"""What a prepared model computes, on random images, and which operators it has left."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from compress.onnx_graph.fold import prepare
from tests.random_graphs import SIDE, Builder


def run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})


def image(builder: Builder, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((batch, builder.channels, SIDE, SIDE)).astype(np.float32)


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def prepared_equal(builder: Builder, output: str) -> onnx.ModelProto:
    """The prepared model, after checking that it computes the same."""
    model = builder.model(output)
    before = model.SerializeToString()
    prepared = prepare(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(prepared, full_check=True)
    x = image(builder)
    np.testing.assert_allclose(run(prepared, x)[0], run(model, x)[0], rtol=2e-5, atol=2e-5)
    return prepared
