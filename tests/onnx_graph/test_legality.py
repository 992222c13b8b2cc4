"""What ONNX's checker refuses, and what of ONNX Runtime's it would refuse without need."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.errors import NetworkError
from compress.onnx_graph.fold import prepare
from compress.onnx_graph.legality import is_foreign, refuse_illegal
from compress.onnx_graph.sessions import open_session

DATA = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


def norm(operator: str, **attributes: float) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.linspace(0.5, 2, 8, dtype=np.float32), "weight")
    node = helper.make_node(operator, ["x", "weight"], ["y"], name="norm", **attributes)
    shape = ["batch", 8]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_an_operator_that_the_runtime_keeps_in_onnx_s_domain_is_no_fault():
    """Decoders that other exporters write have this one."""
    model = norm("SimplifiedLayerNormalization", axis=-1, epsilon=1e-5)
    assert is_foreign(model.graph.node[0])
    refuse_illegal(model)
    assert model.graph.node[0].domain == ""
    (found,) = open_session(prepare(model), optimized=False).run(["y"], {"x": DATA})
    wanted = DATA / np.sqrt(np.square(DATA).mean(axis=1, keepdims=True) + 1e-5) * np.linspace(0.5, 2, 8)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_an_operator_that_nobody_knows_is_refused():
    with pytest.raises(NetworkError, match="a legal ONNX model; found No Op registered for Norm"):
        refuse_illegal(norm("Norm"))
