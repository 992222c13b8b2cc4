"""Files beside a graph that hold its weights, whatever they are called."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.onnx_graph.files import copy_to, files_of, sha256_of, size_of


def model(weight: float = 1.0, *, inside: str = "initializer") -> onnx.ModelProto:
    """A sum with weights ``w`` and ``v``: initialisers, constants, or in a branch."""
    values = [numpy_helper.from_array(np.full((64, 4), weight, np.float32), name) for name in ("w", "v")]
    nodes = [helper.make_node("Add", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "v"], ["y"])]
    if inside == "constant":
        nodes = [helper.make_node("Constant", [], [each.name], value=each) for each in values] + nodes
        values = []
    if inside == "branch":
        out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
        body = helper.make_graph([helper.make_node("Add", ["w", "v"], ["o"])], "b", [], [out], values)
        condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
        nodes = [condition, helper.make_node("If", ["c"], ["h"], then_branch=body, else_branch=body)]
        nodes.append(helper.make_node("Add", ["x", "h"], ["y"]))
        values = []
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [64, 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def saved(folder: Path, weight: float = 1.0, *, inside: str = "initializer", location: str | None) -> Path:
    folder.mkdir(exist_ok=True)
    onnx.save(
        model(weight, inside=inside),
        folder / "m.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=location is not None,
        location=location,
        size_threshold=16,
        convert_attribute=inside != "initializer",
    )
    return folder / "m.onnx"


@pytest.mark.parametrize(
    ("location", "inside"),
    [
        ("m.onnx.data", "initializer"),
        ("m.onnx_data", "initializer"),
        ("weights.bin", "initializer"),
        (None, "initializer"),
        ("weights.bin", "constant"),
        (None, "constant"),
    ],
)
def test_a_graph_is_known_by_its_weights_wherever_they_lie(
    tmp_path: Path, location: str | None, inside: str
) -> None:
    one = saved(tmp_path / "one", 1.0, inside=inside, location=location)
    other = saved(tmp_path / "other", 2.0, inside=inside, location=location)
    assert one.read_bytes() == other.read_bytes()
    assert sha256_of(one) != sha256_of(other)
    assert size_of(one) > 2 * 64 * 4 * 4
    assert len(files_of(one)) == (2 if location else 3)


def test_every_byte_of_a_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(np.random.default_rng(0).bytes(5 * 2**19 + 7))
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_graph_and_its_weights_are_one_hash(tmp_path: Path) -> None:
    path = saved(tmp_path / "one", location="weights.bin")
    graph, weights = path.read_bytes(), (tmp_path / "one" / "weights.bin").read_bytes()
    assert sha256_of(path) == hashlib.sha256(graph + weights).hexdigest()


def test_a_copy_has_all_files_under_the_names_that_the_graph_knows(tmp_path: Path) -> None:
    (tmp_path / "one" / "parts").mkdir(parents=True)
    path = saved(tmp_path / "one", location="parts/w.bin")
    (tmp_path / "two").mkdir()
    copied = copy_to(path, tmp_path / "two")
    assert sha256_of(copied) == sha256_of(path)
    np.testing.assert_array_equal(
        numpy_helper.to_array(onnx.load(copied).graph.initializer[0]), np.ones((64, 4), np.float32)
    )


def test_weights_of_a_branch_count(tmp_path: Path) -> None:
    graph = model(inside="branch")
    tensor = graph.graph.node[1].attribute[0].g.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="inner.bin")
    (tmp_path / "m.onnx").write_bytes(graph.SerializeToString())
    (tmp_path / "inner.bin").write_bytes(b"1")
    assert [each.name for each in files_of(tmp_path / "m.onnx")] == ["m.onnx", "inner.bin"]


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "", "absent.bin", "sub/../../secret"])
def test_names_that_lead_elsewhere_are_not_followed(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_text("not a weight")
    graph = model()
    graph.graph.initializer[0].data_location = TensorProto.EXTERNAL
    graph.graph.initializer[0].external_data.add(key="location", value=location)
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "m.onnx"
    path.write_bytes(graph.SerializeToString())
    assert files_of(path) == (path,)


@pytest.mark.parametrize(
    "content", [b"", b"location", b'{"location": "a"}', b"PK\x03\x04location", b"\x80\x02location" * 20]
)
def test_what_is_no_graph_is_one_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(content)
    assert files_of(path) == (path,)
