"""Traces of real sessions, and made-up ones where a real one cannot be told to be interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.backends.base import Artifact, OperatorTimes
from compress.backends.onnxruntime import OnnxRuntime
from compress.backends.onnxruntime_trace import operator_times
from compress.onnx_graph.files import save_model, sha256_of, size_of
from tests.graphs import classifier, samples


def traced(model: onnx.ModelProto, directory: Path, **feeds: np.ndarray) -> OperatorTimes:
    path = save_model(model, directory / "model.onnx")
    artifact = Artifact(path, sha256_of(path), size_of(path), "onnxruntime", {})
    found = OnnxRuntime().operator_times(artifact, feeds, 0.01)
    assert found is not None
    return found


def test_operators_are_those_that_run_with_their_arithmetic(tmp_path: Path) -> None:
    # The runtime pads channels to the width of the processor's registers, and then runs the padding too.
    found = traced(classifier(channels=32), tmp_path, x=samples(2))
    assert "Relu" not in {each.operator for each in found.operators}  # fused into the convolutions
    convolutions = [each for each in found.operators if each.kind == "convolution"]
    assert [each.macs for each in convolutions] == [2 * 32 * 64 * 27, 2 * 32 * 64 * 32 * 9]
    assert {each.precision for each in convolutions} == {"fp32"}
    assert convolutions[0].outputs == ((2, 32, 8, 8),)
    assert convolutions[0].bytes >= 4 * (2 * 3 * 64 + 2 * 32 * 64)
    (product,) = [each for each in found.operators if each.operator == "Gemm"]
    assert product.macs == 2 * 32 * 4
    assert product.bytes == 4 * (2 * 32 + 32 * 4 + 4 + 2 * 4)  # its packed weights too, which no trace lists


def test_operators_leave_something_of_the_call(tmp_path: Path) -> None:
    found = traced(classifier(), tmp_path, x=samples(8))
    assert 0 < sum(each.ms for each in found.operators) <= found.call_ms


def test_only_a_processor_is_traced(tmp_path: Path) -> None:
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {"provider": "CPUExecutionProvider"})
    elsewhere = replace(artifact, options={"provider": "CUDAExecutionProvider"})
    assert OnnxRuntime().operator_times(elsewhere, {"x": samples(1)}, 0.01) is None


def test_nothing_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    traced(classifier(), tmp_path, x=samples(1))
    assert {path.name for path in tmp_path.rglob("*")} == {"temporary", "model.onnx"}


def test_an_integer_operator_is_counted_as_its_arithmetic(tmp_path: Path) -> None:
    def constant(name: str, value: Any) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(value), name)

    scale, zero = np.float32(0.1), np.uint8(0)
    graph = helper.make_graph(
        [helper.make_node("QLinearMatMul", ["a", "s", "z", "b", "s", "z", "s", "z"], ["c"], "product")],
        "quantized",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [3, 5])],
        [helper.make_tensor_value_info("c", TensorProto.UINT8, [3, 7])],
        [constant("s", scale), constant("z", zero), constant("b", np.ones((5, 7), np.uint8))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (found,) = traced(model, tmp_path, a=np.ones((3, 5), np.uint8)).operators
    assert (found.macs, found.precision, found.kind) == (3 * 5 * 7, "int8", "matrix multiplication")


def test_the_body_of_a_loop_counts_once(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes"], "inner_condition"),
            helper.make_node("Add", ["sum", "x"], ["next"], "inner_add"),
        ],
        "body",
        [
            helper.make_tensor_value_info("at", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [4]),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [4]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "", "x"], ["y"], "loop", body=body)],
        "loops",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(np.array(50, np.int64), "times")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    found = traced(model, tmp_path, x=np.ones(4, np.float32))
    assert [each.operator for each in found.operators] == ["Loop"]
    assert found.operators[0].macs is None


def call(operator_us: int, whole_us: int) -> list[dict[str, Any]]:
    args = {
        "op_name": "Relu",
        "node_index": "0",
        "input_type_shape": [{"float": [1, 4]}],
        "output_type_shape": [{"float": [1, 4]}],
        "activation_size": "16",
        "parameter_size": "0",
        "output_size": "16",
    }
    return [
        {"cat": "Node", "name": "relu_kernel_time", "dur": operator_us, "args": args},
        {"cat": "Session", "name": "SequentialExecutor::Execute", "dur": whole_us - 1, "args": {}},
        {"cat": "Session", "name": "model_run", "dur": whole_us, "args": {}},
    ]


RELU = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "graph", [], [])


def test_interrupted_calls_do_not_count() -> None:
    events = [
        *call(9000, 9010),
        *call(10, 20),
        *call(10, 20),
        *call(10, 5000),
        *call(10, 20),
        *call(8000, 8010),
    ]
    found = operator_times(events, RELU)
    assert found is not None
    assert found.call_ms == pytest.approx(0.02)
    (relu,) = found.operators
    assert relu.ms == pytest.approx(0.01)
    assert relu.bytes == 32


def test_a_trace_without_calls_tells_nothing() -> None:
    assert operator_times([{"cat": "Session", "name": "session_initialization", "dur": 5}], RELU) is None


def test_a_node_the_graph_does_not_hold_has_no_arithmetic() -> None:
    found = operator_times(call(10, 20), helper.make_graph([], "empty", [], []))
    assert found is not None
    assert (found.operators[0].macs, found.operators[0].kind) == (None, "unknown")
