"""Files that leave the number of samples open, though the network takes one alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.network.formats.onnx_file import read_specs
from compress.network.onnx_interface import as_it_runs


def written_for_one(batch: str | None) -> onnx.ModelProto:
    """Means over positions, reshaped to the one sample that the exporter saw, and a MatMul."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Reshape", ["p", "shape"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, "height"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 2])],
        [
            numpy_helper.from_array(np.array([1, 3]), "shape"),
            numpy_helper.from_array(np.ones((3, 2), np.float32), "w"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("batch", ["N", None])
def test_the_number_of_samples_is_fixed_where_the_network_takes_one_alone(batch: str | None) -> None:
    model = written_for_one(batch)
    x = np.random.default_rng(0).standard_normal((4, 3, 8)).astype(np.float32)
    inputs, outputs = read_specs(as_it_runs(model, read_specs(model)[0], {"x": x}))
    assert inputs[0].shape == (1, 3, "height")
    assert outputs[0].shape == (1, 2)
    assert not model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")


def test_a_network_that_runs_on_no_sample_is_left_as_it_is() -> None:
    model = written_for_one("N")
    x = np.zeros((4, 2, 8), np.float32)
    assert as_it_runs(model, read_specs(model)[0], {"x": x}) is model
