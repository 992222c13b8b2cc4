from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.errors import NetworkError, RecipeError
from compress.network.network import load_network
from compress.onnx_graph.files import save_model
from compress.quantization.dynamic import quantize_dynamic
from compress.target.target import load_target
from compress.techniques.base import Context
from compress.techniques.quantize_dynamic import QuantizeDynamic
from tests.graphs import classifier
from tests.processor import U8S8


def matrices() -> onnx.ModelProto:
    """x → two MatMul that share it (one with a bias) → their product → Gemm with a transposed weight."""
    random = np.random.default_rng(0)
    stored = {
        "left": random.normal(0, 1, (16, 24)) * np.geomspace(0.01, 1, 24),
        "right": random.normal(0, 1, (16, 24)),
        "shift": random.normal(0, 1, 24),
        "head": random.normal(0, 1, (6, 24)),
        "bias": random.normal(0, 1, 6),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "left"], ["a"], "left"),
        helper.make_node("MatMul", ["x", "right"], ["b"], "right"),
        helper.make_node("Add", ["b", "shift"], ["c"], "shifted"),
        helper.make_node("Mul", ["a", "c"], ["d"], "product"),
        helper.make_node("ReduceSum", ["d", "axes"], ["e"], "sum", keepdims=0),
        helper.make_node("Gemm", ["e", "head", "bias"], ["y"], "head", transB=1),
    ]
    initializers = [
        numpy_helper.from_array(values.astype(np.float32), name) for name, values in stored.items()
    ]
    initializers.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    graph = helper.make_graph(
        nodes,
        "matrices",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 5, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 6])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def session(model: onnx.ModelProto, optimized: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def test_it_is_legal_close_and_keeps_inputs_and_outputs() -> None:
    model = matrices()
    before = model.SerializeToString()
    quantized, nodes = quantize_dynamic(model, U8S8)
    onnx.checker.check_model(quantized, full_check=True)
    assert model.SerializeToString() == before
    assert nodes == ("left", "right", "head")
    assert (quantized.graph.input, quantized.graph.output) == (model.graph.input, model.graph.output)
    # No calibration: inputs a thousand times larger are as good.
    for scale in (1, 1000):
        x = scale * np.random.default_rng(1).standard_normal((7, 5, 16)).astype(np.float32)
        (wanted,), (found,) = (session(each).run(None, {"x": x}) for each in (model, quantized))
        assert np.square(found - wanted).sum() < 1e-3 * np.square(wanted).sum()


def test_the_runtime_fuses_every_product(tmp_path: Path) -> None:
    quantized, nodes = quantize_dynamic(matrices(), U8S8)
    session(quantized, tmp_path / "optimized.onnx")
    found = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    fused = sum(op in ("DynamicQuantizeMatMul", "MatMulIntegerToFloat") for op in found)
    assert fused == len(nodes)
    assert "MatMulInteger" not in found


def test_an_input_is_quantized_once_for_all_its_readers() -> None:
    quantized, _ = quantize_dynamic(matrices(), U8S8)
    made = [node for node in quantized.graph.node if node.op_type == "DynamicQuantizeLinear"]
    assert sorted(node.input[0] for node in made) == ["e", "x"]


def test_what_is_excluded_stays_float() -> None:
    quantized, nodes = quantize_dynamic(matrices(), U8S8, ("head",))
    assert nodes == ("left", "right")
    assert any(node.name == "head" and node.op_type == "Gemm" for node in quantized.graph.node)


def test_nothing_to_quantize_is_said() -> None:
    with pytest.raises(NetworkError, match="MatMul or Gemm"):
        quantize_dynamic(classifier(), U8S8, ("fc",))
    quantized, _ = quantize_dynamic(matrices(), U8S8)
    with pytest.raises(NetworkError, match="quantized already"):
        quantize_dynamic(quantized, U8S8)


def test_as_a_technique_it_wants_a_runtime_that_can(tmp_path: Path) -> None:
    save_model(matrices(), tmp_path / "model.onnx")
    network = load_network(tmp_path / "model.onnx")
    context = Context(None, load_target("cpu"))
    result = QuantizeDynamic(exclude_nodes=["head"]).apply(network, context)
    assert context.reports["quantize_dynamic"]["int8_nodes"] == ["left", "right"]
    assert "MatMulInteger" in {node.op_type for node in result.to_onnx().graph.node}
    with pytest.raises(RecipeError, match="statically"):
        QuantizeDynamic().apply(network, Context(None, load_target("h100-sxm")))
