"""Layers are what an engine runs; their MACs are what the operators multiply."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import NetworkError
from compress.onnx_graph.layers import Layer, layers, totals


def model(body: str, opset: int = 20, **weights: tuple[int, ...]) -> onnx.ModelProto:
    """A model from ONNX's textual form, with float32 weights of ones."""
    parsed = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}, "custom": 1]> {body}')
    for name, shape in weights.items():
        parsed.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    return parsed


def only(found: list[Layer]) -> Layer:
    (layer,) = found
    return layer


def run(network: onnx.ModelProto, **feeds: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, feeds)
    return outputs


# With ones everywhere each product is 1, so the sum of the outputs is the number of multiplications.


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[onnx.ModelProto, tuple[int, ...], bool]:
    """A convolution or its transpose without padding, its input shape, and whether it is depthwise."""
    spatial = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    per_group_in, per_group_out = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    batch = draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, 3)) for _ in range(spatial)]
    strides = [draw(st.integers(1, 2)) for _ in range(spatial)]
    dilations = [draw(st.integers(1, 2)) for _ in range(spatial)]
    size = [draw(st.integers((k - 1) * d + 1, 7)) for k, d in zip(kernel, dilations, strict=True)]
    transposed = draw(st.booleans())
    op = "ConvTranspose" if transposed else "Conv"
    weight = (
        (groups * per_group_in, per_group_out, *kernel)
        if transposed
        else (groups * per_group_out, per_group_in, *kernel)
    )
    shape = (batch, groups * per_group_in, *size)
    axes = ",".join(["N", *map(str, shape[1:])])
    network = model(
        f"g (float[{axes}] x) => (float y) {{"
        f" y = {op} <group={groups}, strides={strides}, dilations={dilations}> (x, w) }}",
        w=weight,
    )
    depthwise = groups > 1 and weight[1] == 1
    return network, shape, depthwise


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_convolutions_count_every_multiplication(case: tuple[onnx.ModelProto, tuple[int, ...], bool]) -> None:
    network, shape, depthwise = case
    (output,) = run(network, x=np.ones(shape, np.float32))
    layer = only(layers(network, batch=shape[0]))
    assert layer.macs == output.sum()
    assert layer.outputs == (output.shape,)
    assert layer.inputs == (shape,)
    assert layer.kind == ("depthwise convolution" if depthwise else "convolution")
    assert layer.parameters * 4 == layer.weight_bytes
    assert layer.activation_bytes == 4 * (math.prod(shape) + output.size)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_matrix_products_count_every_multiplication(data: st.DataObject) -> None:
    m, n, k, b = (data.draw(st.integers(1, 5)) for _ in range(4))
    body, left, right = data.draw(
        st.sampled_from(
            [
                ("MatMul(x, w)", (m, k), (k, n)),
                ("MatMul(x, w)", (b, m, k), (k, n)),
                ("MatMul(x, w)", (b, 3, m, k), (3, k, n)),
                ("MatMul(x, w)", (k,), (b, k, n)),
                ("Gemm(x, w)", (m, k), (k, n)),
                ("Gemm<transA=1>(x, w)", (k, m), (k, n)),
                ("Gemm<transB=1>(x, w)", (m, k), (n, k)),
                ('Einsum<equation="bik,kj->bij">(x, w)', (b, m, k), (k, n)),
                ('Einsum<equation="...ik,...kj">(x, w)', (b, m, k), (b, k, n)),
                ('Einsum<equation="...ik,...kj->...ij">(x, w)', (b, m, k), (1, k, n)),
            ]
        )
    )
    network = model(f"g (float[{','.join(map(str, left))}] x) => (float y) {{ y = {body} }}", w=right)
    (output,) = run(network, x=np.ones(left, np.float32))
    layer = only(layers(network))
    assert layer.macs == output.sum()
    assert layer.outputs == (output.shape,)
    assert layer.kind == "matrix multiplication"
    assert layer.parameters == math.prod(right)


def test_padding_counts_as_engines_and_papers_count_it() -> None:
    network = model("g (float[1,3,8,8] x) => (float y) { y = Conv<pads=[1,1,1,1]>(x, w) }", w=(16, 3, 3, 3))
    assert only(layers(network)).macs == 8 * 8 * 16 * 3 * 9


@pytest.mark.parametrize(
    "op, gates, direction, directions",
    [("RNN", 1, "forward", 1), ("GRU", 3, "reverse", 1), ("LSTM", 4, "bidirectional", 2)],
)
def test_recurrent_layers(op: str, gates: int, direction: str, directions: int) -> None:
    time, batch, width, hidden = 7, 2, 5, 3
    network = model(
        f"g (float[{time},{batch},{width}] x) => (float y) {{"
        f' y = {op}<hidden_size={hidden}, direction="{direction}">(x, w, r) }}',
        w=(directions, gates * hidden, width),
        r=(directions, gates * hidden, hidden),
    )
    layer = only(layers(network))
    assert layer.macs == time * batch * directions * gates * hidden * (width + hidden)
    assert (layer.kind, layer.steps) == ("recurrence", time)
    assert layer.parameters == directions * gates * hidden * (width + hidden)


def test_recurrence_with_batch_first_has_its_steps_on_axis_1() -> None:
    network = model(
        "g (float[2,7,5] x) => (float y) { y = GRU<hidden_size=3, layout=1>(x, w, r) }",
        w=(1, 9, 5),
        r=(1, 9, 3),
    )
    layer = only(layers(network))
    assert (layer.steps, layer.macs) == (7, 7 * 2 * 9 * (5 + 3))


def test_attention_of_four_axes_with_a_past() -> None:
    network = model(
        "g (float[1,8,4,16] q, float[1,8,6,16] k, float[1,8,6,12] v, float[1,8,10,16] pk, float[1,8,10,12] pv)"
        " => (float y, float nk, float nv) { y, nk, nv = Attention(q, k, v, , pk, pv) }",
        opset=23,
    )
    assert only(layers(network)).macs == 8 * 4 * (6 + 10) * (16 + 12)


def test_attention_of_three_axes_with_grouped_queries() -> None:
    network = model(
        "g (float[1,4,64] q, float[1,6,32] k, float[1,6,32] v) => (float y) {"
        " y = Attention<q_num_heads=8, kv_num_heads=4>(q, k, v) }",
        opset=23,
    )
    assert only(layers(network)).macs == 8 * 4 * 6 * (8 + 8)


def residual_network(
    stem: str, blocks: list[tuple[int, int]], kernel: int, size: int, classes: int
) -> onnx.ModelProto:
    """Basic blocks (channels out, stride) of two 3×3 convolutions each, with projections where the shape changes."""
    weights: dict[str, tuple[int, ...]] = {}
    lines = [stem]
    channels = blocks[0][0]
    weights["stem"] = (channels, 3, kernel, kernel)
    for index, (width, stride) in enumerate(blocks):
        source, skip = ("h" if index == 0 else f"out{index - 1}"), ""
        weights[f"a{index}"], weights[f"b{index}"] = (width, channels, 3, 3), (width, width, 3, 3)
        skip = source
        if stride > 1 or width != channels:
            skip = f"skip{index}"
            weights[f"p{index}"] = (width, channels, 1, 1)
            lines.append(f"{skip} = Conv<strides=[{stride},{stride}]>({source}, p{index})")
        lines += [
            f"c{index} = Conv<pads=[1,1,1,1], strides=[{stride},{stride}]>({source}, a{index})",
            f"r{index} = Relu(c{index})",
            f"d{index} = Conv<pads=[1,1,1,1]>(r{index}, b{index})",
            f"s{index} = Add(d{index}, {skip})",
            f"out{index} = Relu(s{index})",
        ]
        channels = width
    lines += [
        f"pooled = GlobalAveragePool(out{len(blocks) - 1})",
        "flat = Flatten(pooled)",
        "y = Gemm<transB=1>(flat, head, bias)",
    ]
    weights |= {"head": (classes, channels), "bias": (classes,)}
    body = "\n".join(lines)
    return model(f"g (float[N,3,{size},{size}] x) => (float[N,{classes}] y) {{ {body} }}", **weights)


def test_resnet20_for_cifar_has_40_6_million_macs() -> None:
    stem = "c = Conv<pads=[1,1,1,1]>(x, stem)\nh = Relu(c)"
    blocks = [(16, 1)] * 3 + [(32, 2), (32, 1), (32, 1)] + [(64, 2), (64, 1), (64, 1)]
    found = layers(residual_network(stem, blocks, 3, 32, 10))
    projections = sum(layer.macs for layer in found if layer.name.startswith("skip"))
    # The paper's shortcuts pad with zeros and multiply nothing.
    assert totals(found).macs - projections == 40_551_040
    assert projections == 2 * 16 * 16 * 32 * 16


def test_resnet18_has_1_81_billion_macs_and_11_7_million_parameters() -> None:
    stem = """c = Conv<pads=[3,3,3,3], strides=[2,2]>(x, stem) r = Relu(c)
        h = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(r)"""
    blocks = [(64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)]
    network = residual_network(stem, blocks, 7, 224, 1000)
    whole = totals(layers(network))
    assert round(whole.macs / 1e9, 2) == 1.81
    assert round(whole.parameters / 1e6, 2) == 11.68  # 11.69 with the scale and shift of batch normalisation
    assert totals(layers(network, batch=4)).macs == 4 * whole.macs
    assert totals(layers(network, batch=4)).parameters == whole.parameters


def labels(network: onnx.ModelProto) -> list[str]:
    return [layer.label for layer in layers(network)]


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


QDQ = """
    xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z)
    wd = DequantizeLinear(wq, s, z)
    c = Conv(xd, wd) r = Relu(c)
    rq = QuantizeLinear(r, s, z) rd = DequantizeLinear(rq, s, z)
    m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(rd)
    y = Conv(m, wd)
"""


def quantized(body: str) -> onnx.ModelProto:
    network = model(
        f"g (float[1,4,8,8] x) => (float y) <float s = {{0.1}}, int8 z = {{0}}> {{ {body} }}", w=(4, 4, 1, 1)
    )
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 4, 1, 1), np.int8), "wq"))
    return network


def test_quantized_layers_compute_and_store_eight_bits() -> None:
    quantize, first, pool, last = layers(quantized(QDQ))
    volume = 4 * 8 * 8
    assert (quantize.op, quantize.activation_bytes) == ("QuantizeLinear", 5 * volume)
    assert (first.precision, first.label) == ("int8", "Conv+Relu")
    assert first.fused == ("DequantizeLinear", "DequantizeLinear", "Relu", "QuantizeLinear")
    assert (first.activation_bytes, first.parameters) == (2 * volume, 16)
    assert (pool.precision, pool.activation_bytes) == (
        "int8",
        volume + volume // 4,
    )  # DQ moves behind the pooling
    assert last.precision == "int8"
    assert last.activation_bytes == volume // 4 + volume  # int8 in, float32 out
    assert last.parameters == 0  # the same weight again
    assert last.weight_bytes == 16


def test_a_quantize_dequantize_pair_between_two_operators_keeps_them_apart() -> None:
    body = "c = Conv(x, w) q = QuantizeLinear(c, s, z) d = DequantizeLinear(q, s, z) y = Relu(d)"
    conv, relu = layers(quantized(body))
    assert (conv.fused, relu.op) == (("QuantizeLinear",), "Relu")
    assert (conv.precision, relu.precision) == ("fp32", "fp32")


def test_one_float_operand_means_float_arithmetic() -> None:
    weight_only = only(layers(quantized("wd = DequantizeLinear(wq, s, z) y = Conv(x, wd)")))
    assert (weight_only.precision, weight_only.weight_bytes) == ("fp32", 16)
    body = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Conv(d, w)"
    assert layers(quantized(body))[1].precision == "fp32"


def test_float_weights_behind_a_quantize_dequantize_pair_are_stored_narrow() -> None:
    body = """xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z)
        v = QuantizeLinear(w, s, z) wd = DequantizeLinear(v, s, z) y = Conv(xd, wd)"""
    _, conv = layers(quantized(body))
    assert (conv.precision, conv.weight_bytes, conv.parameters) == ("int8", 16, 16)


def test_a_dequantized_output_is_written_in_float() -> None:
    body = "c = Conv(x, w) q = QuantizeLinear(c, s, z) y = DequantizeLinear(q, s, z)"
    conv, last = layers(quantized(body))
    assert (last.op, last.precision, last.activation_bytes) == ("DequantizeLinear", "fp32", 5 * 4 * 8 * 8)
    assert conv.activation_bytes == 5 * 4 * 8 * 8


def test_half_precision_weights_and_activations() -> None:
    network = model(
        "g (float16[1,4,8,8] x) => (float16 y) { y = Conv(x, w) }",
    )
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float16), "w"))
    layer = only(layers(network))
    assert (layer.precision, layer.weight_bytes, layer.activation_bytes) == ("fp16", 32, 2 * 2 * 256)


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


def test_weights_are_assembled_once_and_counted_once() -> None:
    network = model(
        """g (float[N,4] x) => (float y) {
        t = Transpose(w) both = Concat<axis=1>(t, t) a = MatMul(x, both) y = MatMul(a, both) }""",
        w=(2, 4),
    )
    first, second = layers(network)
    assert (first.parameters, second.parameters) == (8, 0)
    assert first.weight_bytes == second.weight_bytes == 4 * 16
    assert totals([first, second]).parameters == 8


def test_an_embedding_reads_the_rows_it_needs() -> None:
    network = model("g (int64[1,7] x) => (float y) { y = Gather(table, x) }", table=(1000, 16))
    layer = only(layers(network))
    assert layer.parameters == 16000
    assert layer.weight_bytes == 7 * 16 * 4
    assert layer.precision == "fp32"


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


def test_open_axes_besides_the_batch_need_a_shape() -> None:
    network = model("g (float[N,T,4] x) => (float y) { y = MatMul(x, w) }", w=(4, 2))
    with pytest.raises(NetworkError, match=r"axis of x: .*T.* left open.*--input x="):
        layers(network)
    assert only(layers(network, shapes={"x": (2, 5, 4)})).macs == 2 * 5 * 4 * 2


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


def test_the_model_is_not_changed() -> None:
    network = quantized(QDQ)
    before = network.SerializeToString(deterministic=True)
    layers(network, batch=2)
    assert network.SerializeToString(deterministic=True) == before


def test_layers_come_in_an_order_an_engine_can_run_them() -> None:
    network = model(
        """g (float[1,4,8,8] x) => (float y) {
        a = Conv(x, w) b = Conv(x, v) c = Add(a, b) d = Relu(c) e = Conv(d, w) f = Add(e, a) y = Mul(f, c) }""",
        w=(4, 4, 1, 1),
        v=(4, 4, 1, 1),
    )
    assert labels(network) == ["Conv", "Conv+Add", "Relu", "Conv+Add", "Mul"]


def test_integer_operators_of_older_exports() -> None:
    network = model(
        """g (uint8[1,4,8,8] x) => (uint8[1,2,8,8] y) <float s = {0.1}, uint8 z = {0}> {
        y = QLinearConv(x, s, z, wq, s, z, s, z) }"""
    )
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((2, 4, 1, 1), np.uint8), "wq"))
    layer = only(layers(network))
    assert (layer.precision, layer.macs, layer.parameters) == ("int8", 2 * 4 * 64, 8)


def test_packed_weights_of_four_bits() -> None:
    network = model(
        "g (float[3,32] x) => (float y) { wd = DequantizeLinear<axis=0>(w4, s) y = MatMul(x, wd) }", 21
    )
    network.graph.initializer.append(onnx.helper.make_tensor("w4", onnx.TensorProto.INT4, (32, 8), [1] * 256))
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(32, np.float32), "s"))
    layer = only(layers(network))
    assert (layer.precision, layer.parameters, layer.weight_bytes) == ("fp32", 256, 128)


def test_weights_that_onnx_runtime_packs_by_blocks() -> None:
    network = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 20, "com.microsoft": 1]> g (float[N,64] x) => (float[N,8] y) {
        y = com.microsoft.MatMulNBits<K=64, N=8, bits=4, block_size=32>(x, wq, s) }"""
    )
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((8, 2, 16), np.uint8), "wq"))
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(16, np.float32), "s"))
    layer = only(layers(network, batch=5))
    assert (layer.macs, layer.parameters, layer.counted) == (5 * 64 * 8, 512, True)
    assert layer.weight_bytes == 256 + 64
    assert layer.precision == "fp32"


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


def test_weights_in_a_file_beside_the_graph_are_not_needed() -> None:
    network = model("g (float[N,4] x) => (float y) { y = MatMul(x, w) }", w=(4, 2))
    tensor = network.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="nowhere.data")
    assert only(layers(network)).macs == 8


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


def test_a_transposed_weight_stays_quantized() -> None:
    network = quantized(
        """xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z) f = Flatten(xd)
        wd = DequantizeLinear(mq, s, z) t = Transpose(wd) y = Gemm(f, t)"""
    )
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((2, 256), np.int8), "mq"))
    *_, gemm = layers(network)
    assert (gemm.precision, gemm.weight_bytes, gemm.parameters) == ("int8", 512, 512)


def test_names_that_nothing_makes() -> None:
    for body in ("y = custom.Magic(nothing)", "z = Relu(x)"):
        with pytest.raises(NetworkError, match=r"'(nothing|y)', which nothing makes"):
            layers(model(f"g (float[2] x) => (float[2] y) {{ {body} }}"))


def test_sparse_weights_have_their_dense_shape() -> None:
    network = model("g (float[N,4] x) => (float y) { y = MatMul(x, w) }")
    sparse = network.graph.sparse_initializer.add(dims=[4, 3])
    sparse.values.CopyFrom(onnx.numpy_helper.from_array(np.ones(1, np.float32), "w"))
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.zeros(1, np.int64), "i"))
    assert only(layers(network)).macs == 12


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


def test_stale_shapes_in_the_file_are_not_believed() -> None:
    network = model("g (float[N,4] x) => (float y) { r = Exp(x) y = MatMul(r, w) }", w=(4, 2))
    network.graph.value_info.append(onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, [9, 4]))
    assert layers(network, batch=3)[0].outputs == ((3, 4),)


def test_an_input_of_unknown_rank_needs_a_shape() -> None:
    network = model("g (float[] x) => (float y) { y = Relu(x) }")
    with pytest.raises(NetworkError, match="left open"):
        layers(network)
    assert only(layers(network, shapes={"x": (2, 3)})).outputs == ((2, 3),)


def test_scalars_need_none() -> None:
    assert only(layers(model("g (float x) => (float y) { y = Relu(x) }"))).outputs == ((),)


def test_axes_without_a_name_are_open_too() -> None:
    network = model("g (float[?,4,?] x) => (float y) { y = Relu(x) }")
    with pytest.raises(NetworkError, match=r"float32\[\?, 4, \?\]"):
        layers(network)
    assert only(layers(network, shapes={"x": (2, 4, 5)})).outputs == ((2, 4, 5),)


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


def test_moving_reads_only_what_it_writes() -> None:
    network = model(
        """g (float[1,100] x) => (float y, float z) <int64[1] a = {0}, int64[1] b = {5}, int64[2] rows = {1, 2}> {
        y = Slice(x, a, b) z = Gather<axis=1>(x, rows) }"""
    )
    # Slice takes the first five rows, of which there is one; Gather takes two of its hundred numbers.
    whole, part = layers(network)
    assert (whole.activation_bytes, part.activation_bytes) == (800, 16)
    assert part.weight_bytes == 0


@pytest.mark.parametrize(
    "body, precisions",
    [
        ("q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)", ["fp32", "fp32"]),
        ("c = Cast<to=10>(x) y = Cast<to=1>(c)", ["fp16"]),
        ("a = ArgMax(x) y = Cast<to=1>(a)", ["fp32", "fp32"]),
        (
            "m = MaxPool<kernel_shape=[2,2]>(x) q = QuantizeLinear(m, s, z) y = DequantizeLinear(q, s, z)",
            ["fp32"] * 2,
        ),
        (
            """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) m = GlobalAveragePool(d)
            p = QuantizeLinear(m, s, z) y = DequantizeLinear(p, s, z)""",
            ["fp32", "int8", "fp32"],
        ),
        (
            """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) m = Softmax(d)
            p = QuantizeLinear(m, s, z) y = DequantizeLinear(p, s, z)""",
            ["fp32", "fp32", "fp32"],
        ),
        (
            "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = GlobalAveragePool(d)",
            ["fp32", "fp32"],
        ),
        ("y = custom.Conv(x, w)", ["fp32"]),
    ],
)
def test_precision_is_that_of_the_arithmetic(body: str, precisions: list[str]) -> None:
    assert [layer.precision for layer in layers(quantized(body))] == precisions


def test_integer_convolutions_compute_in_eight_bits() -> None:
    network = model("g (int8[1,4,8,8] x) => (int32 y) { y = ConvInteger(x, wq) }")
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((2, 4, 1, 1), np.int8), "wq"))
    assert only(layers(network)).precision == "int8"
