"""In which precision a layer computes, and how many bytes it stores, reads and writes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

from compress.onnx_graph.layers import layers, totals
from tests.onnx_graph.textual_models import QDQ, model, only, quantized


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


def test_a_transposed_weight_stays_quantized() -> None:
    network = quantized(
        """xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z) f = Flatten(xd)
        wd = DequantizeLinear(mq, s, z) t = Transpose(wd) y = Gemm(f, t)"""
    )
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((2, 256), np.int8), "mq"))
    *_, gemm = layers(network)
    assert (gemm.precision, gemm.weight_bytes, gemm.parameters) == ("int8", 512, 512)


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


def test_half_precision_weights_and_activations() -> None:
    network = model(
        "g (float16[1,4,8,8] x) => (float16 y) { y = Conv(x, w) }",
    )
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float16), "w"))
    layer = only(layers(network))
    assert (layer.precision, layer.weight_bytes, layer.activation_bytes) == ("fp16", 32, 2 * 2 * 256)


def test_integer_operators_of_older_exports() -> None:
    network = model(
        """g (uint8[1,4,8,8] x) => (uint8[1,2,8,8] y) <float s = {0.1}, uint8 z = {0}> {
        y = QLinearConv(x, s, z, wq, s, z, s, z) }"""
    )
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((2, 4, 1, 1), np.uint8), "wq"))
    layer = only(layers(network))
    assert (layer.precision, layer.macs, layer.parameters) == ("int8", 2 * 4 * 64, 8)


def test_integer_convolutions_compute_in_eight_bits() -> None:
    network = model("g (int8[1,4,8,8] x) => (int32 y) { y = ConvInteger(x, wq) }")
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((2, 4, 1, 1), np.int8), "wq"))
    assert only(layers(network)).precision == "int8"


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


def test_moving_reads_only_what_it_writes() -> None:
    network = model(
        """g (float[1,100] x) => (float y, float z) <int64[1] a = {0}, int64[1] b = {5}, int64[2] rows = {1, 2}> {
        y = Slice(x, a, b) z = Gather<axis=1>(x, rows) }"""
    )
    # Slice takes the first five rows, of which there is one; Gather takes two of its hundred numbers.
    whole, part = layers(network)
    assert (whole.activation_bytes, part.activation_bytes) == (800, 16)
    assert part.weight_bytes == 0
