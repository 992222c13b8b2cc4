"""What is made of a file is held against the file as it came, on the user's samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.api.inputs import load_bound
from compress.data.task import Task, load_task
from compress.errors import NetworkError
from compress.network.network import Network
from compress.network.preparation import check_faithful, prepared_faithfully
from compress.onnx_graph import fold
from compress.onnx_graph.graph import attribute

node = helper.make_node
info = helper.make_tensor_value_info


def saved(path: Path, nodes: list[onnx.NodeProto], opset: int = 17) -> Path:
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((4, 3, 3, 3)), "s": np.array([1, 1, 2, 2])}
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [info("y", TensorProto.FLOAT, ["n", 4, None, None])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


CONV = node("Conv", ["x", "w"], ["c"], "conv")
PLAIN = [CONV, node("Relu", ["c"], ["y"])]
RESIZED = [CONV, node("Upsample", ["c", "s"], ["y"], "up", mode="linear")]


@pytest.fixture
def task() -> Task:
    x = np.random.default_rng(1).standard_normal((24, 3, 8, 8)).astype(np.float32)
    return load_task({"x": x})


def doubled(model: onnx.ModelProto) -> None:
    """A fold that is wrong: what the convolution makes is added to itself."""
    for each in model.graph.node:
        if each.op_type == "Relu":
            each.CopyFrom(node("Add", [each.input[0], each.input[0]], each.output, each.name))


def loaded(path: Path, task: Task) -> tuple[Network, Task]:
    return load_bound(task, path)


def test_a_fold_that_changes_the_network_is_left_out(tmp_path: Path, task: Task, monkeypatch):
    monkeypatch.setattr(fold, "plain_pools", doubled)
    network, _ = loaded(saved(tmp_path / "m.onnx", PLAIN), task)
    assert [each.op_type for each in fold.prepare(network.to_onnx()).graph.node] == ["Conv", "Relu"]


def test_a_faithful_fold_is_kept(tmp_path: Path, task: Task):
    network, bound = loaded(saved(tmp_path / "m.onnx", PLAIN), task)
    assert not network.to_onnx().metadata_props
    check_faithful(network, fold.prepare(network.to_onnx()), bound, "a graph")


def test_a_newer_opset_that_changes_the_network_is_refused_with_the_operator(
    tmp_path: Path, task: Task, monkeypatch
):
    original = fold.raise_opset

    def wrong(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
        raised = original(model, opset)
        for each in raised.graph.node:
            if attribute(each, "coordinate_transformation_mode"):
                kept = [entry for entry in each.attribute if entry.name == "mode"]
                each.ClearField("attribute")
                each.attribute.extend(kept)
        return raised

    monkeypatch.setattr(fold, "raise_opset", wrong)
    with pytest.raises(NetworkError, match=r"Upsample 'up' of opset 9; export it again"):
        loaded(saved(tmp_path / "m.onnx", RESIZED, opset=9), task)


def test_another_graph_is_no_original(tmp_path: Path, task: Task):
    network, bound = loaded(saved(tmp_path / "m.onnx", PLAIN), task)
    other = fold.prepare(network.to_onnx())
    doubled(other)
    with pytest.raises(NetworkError, match="a graph for the board that computes what the network does"):
        check_faithful(network, other, bound, "a graph for the board")


def test_what_rounding_alone_decides_is_no_difference(tmp_path: Path, task: Task):
    """An output that is nothing but rounding differs by all of itself."""
    nodes = [
        CONV,
        node("Mul", ["c", "c"], ["square"]),
        node("Sqrt", ["square"], ["size"]),
        node("Abs", ["c"], ["same"]),
        node("Sub", ["size", "same"], ["y"]),
    ]
    network, bound = loaded(saved(tmp_path / "m.onnx", nodes), task)
    assert prepared_faithfully(network, bound) is network


def test_a_file_that_does_not_run_on_the_samples_says_why(tmp_path: Path, task: Task):
    nodes = [CONV, node("Reshape", ["c", "to"], ["y"])]
    path = saved(tmp_path / "m.onnx", nodes)
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.array([7, 4, 6, 6]), "to"))
    onnx.save(model, path)
    with pytest.raises(NetworkError, match=r"x \[\d, 3, 8, 8\].*cannot be reshaped"):
        loaded(path, task)
