"""Layers are read off any graph: its open axes get sizes, what only computes shapes is no layer."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from compress.errors import NetworkError
from compress.onnx_graph.layers import layers, totals
from tests.onnx_graph.textual_models import QDQ, labels, model, only, quantized


def test_a_layer_has_the_name_of_its_node() -> None:
    network = model("g (float[N,4] x) => (float y) { y = Relu(x) }")
    assert only(layers(network)).name == "y"
    network.graph.node[0].name = "relu"
    assert only(layers(network)).name == "relu"


def test_outputs_that_nobody_reads_do_not_count() -> None:
    network = model(
        "g (float[N,4] x) => (float y) <int64[2] half = {2, 2}> { y, rest = Split<axis=1>(x, half) }"
    )
    assert only(layers(network)).outputs == ((1, 2),)


def test_the_model_is_not_changed() -> None:
    network = quantized(QDQ)
    before = network.SerializeToString(deterministic=True)
    layers(network, batch=2)
    assert network.SerializeToString(deterministic=True) == before


def test_unknown_operators_count_bytes_and_say_so() -> None:
    network = model("g (float[2,3] x) => (float[2,3] y) { y = custom.Magic(x) }")
    layer = only(layers(network))
    assert (layer.counted, layer.macs, layer.kind, layer.activation_bytes) == (False, 0, "unknown", 48)
    assert totals([layer]).uncounted == ("Magic",)


def test_local_functions_are_expanded() -> None:
    network = model("g (float[2,4] x) => (float[2,3] y) { y = custom.Dense(x, w) }", w=(4, 3))
    function = onnx.helper.make_function(
        "custom",
        "Dense",
        ["a", "b"],
        ["c"],
        [onnx.helper.make_node("MatMul", ["a", "b"], ["d"]), onnx.helper.make_node("Relu", ["d"], ["c"])],
        [onnx.helper.make_opsetid("", 20)],
    )
    network.functions.append(function)
    layer = only(layers(network))
    assert (layer.label, layer.macs) == ("MatMul+Relu", 2 * 4 * 3)


def test_branches_are_flagged_and_keep_alive_what_they_read() -> None:
    network = model(
        """g (float[2,2] x, bool c) => (float y) { h = Relu(x)
        y = If (c) <then_branch = t () => (float[2,2] a) { a = Exp(h) },
                    else_branch = e () => (float[2,2] b) { b = Neg(h) }> }"""
    )
    relu, branch = layers(network)
    assert (relu.op, branch.op, branch.counted) == ("Relu", "If", False)
    assert branch.inputs == ((), (2, 2))


def test_names_that_nothing_makes() -> None:
    for body in ("y = custom.Magic(nothing)", "z = Relu(x)"):
        with pytest.raises(NetworkError, match=r"'(nothing|y)', which nothing makes"):
            layers(model(f"g (float[2] x) => (float[2] y) {{ {body} }}"))


def test_weights_in_a_file_beside_the_graph_are_not_needed() -> None:
    network = model("g (float[N,4] x) => (float y) { y = MatMul(x, w) }", w=(4, 2))
    tensor = network.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="nowhere.data")
    assert only(layers(network)).macs == 8


def test_sparse_weights_have_their_dense_shape() -> None:
    network = model("g (float[N,4] x) => (float y) { y = MatMul(x, w) }")
    sparse = network.graph.sparse_initializer.add(dims=[4, 3])
    sparse.values.CopyFrom(onnx.numpy_helper.from_array(np.ones(1, np.float32), "w"))
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.zeros(1, np.int64), "i"))
    assert only(layers(network)).macs == 12


def test_open_axes_besides_the_batch_need_a_shape() -> None:
    network = model("g (float[N,T,4] x) => (float y) { y = MatMul(x, w) }", w=(4, 2))
    with pytest.raises(NetworkError, match=r"axis of x: .*T.* left open.*--shape x="):
        layers(network)
    assert only(layers(network, shapes={"x": (2, 5, 4)})).macs == 2 * 5 * 4 * 2


def test_axes_without_a_name_are_open_too() -> None:
    network = model("g (float[?,4,?] x) => (float y) { y = Relu(x) }")
    with pytest.raises(NetworkError, match=r"float32\[\?, 4, \?\]"):
        layers(network)
    assert only(layers(network, shapes={"x": (2, 4, 5)})).outputs == ((2, 4, 5),)


def test_an_input_of_unknown_rank_needs_a_shape() -> None:
    network = model("g (float[] x) => (float y) { y = Relu(x) }")
    with pytest.raises(NetworkError, match="left open"):
        layers(network)
    assert only(layers(network, shapes={"x": (2, 3)})).outputs == ((2, 3),)


def test_scalars_need_none() -> None:
    assert only(layers(model("g (float x) => (float y) { y = Relu(x) }"))).outputs == ((),)


def test_the_batch_keeps_its_size_wherever_its_name_appears() -> None:
    network = model("g (float[N,4] x, float[2,N,4] h) => (float y) { y = Add(x, h) }")
    assert only(layers(network, batch=3)).outputs == ((2, 3, 4),)


@pytest.mark.parametrize(
    "shapes, message",
    [
        ({"x": (1, 5)}, r"shape for x"),
        ({"x": (1, 2, 5)}, "1x2x5"),
        ({"x": (0, 2, 4)}, "0x2x4"),
        ({"u": (1, 2, 4)}, "'u'.*name one of: x"),
    ],
)
def test_shapes_that_do_not_fit(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    network = model("g (float[N,T,4] x) => (float y) { y = Relu(x) }")
    with pytest.raises(NetworkError, match=message):
        layers(network, shapes=shapes)


def test_an_inconsistent_graph_is_an_error_of_the_network() -> None:
    network = model("g (float[2,3] x) => (float y) { y = MatMul(x, w) }", w=(4, 3))
    with pytest.raises(NetworkError, match="consistent"):
        layers(network)


def test_stale_shapes_in_the_file_are_not_believed() -> None:
    network = model("g (float[N,4] x) => (float y) { r = Exp(x) y = MatMul(r, w) }", w=(4, 2))
    network.graph.value_info.append(onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, [9, 4]))
    assert layers(network, batch=3)[0].outputs == ((3, 4),)


def test_shape_arithmetic_is_evaluated_and_is_no_layer() -> None:
    network = model(
        """g (float[N,4,6] x) => (float y) <int64[1] zero = {0}, int64[1] one = {1}, int64[1] minus = {-1}> {
        s = Shape(x) n = Gather(s, zero) h = Gather(s, one) double = Mul(h, h) t = Concat<axis=0>(n, double, minus)
        r = Reshape(x, t) y = MatMul(r, w) }""",
    )
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 2), np.float32), "w"))
    network.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 4  # 4·4 values: [N, 16, 1]
    layer = only(layers(network, batch=3))
    assert (layer.op, layer.outputs, layer.counted) == ("MatMul", ((3, 16, 2),), True)


def test_shapes_that_inference_does_not_follow_are_computed() -> None:
    # As torch exports a GRU's reshape; ONNX's own propagation stops at the product.
    network = model(
        """g (float[N,4,6] x) => (float y) <int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] i2 = {2}, int64[1] i3 = {3},
            int64[1] minus = {-1}> {
        s = Shape(x) n = Slice(s, i0, i1) h = Slice(s, i1, i2) v = Slice(s, i2, i3)
        p = Mul(h, v) q = Reshape(p, minus) t = Concat<axis=0>(n, q) r = Reshape(x, t) y = MatMul(r, w) }""",
        w=(24, 2),
    )
    layer = only(layers(network, batch=3))
    assert (layer.outputs, layer.macs, layer.counted) == (((3, 2),), 3 * 24 * 2, True)


def test_a_shape_that_is_an_output_stays_one() -> None:
    network = model("g (float[N,4] x) => (int64[2] s, float y) { s = Shape(x) y = Relu(x) }")
    assert labels(network) == ["Relu"]


def test_shapes_that_depend_on_data_are_flagged() -> None:
    network = model("g (float[N,4] x) => (int64[2,M] y) { y = NonZero(x) }")
    layer = only(layers(network))
    assert (layer.counted, layer.activation_bytes) == (False, 16)
