"""The MACs of a layer are what its operators multiply."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.onnx_graph.layers import layers, totals
from tests.onnx_graph.textual_models import model, only


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
