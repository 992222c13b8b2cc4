"""Programs of a bundle ask for the execution providers that it was measured in; none of a GPU's is needed for that."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from compress.bundle.programs import Sample, programs
from compress.bundle.programs.sample import Value
from compress.core.tensor_spec import TensorSpec
from compress.onnx_graph.files import save_model
from tests.graphs import classifier

INPUTS = (TensorSpec("x", "float32", ("batch", 4)),)
SAMPLE = Sample(
    (Value("x", np.zeros((1, 4), np.float32), "sample/input-0.bin"),),
    (Value("y", np.zeros((1, 2), np.float32), "sample/output-0.bin", 1e-3),),
    1,
    "noise",
    1e-3,
)


def told(provider: str, precision: str = "fp32", **options: object) -> tuple[object, str, str]:
    """What run.py asks a session for, and both programs."""
    written = programs("onnxruntime", INPUTS, SAMPLE, {"provider": provider, **options}, None, precision)
    calls = [node for node in ast.walk(ast.parse(written["run.py"])) if isinstance(node, ast.Call)]
    (asked,) = (word.value for call in calls for word in call.keywords if word.arg == "providers")
    return ast.literal_eval(asked), written["run.py"], written["run.cpp"]


def test_tensorrt_is_asked_for_with_its_precisions_and_cuda_behind_it() -> None:
    asked, python, cpp = told("TensorrtExecutionProvider", "fp16")
    options = {"trt_fp16_enable": "1", "trt_int8_enable": "0"}
    assert asked == [("TensorrtExecutionProvider", options), "CUDAExecutionProvider"]
    assert "onnxruntime-gpu" in python
    assert 'tensorrt_keys[] = {"trt_fp16_enable", "trt_int8_enable"};' in cpp
    assert 'tensorrt_values[] = {"1", "0"};' in cpp
    assert 0 < cpp.index("AppendExecutionProvider_TensorRT_V2") < cpp.index("AppendExecutionProvider_CUDA")


def test_xnnpack_has_the_threads() -> None:
    asked, python, cpp = told("XnnpackExecutionProvider", intra_op_threads=4)
    assert asked == [("XnnpackExecutionProvider", {"intra_op_num_threads": "4"})]
    assert "intra_op_num_threads = 1\n" in python
    assert "SetIntraOpNumThreads(1)" in cpp
    assert 'AppendExecutionProvider("XNNPACK", {{"intra_op_num_threads", "4"}})' in cpp


def test_the_processor_is_not_asked_for_in_cpp() -> None:
    asked, _, cpp = told("CPUExecutionProvider", intra_op_threads=4)
    assert asked == ["CPUExecutionProvider"]
    assert "SetIntraOpNumThreads(4)" in cpp
    assert "AppendExecutionProvider" not in cpp


def test_a_provider_that_is_not_there_is_no_silent_run_on_the_processor(tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the CUDA provider")
    save_model(classifier(), tmp_path / "model.onnx")
    for provider, wrong in (
        ("CPUExecutionProvider", ""),
        ("CUDAExecutionProvider", "wanted CUDAExecutionProvider"),
    ):
        (tmp_path / "run.py").write_text(told(provider)[1])
        code = "from run import Network; Network()"
        found = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600
        )
        assert (found.returncode != 0, wrong in found.stderr) == (bool(wrong), True), found.stderr


def test_an_optimization_that_crashes_at_the_graph_is_left_out_in_both_programs() -> None:
    for options, others in (({}, []), ({"qdq_fusion": False}, ["ReluQuantRewrite", "ClipQuantRewrite"])):
        written = programs("onnxruntime", INPUTS, SAMPLE, options, crashing=["NchwcTransformer"])
        assert f"disabled_optimizers={[*others, 'NchwcTransformer']!r}" in written["run.py"]
        assert f'"{";".join([*others, "NchwcTransformer"])}"' in written["run.cpp"]
