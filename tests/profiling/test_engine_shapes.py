"""Which sizes engines of a build that exists already take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from compress.data import open_data
from compress.data.binding import bind_split
from compress.errors import BundleError, UsageError
from compress.onnx_graph.files import save_model
from compress.profiling.engine_shapes import for_engines, graph_inputs
from compress.shape_ranges import ShapeRange
from compress.target import load_target
from compress.tensors import TensorSpec

INPUTS = (TensorSpec("x", "float32", ("batch", "time", 4)),)
RECORDED = ShapeRange((1, 5, 4), (1, 6, 4), (8, 9, 4), 0)
TARGET = load_target("jetson")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    manifest = {"target": {"input_shapes": {"x": RECORDED.to_dict()}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_a_bundle_tells_its_own(bundle: Path) -> None:
    data = bind_split(open_data({"x": np.zeros((3, 7, 4), np.float32)}), INPUTS, "data")
    assert for_engines(TARGET, bundle, INPUTS, (data,)).input_shapes == {"x": RECORDED}


def test_what_is_asked_comes_first(bundle: Path) -> None:
    found = for_engines(TARGET, bundle, INPUTS, shapes=[("", (1, 3, 4))]).input_shapes["x"]
    assert (found.smallest, found.largest) == ((1, 3, 4), (8, 3, 4))
    with pytest.raises(UsageError, match="--shape that fits x"):
        for_engines(TARGET, bundle, INPUTS, shapes=[("x", (1, 3, 5))])


def test_a_file_takes_those_of_the_data(tmp_path: Path) -> None:
    data = bind_split(open_data({"x": np.zeros((3, 7, 4), np.float32)}), INPUTS, "data")
    found = for_engines(TARGET, tmp_path / "model.onnx", INPUTS, (data,)).input_shapes["x"]
    assert (found.usual, found.largest) == ((1, 7, 4), (8, 7, 4))
    assert for_engines(TARGET, tmp_path / "model.onnx", INPUTS).input_shapes == {}


def test_inputs_are_read_from_the_graph(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    save_model(helper.make_model(graph, ir_version=10), tmp_path / "model.onnx")
    assert graph_inputs(tmp_path / "model.onnx") == (TensorSpec("x", "float32", (1, "x_1", 4)),)
    (tmp_path / "damaged.onnx").write_bytes(b"\xff" * 40)
    with pytest.raises(BundleError, match=r"damaged\.onnx"):
        graph_inputs(tmp_path / "damaged.onnx")
