from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx import TensorProto, helper, numpy_helper

from compress.errors import OutputError
from compress.onnx_graph.fold import prepare
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.sessions import open_session, part
from compress.onnx_graph.weights import (
    LARGE,
    folder_of,
    is_outside,
    size_of_model,
    size_of_tensor,
    spooled,
    stored,
    values_of,
    without_files,
)
from tests.graphs import classifier, samples
from tests.random_graphs import networks

ROWS, WIDTH = 300, 64


def tied() -> onnx.ModelProto:
    """One matrix as embedding and, transposed, as last layer: int64 [batch, tokens] to [batch, tokens, 300]."""
    words = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["words", "x"], ["embedded"], "embed"),
        helper.make_node("Relu", ["embedded"], ["hidden"], "relu"),
        helper.make_node("Transpose", ["words"], ["across"], "transpose", perm=[1, 0]),
        helper.make_node("MatMul", ["hidden", "across"], ["y"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "tied",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "tokens", ROWS])],
        [numpy_helper.from_array(words, "words")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every weight is large enough for a file."""
    monkeypatch.setattr("compress.onnx_graph.weights.LARGE", 1)


@pytest.mark.usefixtures("small_files")
def test_weights_come_back_as_they_were():
    model = classifier()
    with spooled(model) as light:
        outside = [tensor for tensor in light.graph.initializer if is_outside(tensor)]
        assert len(outside) == len(model.graph.initializer)
        assert light.ByteSize() < model.ByteSize()
        assert size_of_model(light) == pytest.approx(model.ByteSize(), rel=0.3)
        for given, tensor in zip(model.graph.initializer, outside, strict=True):
            np.testing.assert_array_equal(values_of(tensor), numpy_helper.to_array(given))
            assert size_of_tensor(tensor) == numpy_helper.to_array(given).nbytes
        assert without_files(light).SerializeToString() == model.SerializeToString()
        folder = folder_of(light)
        assert folder is not None
        assert folder.is_dir()
    assert not folder.exists()


def test_small_weights_stay_inside():
    with spooled(classifier()) as light:
        assert folder_of(light) is None
        assert light.SerializeToString() == classifier().SerializeToString()


def test_types_that_numpy_lacks_stay_inside():
    model = classifier()
    halves = helper.make_tensor("halves", TensorProto.BFLOAT16, [LARGE], np.zeros(LARGE, np.float32))
    model.graph.initializer.append(halves)
    with spooled(model) as light:
        assert [is_outside(tensor) for tensor in light.graph.initializer][-1] is False


@pytest.mark.usefixtures("small_files")
def test_a_copy_shares_the_files_and_new_weights_join_them():
    with spooled(classifier()) as light:
        folder = folder_of(light)
        with spooled(light) as again:
            assert folder_of(again) == folder
        graph = Graph(light)
        name = graph.store("new", np.arange(10, dtype=np.float32))
        assert is_outside(graph.initializers[name])
        np.testing.assert_array_equal(graph.constant(name), np.arange(10))
        assert not is_outside(graph.initializers[graph.store("near", np.zeros(10), inside=True)])


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("as_written", [False, True])
def test_a_session_reads_the_files(as_written):
    model, batch = classifier(), {"x": samples(3)}
    wanted = open_session(model).run(None, batch)
    with spooled(model) as light:
        found = open_session(light, as_written=as_written).run(None, batch)
        (inside,) = open_session(part(Graph(light), ["r1"])).run(None, batch)
    np.testing.assert_array_equal(found[0], wanted[0])
    (whole,) = open_session(part(Graph(model), ["r1"])).run(None, batch)
    np.testing.assert_array_equal(inside, whole)


def test_a_session_of_a_heavy_model_takes_its_weights_from_files(monkeypatch):
    monkeypatch.setattr("compress.onnx_graph.sessions._HEAVY", 0)
    monkeypatch.setattr("compress.onnx_graph.weights.LARGE", 1)
    wanted = open_session(classifier(), optimized=False).run(None, {"x": samples(2)})
    monkeypatch.undo()
    found = open_session(classifier(), optimized=False).run(None, {"x": samples(2)})
    np.testing.assert_array_equal(found[0], wanted[0])


@given(model=networks())
@settings(max_examples=15, deadline=None)
def test_folding_does_the_same_wherever_weights_lie(model):
    inside = prepare(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compress.onnx_graph.weights.LARGE", 520)  # tensors that decide shapes stay inside
        with spooled(model) as light:
            assert without_files(prepare(light)).SerializeToString() == inside.SerializeToString()


def test_one_large_matrix_is_not_stored_twice_unless_it_may_be():
    once, twice = prepare(tied()), prepare(tied(), store_twice=True)
    assert once.ByteSize() < 1.2 * tied().ByteSize()
    assert [node.op_type for node in once.graph.node] == ["Gather", "Relu", "Transpose", "MatMul"]
    assert [node.op_type for node in twice.graph.node] == ["Gather", "Relu", "MatMul"]
    batch = {"x": np.array([[1, 5, 299]])}
    wanted, first, second = (open_session(each).run(None, batch)[0] for each in (tied(), once, twice))
    np.testing.assert_array_equal(first, wanted)
    np.testing.assert_allclose(second, wanted, rtol=1e-5)


def test_a_full_disk_says_what_to_do(tmp_path: Path):
    with pytest.raises(OutputError, match="TMPDIR"):
        stored("w", np.zeros(LARGE, np.float32), tmp_path / "missing" / "folder")
