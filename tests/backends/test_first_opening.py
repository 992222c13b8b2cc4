"""A build is opened for the first time in another process, and its crash is told."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.backends import first_opening
from compress.backends.first_opening import open_elsewhere
from compress.backends.onnxruntime import OnnxRuntime
from compress.errors import BundleError, NetworkError, UnavailableError
from compress.onnx_graph.fold import prepare
from compress.onnx_graph.half import in_half_precision
from compress.target import load_target
from tests.graphs import classifier

#: Stands for a runtime that crashes: the process that was asked to open a build kills itself.
_CRASHES = "import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.SIGSEGV)"


def test_one_process_opens_one_build_after_another(tmp_path: Path):
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    open_elsewhere(artifact)
    first = first_opening._running().process.pid
    open_elsewhere(artifact)
    assert first_opening._running().process.pid == first != os.getpid()


def test_what_the_runtime_says_is_raised_here(tmp_path: Path):
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    with pytest.raises(UnavailableError, match="NoSuchProvider"):
        open_elsewhere(replace(artifact, options={"provider": "NoSuchProvider"}))
    artifact.path.write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="an ONNX file"):
        open_elsewhere(artifact)


def test_a_crash_is_an_error_and_the_next_build_opens(tmp_path: Path, monkeypatch):
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    first_opening._running().close()
    with monkeypatch.context() as patched:
        patched.setattr(first_opening, "_CHILD", _CRASHES)
        with pytest.raises(NetworkError, match=r"model\.onnx, at which it crashed with SIGSEGV"):
            open_elsewhere(artifact)
    open_elsewhere(artifact)


def test_a_build_that_crashes_leaves_nothing(tmp_path: Path, monkeypatch):
    first_opening._running().close()
    monkeypatch.setattr(first_opening, "_CHILD", _CRASHES)
    with pytest.raises(NetworkError, match=signal.SIGSEGV.name):
        OnnxRuntime().compile(classifier(), tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_a_half_product_of_a_sequence_opens_as_tensorrt_gets_it(tmp_path: Path):
    """ONNX Runtime 1.31 and 1.32 crash at it with all their optimizations, on some processors."""
    model = in_half_precision(prepare(time_first()), "float16")
    backend = OnnxRuntime()
    artifact = backend.compile(model, tmp_path, backend.default_options(load_target("jetson")))
    with backend.open(artifact) as session:
        x = np.random.default_rng(0).standard_normal((2, 7, 16)).astype(np.float32)
        assert session.run({"x": x})[0].shape == (2, 4)


def time_first() -> onnx.ModelProto:
    """A network that puts time before the samples, as torch's recurrent layers and transformers do."""
    weights = {"w": np.ones((16, 32), np.float32) / 16, "v": np.ones((32, 4), np.float32) / 32}
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            helper.make_node("MatMul", ["t", "w"], ["h"]),
            helper.make_node("ReduceMean", ["h"], ["m"], axes=[0], keepdims=0),
            helper.make_node("MatMul", ["m", "v"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 7, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
