"""A graph in a newer opset computes what it did: sampling, axes and inputs changed their meaning on the way."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compress.errors import NetworkError
from compress.onnx_graph.fold import prepare
from compress.onnx_graph.rewrites.later import raise_opset

Array = NDArray[np.generic]
node = helper.make_node


def floats(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def model(
    nodes: list[onnx.NodeProto], opset: int, shape: tuple[int, ...], **constants: Array
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)
    inferred = onnx.shape_inference.infer_shapes(made)
    made.graph.output[0].CopyFrom(inferred.graph.output[0])
    return made


def run(made: onnx.ModelProto, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(made.SerializeToString(), options)
    result: Array = session.run(None, {"x": x})[0]
    return result


SCALES = {
    "twice": np.array([1, 1, 2, 2], np.float32),
    "odd": np.array([1, 1, 1.5, 1.7], np.float32),
    "half": np.array([1, 1, 0.5, 0.6], np.float32),
}


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("operator, opset", [("Upsample", 9), ("Resize", 10)])
def test_old_resizing_samples_where_it_did(operator: str, opset: int, mode: str, scales: str):
    if operator == "Upsample" and scales == "half":
        pytest.skip("it only makes larger")
    old = model([node(operator, ["x", "s"], ["y"], mode=mode)], opset, (2, 3, 6, 6), s=SCALES[scales])
    x = floats(2, 3, 6, 6)
    np.testing.assert_allclose(run(prepare(old), x), run(old, x), rtol=1e-5, atol=1e-6)


def test_resizing_inside_the_graph_and_with_scales_as_an_attribute():
    old = model(
        [
            node("Upsample", ["x"], ["a"], mode="linear", scales=[1.0, 1.0, 2.0, 2.0]),
            node("Upsample", ["a"], ["b"], mode="nearest", scales=[1.0, 1.0, 1.5, 1.5]),
            node("Relu", ["b"], ["y"]),
        ],
        7,
        (1, 2, 4, 4),
    )
    x = floats(1, 2, 4, 4)
    np.testing.assert_allclose(run(prepare(old), x), run(old, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("opset", [7, 11])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Hardmax"])
def test_what_is_over_all_axes_from_one_on_stays_so(operator: str, axis: int | None, opset: int):
    attributes = {} if axis is None else {"axis": axis}
    old = model([node(operator, ["x"], ["y"], **attributes)], opset, (2, 3, 4, 5))
    x = floats(2, 3, 4, 5)
    np.testing.assert_allclose(run(prepare(old), x), run(old, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("opset", [19, 21])
@pytest.mark.parametrize(
    "nodes",
    [
        [node("ReduceMean", ["x"], ["y"], axes=[2, 3])],
        [node("Split", ["x"], ["a", "b"], axis=1), node("Concat", ["b", "a"], ["y"], axis=1)],
        [node("BatchNormalization", ["x", "one", "one", "zero", "one"], ["y"])],
    ],
    ids=lambda nodes: nodes[0].op_type,
)
def test_a_newer_opset_for_what_needs_it(nodes: list[onnx.NodeProto], opset: int):
    old = model(nodes, 13, (2, 4, 6, 6), one=np.ones(4, np.float32) * 2, zero=np.zeros(4, np.float32))
    raised = raise_opset(old, opset)
    assert raised.opset_import[0].version == opset
    x = floats(2, 4, 6, 6)
    np.testing.assert_allclose(run(raised, x), run(old, x), rtol=1e-5, atol=1e-6)


def test_what_has_no_newer_form_says_so():
    four = [floats(3, 4, 4) for _ in range(4)]
    old = model(
        [node("BatchNormalization", ["x", "a", "b", "c", "d"], ["y"], spatial=0)],
        7,
        (1, 3, 4, 4),
        **dict(zip("abcd", four, strict=True)),
    )
    with pytest.raises(NetworkError, match="spatial"):
        prepare(old)


def test_weights_that_old_files_list_as_inputs():
    old = model([node("Mul", ["x", "w"], ["y"])], 8, (1, 4), w=floats(4), unused=floats(9))
    old.ir_version = 3
    old.graph.input.extend(
        helper.make_tensor_value_info(each.name, TensorProto.FLOAT, each.dims)
        for each in old.graph.initializer
    )
    prepared = prepare(old)
    onnx.checker.check_model(prepared)
    assert [value.name for value in prepared.graph.input] == ["x"]
    x = floats(1, 4)
    np.testing.assert_array_equal(run(prepared, x), x * floats(4))
