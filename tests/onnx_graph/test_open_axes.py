"""Axes that a file gives a negative size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from compress import optimize
from compress.backends.base import Artifact
from compress.backends.onnxruntime import OnnxRuntime
from compress.network.formats.onnx_file import read_onnx, read_specs
from compress.onnx_graph.axes import open_negative_axes
from compress.onnx_graph.files import sha256_of
from tests.graphs import classifier, samples


def written(place: Path) -> Path:
    """The classifier as Paddle's exporter would write it."""
    model = classifier(channels=8)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(model, place / "model.onnx")
    return place / "model.onnx"


def test_a_negative_size_is_an_open_axis(tmp_path: Path) -> None:
    path = written(tmp_path)
    inputs, outputs = read_specs(read_onnx(path))
    assert [spec.dynamic_batch for spec in (*inputs, *outputs)] == [True, True]
    artifact = Artifact(path, sha256_of(path), path.stat().st_size, "onnxruntime", {"intra_op_threads": 1})
    with OnnxRuntime().open(artifact) as session:
        assert session.inputs == inputs


def test_such_a_file_is_optimized_at_every_batch_size(tmp_path: Path) -> None:
    path = written(tmp_path)
    result = optimize(
        path,
        data=(samples(60), np.zeros(60, np.int64)),
        out=tmp_path / "b",
        seconds=0.05,
        threads=1,
        backends=["onnxruntime"],
        time_budget=1e-3,
    )
    assert result.bundle is not None
    assert [each.batch for each in result.bundle.profile.latency] == [1, 32]


def test_the_bodies_of_a_loop_are_opened_too() -> None:
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [-1, 3])
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "body", [], [value])
    node = helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body)
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph([node], "g", [condition, sequence], [value]))
    opened = open_negative_axes(model)
    (inner,) = opened.graph.node[0].attribute[0].g.output
    for each in (inner, opened.graph.output[0]):
        sizes = each.type.tensor_type.shape.dim
        assert [size.HasField("dim_value") for size in sizes] == [False, True]
    assert opened.graph.input[1].type.HasField("sequence_type")
