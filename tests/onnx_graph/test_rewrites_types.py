"""Narrower types, and outputs that nobody reads."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from compress.onnx_graph.rewrites.outputs import remove_unused_outputs
from compress.onnx_graph.rewrites.types import (
    cast_instead_of_cast_like,
    float_biases,
    int32_constants,
    narrow_inputs_and_outputs,
)
from tests.rewriting import assert_same, graph, operators, rewritten, run

INT64, DOUBLE = int(TensorProto.INT64), int(TensorProto.DOUBLE)
NARROW = partial(narrow_inputs_and_outputs, wide=(INT64, DOUBLE))


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def constant_types(model: onnx.ModelProto) -> dict[str, int]:
    used = {name for node in model.graph.node for name in node.input}
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer if tensor.name in used}


@settings(max_examples=25, deadline=None)
@given(
    start=st.sampled_from([0, 1, -2, -(2**63), -(2**31)]),
    end=st.sampled_from([3, -1, 2**63 - 1, 2**31 - 1, 2**31]),
    step=st.sampled_from([1, 2]),
)
def test_slices_reach_as_far_as_before(start: int, end: int, step: int) -> None:
    model = graph(
        "y = Slice(x, start, end, axes, step)",
        start=ints(start),
        end=ints(end),
        axes=ints(1),
        step=ints(step),
    )
    other = rewritten(model, int32_constants)
    assert set(constant_types(other).values()) == {TensorProto.INT32}
    assert_same(model, other, (3, 4))


def test_indices_become_int32_and_what_has_to_be_int64_stays() -> None:
    model = graph(
        "g = Gather(x, at) u = Unsqueeze(g, axis) y = Reshape(u, shape)",
        at=ints(1, 0),
        axis=ints(0),
        shape=ints(-1),
    )
    other = rewritten(model, int32_constants)
    assert constant_types(other) == {"at_int32": TensorProto.INT32, "axis": INT64, "shape": INT64}
    assert_same(model, other, (3, 4))


def test_a_constant_that_does_not_fit_stays() -> None:
    model = graph(
        "h = OneHot(i, depth, values) y = Cast<to=1>(h)",
        20,
        "int64[2] i",
        depth=ints(2**40),
        values=ints(0, 1),
    )
    assert int32_constants(rewritten(model)) == []


def test_arithmetic_in_int64_stays() -> None:
    model = graph("s = Shape(x) t = Mul(s, two) y = Reshape(x, t)", two=ints(1, 1))
    assert int32_constants(rewritten(model)) == []


def test_a_computed_bound_keeps_the_others_wide() -> None:
    model = graph("s = Shape<start=0, end=1>(x) y = Slice(x, zero, s)", zero=ints(0))
    assert int32_constants(model) == []


def test_an_index_input_becomes_int32_without_a_cast() -> None:
    model = graph(
        "y = Gather(table, x)", 20, "int64[N,3] x", table=np.arange(8, dtype=np.float32).reshape(4, 2)
    )
    other = rewritten(model, NARROW)
    assert operators(other) == {"Gather"}
    assert other.graph.input[0].type.tensor_type.elem_type == TensorProto.INT32
    fed = np.array([[0, 3, 2]])
    (expected,), (found,) = run(model, {"x": fed}), run(other, {"x": fed.astype(np.int32)})
    np.testing.assert_array_equal(found, expected)


def test_int64_arithmetic_on_an_input_gets_a_cast() -> None:
    model = graph("s = Add(x, one) y = Mul(s, x)", 20, "int64[N,3] x", "int64[] y", one=ints(1))
    other = rewritten(model, NARROW)
    assert [node.op_type for node in other.graph.node] == ["Cast", "Add", "Mul", "Cast"]
    fed = np.array([[0, 3, -2]])
    (expected,), (found,) = run(model, {"x": fed}), run(other, {"x": fed.astype(np.int32)})
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_doubles_at_the_edge_are_fed_as_floats() -> None:
    model = graph("y = Exp(x)", 20, "double[N,3] x", "double[] y")
    other = rewritten(model, NARROW)
    fed = np.array([[0.5, -1.0, 2.0]])
    (found,) = run(other, {"x": fed.astype(np.float32)})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.exp(fed), rtol=1e-6)


def test_an_output_that_is_read_again_keeps_its_readers() -> None:
    model = graph("i = Shape(x) f = Cast<to=1>(i)", 20, outputs="int64[] i, float[] f")
    other = rewritten(model, NARROW)
    x = np.zeros((3, 4), np.float32)
    wide, floats = run(other, {"x": x})
    assert (wide.dtype, wide.tolist(), floats.tolist()) == (np.int32, [3, 4], [3, 4])


def test_types_that_are_not_asked_for_stay() -> None:
    model = graph("y = Gather(table, x)", 20, "int64[N,3] x", table=np.ones((4, 2), np.float32))
    assert narrow_inputs_and_outputs(model, [DOUBLE]) == []
    assert model.graph.input[0].type.tensor_type.elem_type == INT64


@pytest.mark.parametrize("scales", [np.float32(0.1), np.array([0.1, 0.2, 0.3, 0.4], np.float32)])
def test_a_quantized_bias_becomes_float(scales: np.ndarray) -> None:
    model = graph(
        "b = DequantizeLinear<axis=0>(bias, s) y = Add(x, b)",
        s=scales,
        bias=np.array([1, -2, 300, 4], np.int32),
    )
    other = rewritten(model, float_biases)
    assert operators(other) == {"Add"}
    assert_same(model, other, (3, 4), atol=1e-7)


def test_weights_stay_quantized() -> None:
    model = graph("w = DequantizeLinear(i, s) y = Add(x, w)", s=np.float32(0.1), i=np.ones(4, np.int8))
    assert float_biases(model) == []


def test_cast_like_is_a_cast() -> None:
    model = graph("c = CastLike(x, h) y = Cast<to=1>(c)", h=np.float16(0))
    other = rewritten(model, cast_instead_of_cast_like)
    assert "CastLike" not in operators(other)
    assert_same(model, other, (3, 4))


def test_indices_of_a_pool_that_nobody_reads_go() -> None:
    model = graph("y, i = MaxPool<kernel_shape=[2,2]>(x)", 20, "float[N,3,6,6] x")
    other = rewritten(model, remove_unused_outputs)
    assert [list(node.output) for node in other.graph.node] == [["y"]]
    assert_same(model, other, (2, 3, 6, 6))


def test_indices_that_are_read_stay() -> None:
    model = graph("y, i = MaxPool<kernel_shape=[2,2]>(x)", 20, "float[N,3,6,6] x", "float[] y, int64[] i")
    assert remove_unused_outputs(model) == []
    assert len(model.graph.node[0].output) == 2
