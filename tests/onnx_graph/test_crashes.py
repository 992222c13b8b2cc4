"""Graphs at which an optimization of ONNX Runtime dies: known before they are opened, and opened all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.backends.base import Artifact
from compress.backends.first_opening import open_elsewhere
from compress.cli import main
from compress.onnx_graph.crashes import NCHWC, crashing_optimizations
from compress.onnx_graph.files import sha256_of, size_of

SHAPE = [2, 6, 16]


def product(*before: onnx.NodeProto, source: int, computed: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A product by a constant behind some nodes, the last of which makes ``t``."""
    kind = helper.tensor_dtype_to_np_dtype(computed)
    weight = numpy_helper.from_array(np.ones((16, 8), kind), "w")
    graph = helper.make_graph(
        [*before, helper.make_node("MatMul", ["t", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", source, SHAPE)],
        [helper.make_tensor_value_info("y", computed, [6, 2, 8])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def swapped(given: str, made: str) -> onnx.NodeProto:
    return helper.make_node("Transpose", [given], [made], perm=[1, 0, 2])


def cast(given: str, made: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [given], [made], to=TensorProto.FLOAT)


HALF = product(swapped("x", "t"), source=TensorProto.FLOAT16, computed=TensorProto.FLOAT16)
DEADLY = {
    "float16": HALF,
    "float16, an activation between": product(
        swapped("x", "a"),
        helper.make_node("Relu", ["a"], ["t"]),
        source=TensorProto.FLOAT16,
        computed=TensorProto.FLOAT16,
    ),
    **{
        f"a cast from {TensorProto.DataType.Name(source)}": product(
            swapped("x", "a"), cast("a", "t"), source=source
        )
        for source in (TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT8, TensorProto.DOUBLE)
    },
}
HARMLESS = {
    "float32": product(swapped("x", "t"), source=TensorProto.FLOAT),
    "a cast alone": product(
        cast("x", "a"), helper.make_node("Reshape", ["a", "w"], ["t"]), source=TensorProto.INT32
    ),
}


def file_of(model: onnx.ModelProto, directory: Path) -> Path:
    path = directory / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name", DEADLY)
def test_a_graph_that_kills_the_optimization_is_known_and_opens(name: str, tmp_path: Path):
    path = file_of(DEADLY[name], tmp_path)
    assert crashing_optimizations(path) == [NCHWC]
    assert crashing_optimizations(DEADLY[name].SerializeToString()) == [NCHWC]
    dtype = helper.tensor_dtype_to_np_dtype(DEADLY[name].graph.input[0].type.tensor_type.elem_type)
    open_elsewhere(
        Artifact(path, sha256_of(path), size_of(path), "onnxruntime", {}), {"x": np.ones(SHAPE, dtype)}
    )


@pytest.mark.parametrize("name", HARMLESS)
def test_other_graphs_keep_every_optimization(name: str, tmp_path: Path):
    assert crashing_optimizations(file_of(HARMLESS[name], tmp_path)) == []


def test_a_graph_inside_a_node_counts(tmp_path: Path):
    body = helper.make_graph(
        list(HALF.graph.node),
        "body",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [6, 2, 8])],
    )
    node = helper.make_node("If", ["yes"], ["z"], then_branch=body, else_branch=body)
    graph = helper.make_graph(
        [node],
        "g",
        [*HALF.graph.input, helper.make_tensor_value_info("yes", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT16, [6, 2, 8])],
        list(HALF.graph.initializer),
    )
    model = helper.make_model(graph, opset_imports=HALF.opset_import, ir_version=10)
    assert crashing_optimizations(file_of(model, tmp_path)) == [NCHWC]


def test_what_is_no_graph_has_none(tmp_path: Path):
    path = tmp_path / "model.onnx"
    for content in (b"", b"\xff" * 40, b"\0"):
        path.write_bytes(content)
        assert crashing_optimizations(path) == []
    assert crashing_optimizations(tmp_path / "none.onnx") == []


def test_a_stranger_s_half_graph_is_profiled_and_not_called_damaged(tmp_path: Path):
    path = file_of(HALF, tmp_path)
    for command in (["profile", str(path), "--seconds", "0.2"], ["inspect", str(path)]):
        assert main(command) == 0
