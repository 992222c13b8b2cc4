"""An ONNX file that loops for ever, or asks for all memory, once it is given samples: each command ends in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.helper import make_node

from compress import optimize, quantize
from compress.core import child_process
from compress.data.task import load_task
from compress.errors import NetworkError
from compress.gate import gate
from compress.measuring.standalone import profile_artifact
from compress.network.formats.first_reading import read_elsewhere
from tests.graphs import samples

_FOLLOWS = [
    make_node("Abs", ["x"], ["size"]),
    make_node("ReduceMax", ["size"], ["largest"], keepdims=0),
    make_node("Mul", ["largest", "nothing"], ["zero"]),
    make_node("Cast", ["zero"], ["whole"], to=TensorProto.INT64),
    make_node("Add", ["whole", "huge"], ["count"]),
]


def _saved(path: Path, nodes: list[onnx.NodeProto], huge: int) -> Path:
    value = helper.make_tensor_value_info
    constants = {
        "nothing": np.array(0, np.float32),
        "huge": np.array(huge, np.int64),
        "true": np.array(True),
        "one": np.array(1, np.float32),
        "any": np.array([-1], np.int64),
    }
    graph = helper.make_graph(
        [*_FOLLOWS, *nodes],
        "g",
        [value("x", TensorProto.FLOAT, ["batch", 6])],
        [value("y", TensorProto.FLOAT, ["batch", 6])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def endless(path: Path) -> Path:
    """A Loop whose trip count follows from the input; no folding ends it beforehand."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [make_node("Identity", ["going"], ["again"]), make_node("Add", ["state", "one"], ["next"])],
        "body",
        [
            value("number", TensorProto.INT64, []),
            value("going", TensorProto.BOOL, []),
            value("state", TensorProto.FLOAT, ["batch", 6]),
        ],
        [value("again", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, ["batch", 6])],
    )
    return _saved(path, [make_node("Loop", ["count", "true", "x"], ["y"], body=body)], 10**15)


def hungry(path: Path) -> Path:
    """An Expand to a size that follows from the input, of 4 TB."""
    nodes = [
        make_node("Reshape", ["count", "any"], ["sizes"]),
        make_node("Expand", ["one", "sizes"], ["all"]),
        make_node("ReduceSum", ["all"], ["sum"], keepdims=0),
        make_node("Add", ["x", "sum"], ["y"]),
    ]
    return _saved(path, nodes, 10**12)


@pytest.mark.parametrize("make", [endless, hungry])
def test_a_first_run_has_limits_of_time_and_memory(
    make: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(make)
    path = make(tmp_path / "net.onnx")
    monkeypatch.setattr(child_process, "_RUN_S", 2.0)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    read_elsewhere(path, "onnx")  # nothing is wrong with the file itself
    data = {"x": np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)}
    told = r"net\.onnx, at which it took more .*give smaller samples; or take out of it what does not end"
    with pytest.raises(NetworkError, match=told):
        quantize(path, data=data, out=tmp_path / "q.onnx")
    with pytest.raises(NetworkError, match=told):
        optimize(path, data=data, target="cpu", out=tmp_path / "build")
    with pytest.raises(NetworkError, match=told):
        profile_artifact(path, task=load_task(data))
    with pytest.raises(NetworkError, match=told):
        profile_artifact(path)
    with pytest.raises(NetworkError, match=told):
        gate(path, path, task=load_task(data))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net.onnx"]


def test_what_a_run_may_take_grows_with_the_network_and_its_samples() -> None:
    small, large = child_process.limits_of_a_run(0, 0), child_process.limits_of_a_run(10**9, 10**7)
    assert small.seconds == 30
    assert large.seconds == pytest.approx(30 + 1000 + 200)
    assert small.memory == large.memory
    assert small.threads >= 1


def test_what_does_not_fit_is_told_by_whoever_binds_the_data(tmp_path: Path) -> None:
    """The other process says nothing about shapes."""
    from tests.graphs import classifier

    onnx.save(classifier(), tmp_path / "net.onnx")
    read_elsewhere(tmp_path / "net.onnx", "onnx run", example={"x": samples(4)[:, :3]})
