from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from compress.onnx_graph.coverage import fusion_coverage
from compress.quantization import Settings, quantize_static
from compress.records.coverage import Coverage
from compress.target.target import QuantizationFlavour
from tests.random_graphs import SIDE, Builder

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)


def coverage_of(model: onnx.ModelProto, directory: Path) -> Coverage:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(directory / "optimized.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return fusion_coverage(directory / "optimized.onnx")


def residual_network() -> tuple[Builder, str]:
    builder = Builder(0, 3)
    return builder, builder.head(builder.relu(builder.residual(builder.relu(builder.conv("x", 8)))))


def quantized(model: onnx.ModelProto, **settings: object) -> onnx.ModelProto:
    x = np.random.default_rng(0).standard_normal((8, 3, SIDE, SIDE)).astype(np.float32)
    return quantize_static(model, [{"x": x}], U8S8, Settings(**settings))[0]


def test_a_network_that_is_wholly_int8(tmp_path):
    builder, output = residual_network()
    found = coverage_of(quantized(builder.model(output)), tmp_path)
    assert found.int8 == {"QGemm": 1, "QLinearAdd": 1, "QLinearConv": 3, "QLinearGlobalAveragePool": 1}
    assert not found.float_compute
    assert not found.float_cheap
    assert (found.quantize, found.dequantize) == (1, 0)
    assert found.int8_mac_share == 1


def test_the_float_network(tmp_path):
    builder, output = residual_network()
    found = coverage_of(builder.model(output), tmp_path)
    assert not found.int8
    assert sum(found.float_compute.values()) == 4
    assert found.float_cheap == {"ReduceMean": 1}
    assert found.int8_mac_share == 0


def test_the_share_counts_multiply_accumulates(tmp_path):
    builder = Builder(0, 3)
    first = builder.conv("x", 16)  # 64 pixels · 16 · 3 · 9 = 27,648
    second = builder.conv(builder.relu(first), 16, kernel=1)  # 64 · 16 · 16 = 16,384
    model = builder.model(builder.head(second))  # 5 · 16 = 80
    found = coverage_of(quantized(model, exclude_nodes=[f"Conv_{first}"]), tmp_path)
    assert found.int8_mac_share == pytest.approx((16_384 + 80) / (27_648 + 16_384 + 80))
    assert sum(found.float_compute.values()) == 1


def test_recurrent_and_batched_products_count(tmp_path):
    builder = Builder(0, 3)
    rows = builder.add(
        "Squeeze",
        builder.add("ReduceMean", "x", axes_of(builder, 1), shape=(1, 8, 8)),
        axes_of(builder, 1),
        shape=(8, 8),
    )
    steps = builder.add("Transpose", rows, perm=[1, 0, 2], shape=(8, 8))
    weights = [builder.weights(1, 4 * 6, 8), builder.weights(1, 4 * 6, 6)]
    builder.add("LSTM", steps, *weights, hidden_size=6, shape=(1, 1, 6))
    state = builder.add("Squeeze", builder.nodes[-1].output[0], axes_of(builder, 1), shape=(8, 6))
    model = builder.model(builder.add("MatMul", state, builder.weights(6, 5), shape=(1, 5)))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    for axis in ("time", "batch", 5):
        dim = model.graph.output[0].type.tensor_type.shape.dim.add()
        dim.dim_value, dim.dim_param = (axis, "") if isinstance(axis, int) else (0, axis)
    found = coverage_of(quantized(model), tmp_path)
    lstm, product = 8 * (24 * 8 + 24 * 6), 8 * 6 * 5
    assert found.int8_mac_share == pytest.approx(product / (lstm + product))


def axes_of(builder: Builder, *axes: int) -> str:
    return builder.constant(np.array(axes, np.int64))


def test_without_shapes_there_is_no_share(tmp_path):
    builder = Builder(0, 3)
    model = builder.model(builder.conv("x", 8))
    # Zeros at size 1 do not fit: the height must be eight, and the graph no longer says so.
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    flat = builder.constant(np.array([-1, 512], np.int64))
    model.graph.initializer.extend(builder.initializers[-1:])
    model.graph.node.append(onnx.helper.make_node("Reshape", [model.graph.output[0].name, flat], ["flat"]))
    model.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info("flat", onnx.TensorProto.FLOAT, [None, 512])
    )
    found = coverage_of(model, tmp_path)
    assert found.int8_mac_share is None
    assert sum(found.float_compute.values()) == 1


def test_arithmetic_on_integers_is_not_counted(tmp_path):
    builder = Builder(0, 3)
    batch = builder.add("Shape", "x", end=1, shape=(1,))
    twice = builder.add("Mul", batch, builder.constant(np.array([2], np.int64)), shape=(1,))
    factor = builder.add("Cast", twice, to=onnx.TensorProto.FLOAT, shape=(1,))
    found = coverage_of(builder.model(builder.add("Div", builder.conv("x", 8), factor)), tmp_path)
    assert found.float_cheap == {"Div": 1}


def test_it_survives_json(tmp_path):
    builder, output = residual_network()
    assert coverage_of(builder.model(output), tmp_path).to_dict()["float_cheap"] == {"ReduceMean": 1}
