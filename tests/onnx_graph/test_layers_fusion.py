"""Which operators an engine runs as one layer, and which stay apart."""

from __future__ import annotations

import onnx
import pytest

from compress.onnx_graph.layers import Layer, layers
from tests.onnx_graph.textual_models import labels, model, only


def test_a_convolution_takes_what_follows_it() -> None:
    network = model(
        "g (float[1,4,8,8] x) => (float y) {"
        " c = Conv(x, w) n = BatchNormalization(c, s, s, s, s) r = Relu(n) d = Conv(r, w) a = Add(d, x) y = Relu(a) }",
        w=(4, 4, 1, 1),
        s=(4,),
    )
    first, second = layers(network)
    assert (first.label, second.label) == ("Conv+BatchNormalization+Relu", "Conv+Add+Relu")
    assert second.activation_bytes == 3 * 4 * 4 * 8 * 8  # the residual is read too
    assert second.inputs == ((1, 4, 8, 8), (1, 4, 8, 8))


def test_both_branches_of_a_residual_keep_one_addition() -> None:
    network = model(
        "g (float[1,4,8,8] x) => (float y) { c = Conv(x, w) d = Conv(x, v) y = Add(c, d) }",
        w=(4, 4, 1, 1),
        v=(4, 4, 1, 1),
    )
    assert labels(network) == ["Conv", "Conv+Add"]


def test_a_convolution_adds_one_other_layer_only() -> None:
    network = model(
        "g (float[1,4,8,8] x, float[1,4,8,8] u, float[1,4,8,8] v) => (float y) {"
        " c = Conv(x, w) a = Add(c, u) y = Add(a, v) }",
        w=(4, 4, 1, 1),
    )
    assert labels(network) == ["Conv+Add", "Add"]


def test_a_gate_is_not_an_epilogue() -> None:
    network = model(
        "g (float[1,4,8,8] x, float[1,4,1,1] gate) => (float y) { c = Conv(x, w) y = Mul(c, gate) }",
        w=(4, 4, 1, 1),
    )
    assert labels(network) == ["Conv", "Mul"]


@pytest.mark.parametrize(
    "activation, label",
    [
        ("s = Sigmoid(c) y = Mul(c, s)", "Conv+Sigmoid+Mul"),
        ("a = Div(c, k) b = Erf(a) d = Add(b, k) e = Mul(c, d) y = Mul(e, k)", "Conv+Div+Erf+Add+Mul+Mul"),
    ],
)
def test_activations_that_read_their_input_twice(activation: str, label: str) -> None:
    network = model(
        f"g (float[1,4,8,8] x) => (float y) <float k = {{0.5}}> {{ c = Conv(x, w) {activation} }}",
        w=(4, 4, 1, 1),
    )
    layer = only(layers(network))
    assert layer.label == label
    assert layer.activation_bytes == 2 * 4 * 4 * 8 * 8  # nothing between them goes to memory


def test_a_value_needed_twice_is_not_fused_away() -> None:
    network = model(
        "g (float[1,4,8,8] x) => (float y) { c = Conv(x, w) r = Relu(c) d = Conv(r, w) y = Add(c, d) }",
        w=(4, 4, 1, 1),
    )
    assert labels(network) == ["Conv", "Relu", "Conv+Add"]
    as_output = model(
        "g (float[1,4,8,8] x) => (float c, float y) { c = Conv(x, w) y = Relu(c) }", w=(4, 4, 1, 1)
    )
    assert labels(as_output) == ["Conv", "Relu"]


def test_elementwise_chains_are_one_layer() -> None:
    network = model("g (float[2,3] x, float[2,3] u) => (float y) { a = Exp(x) b = Mul(a, u) y = Tanh(b) }")
    layer = only(layers(network))
    assert (layer.label, layer.macs, layer.kind) == ("Exp+Mul+Tanh", 0, "elementwise")
    assert layer.activation_bytes == 3 * 2 * 3 * 4


def test_layers_come_in_an_order_an_engine_can_run_them() -> None:
    network = model(
        """g (float[1,4,8,8] x) => (float y) {
        a = Conv(x, w) b = Conv(x, v) c = Add(a, b) d = Relu(c) e = Conv(d, w) f = Add(e, a) y = Mul(f, c) }""",
        w=(4, 4, 1, 1),
        v=(4, 4, 1, 1),
    )
    assert labels(network) == ["Conv", "Conv+Add", "Relu", "Conv+Add", "Mul"]


def test_a_scale_per_channel_is_no_factor_of_a_matrix_product() -> None:
    body = "c = Mul(x, scales) y = MatMul(c, w)"
    network = model(f"g (float[N,7,5] x) => (float y) {{ {body} }}", w=(5, 6), scales=(5,))
    assert labels(network) == ["Mul", "MatMul"]
    network = model(f"g (float[N,7,5] x, float[1] scales) => (float y) {{ {body} }}", w=(5, 6))
    assert labels(network) == ["Mul", "MatMul"]


@pytest.mark.parametrize(
    "body, expected",
    [
        ("c = MatMul(x, w) y = custom.Relu(c)", ["MatMul", "Relu"]),
        ("c = custom.MatMul(x, w) y = Relu(c)", ["MatMul", "Relu"]),
        ("c = MatMul(x, w) y = custom.QuantizeLinear(c)", ["MatMul", "QuantizeLinear"]),
        ("t = custom.Transpose(x) y = MatMul(t, w)", ["Transpose", "MatMul"]),
        ("t = custom.Reshape(x) y = MatMul(t, w)", ["Reshape", "MatMul"]),
        ("a = MatMul(x, x) s = custom.Softmax(a) y = MatMul(s, x)", ["MatMul", "Softmax", "MatMul"]),
        ("a = MatMul(x, x) s = Softmax(a) y = custom.MatMul(s, x)", ["MatMul", "Softmax", "MatMul"]),
        ("a = custom.MatMul(x, x) s = Softmax(a) y = MatMul(s, x)", ["MatMul", "Softmax", "MatMul"]),
        ("a = Exp(x) s = Softmax(a) y = MatMul(s, x)", ["Exp", "Softmax", "MatMul"]),
    ],
)
def test_operators_of_other_domains_are_not_what_their_names_say(body: str, expected: list[str]) -> None:
    network = model(f"g (float[5,5] x) => (float[5,5] y) {{ {body} }}", w=(5, 5))
    network.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [5, 5]) for name in "acst"
    )
    assert [layer.label for layer in layers(network)] == expected


def test_random_numbers_are_no_constants() -> None:
    network = model("g (float[N,4] x) => (float y) { r = RandomNormal<shape=[1,4]>() y = Add(x, r) }")
    assert labels(network) == ["RandomNormal", "Add"]


ATTENTION = """
    p = MatMul(x, w) t = Transpose<perm=[0,2,1]>(p) f = Mul(t, k)
    a = MatMul(p, f) m = Add(a, mask) s = Softmax<axis=-1>(m) y = MatMul(s, p)
"""


def attention(body: str) -> list[Layer]:
    network = model(
        f"g (float[N,7,5] x, float[1,7,7] mask) => (float y) <float k = {{0.5}}> {{ {body} }}",
        w=(5, 6),
        v=(5, 7),
    )
    return layers(network, batch=2)


def test_attention_is_one_layer_that_reads_its_operands_as_they_are() -> None:
    projection, fused = attention(ATTENTION)
    assert (projection.label, fused.label) == ("MatMul", "MatMul+Add+Softmax+MatMul")
    assert fused.macs == 2 * (2 * 7 * 7 * 6)
    assert fused.activation_bytes == 4 * (2 * 7 * 6 + 7 * 7 + 2 * 7 * 6)  # p once, mask, y


@pytest.mark.parametrize(
    "written, instead, labels",
    [
        ("axis=-1", "axis=1", ["MatMul", "MatMul+Add", "Softmax", "MatMul"]),
        # The probabilities are the right operand.
        ("y = MatMul(s, p)", "y = MatMul(t, s)", ["MatMul", "MatMul+Add", "Softmax", "MatMul"]),
        # They are needed twice.
        (
            "y = MatMul(s, p)",
            "u = MatMul(s, p) y = MatMul(s, u)",
            ["MatMul", "MatMul+Add", "Softmax", "MatMul", "MatMul"],
        ),
        # The scores come from a learned matrix.
        ("a = MatMul(p, f)", "a = MatMul(x, v)", ["MatMul", "MatMul+Add", "Softmax", "MatMul"]),
    ],
)
def test_what_is_not_attention_stays_apart(written: str, instead: str, labels: list[str]) -> None:
    assert written in ATTENTION
    assert [layer.label for layer in attention(ATTENTION.replace(written, instead))] == labels


def test_a_transpose_that_something_else_reads_is_a_layer() -> None:
    body = "t = Transpose<perm=[0,2,1]>(x) a = MatMul(x, t) e = Exp({}) b = MatMul(a, x) c = MatMul(e, b) y = Relu(c)"
    assert "Transpose" in [layer.label for layer in attention(body.format("t"))]
    apart = "u = Transpose<perm=[0,2,1]>(x) " + body.format("u")
    assert [layer.label for layer in attention(apart)].count("Transpose") == 1  # the one that Exp reads


def test_asking_for_a_shape_is_not_reading() -> None:
    body = "t = Transpose<perm=[0,2,1]>(x) n = Shape(t) r = Reshape(t, n) y = MatMul(x, r)"
    assert [layer.label for layer in attention(body)] == ["MatMul"]
