"""A build is opened and run for the first time in another process, and its crash is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress import quantize
from compress.api.distill import evaluate
from compress.backends import first_opening
from compress.backends.first_opening import open_elsewhere
from compress.backends.onnxruntime import OnnxRuntime
from compress.data.task import load_task
from compress.errors import BundleError, DataError, NetworkError, UnavailableError
from compress.gate import gate
from compress.measuring.standalone import profile_artifact
from compress.network.network import load_network
from compress.onnx_graph.files import save_model
from compress.onnx_graph.fold import prepare
from compress.onnx_graph.half import in_half_precision
from compress.target.target import load_target
from compress.timing.processes import stored_feeds, workers
from tests.graphs import classifier, samples

#: Stands for a runtime that crashes: the process that was asked to open a build kills itself.
_CRASHES = "import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.SIGSEGV)"

#: One that opens every build, and crashes at running one whose path names it.
_CRASHES_AT_RUNNING = """
import json, os, signal, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["feeds"] and "{name}" in request["build"]["path"]:
        os.kill(os.getpid(), signal.SIGSEGV)
    print("null", flush=True)
"""


@pytest.fixture
def crashes_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Let the other process crash when it runs a build with this in its path."""

    def stand_in(name: str) -> None:
        first_opening._running().close()
        monkeypatch.setattr(first_opening, "_CHILD", _CRASHES_AT_RUNNING.replace("{name}", name))

    yield stand_in
    first_opening._running().close()


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


def test_a_build_is_run_on_what_is_fed(tmp_path: Path):
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    open_elsewhere(artifact, {"x": samples(2)})
    with pytest.raises(DataError, match="x: float32"):
        open_elsewhere(artifact, {"x": samples(2)[:, :2]})


def test_an_input_may_be_called_file(tmp_path: Path):
    """As the first argument is of what writes batches into files."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["file"], ["y"])],
        "g",
        [helper.make_tensor_value_info("file", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    artifact, batch = OnnxRuntime().compile(model, tmp_path, {}), {"file": np.ones((2, 3), np.float32)}
    open_elsewhere(artifact, batch)
    with stored_feeds({2: batch}) as paths, workers([artifact], paths) as (worker,):
        assert len(worker.calls(2, 0.0, least=1, most=1)) == 1


def test_a_crash_at_running_is_told(tmp_path: Path, crashes_at: Callable[[str], None]):
    artifact = OnnxRuntime().compile(classifier(), tmp_path, {})
    crashes_at("model.onnx")
    open_elsewhere(artifact)
    with pytest.raises(NetworkError, match=r"a build that runs in onnxruntime; .* crashed with SIGSEGV"):
        open_elsewhere(artifact, {"x": samples(2)})


def test_every_command_runs_a_build_elsewhere_before_it_runs_it_here(
    tmp_path: Path, crashes_at: Callable[[str], None]
):
    for name in ("one.onnx", "other.onnx"):
        save_model(classifier(), tmp_path / name)
    task = load_task({"x": samples(60)})
    crashes_at("result")
    with pytest.raises(NetworkError, match="SIGSEGV"):
        quantize(tmp_path / "one.onnx", data={"x": samples(60)}, out=tmp_path / "q.onnx")
    assert not (tmp_path / "q.onnx").exists()
    crashes_at("one.onnx")
    with pytest.raises(NetworkError, match="SIGSEGV"):
        profile_artifact(tmp_path / "one.onnx", task=task)
    with pytest.raises(NetworkError, match=r"the candidate, \S*one\.onnx: .*SIGSEGV"):
        gate(tmp_path / "one.onnx", tmp_path / "other.onnx", task=task)
    with pytest.raises(NetworkError, match=r"the baseline, \S*one\.onnx: .*SIGSEGV"):
        gate(tmp_path / "other.onnx", tmp_path / "one.onnx", task=task)
    network = load_network(tmp_path / "one.onnx")
    crashes_at("model.onnx")
    with pytest.raises(NetworkError, match="SIGSEGV"):
        evaluate({"original": network}, task.bind(network.inputs, network.outputs))


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
