"""ONNX files of strangers: what their tensors announce is what they have."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.cli import main
from compress.errors import NetworkError
from compress.network.formats.onnx_file import read_onnx
from compress.onnx_graph.files import save_model
from compress.onnx_graph.reading import read_model
from compress.onnx_graph.shapes import _SHAPE_ARITHMETIC, shaped
from tests.graphs import classifier


def _cut(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]


def _long(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data += b"\0" * 4


def _huge(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[1 << 40]))


def _negative(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="n", data_type=TensorProto.FLOAT, dims=[-1, -1]))


def _unknown_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = 1000


def _unknown_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 1000


def _future_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 2**31 - 1


def _in_a_branch(model: onnx.ModelProto) -> None:
    wrong = TensorProto(name="wrong", data_type=TensorProto.INT64, raw_data=b"\0" * 12)
    branch = helper.make_graph([helper.make_node("Constant", [], ["c"], value=wrong)], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch))


def _sparse(dims: list[int], places: list[int]) -> Callable[[onnx.ModelProto], None]:
    def add(model: onnx.ModelProto) -> None:
        values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
        indices = numpy_helper.from_array(np.array(places, np.int64), "places")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, dims))

    return add


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_cut, "bytes of"),
        (_long, "bytes of"),
        (_huge, "0 values of 1099511627776"),
        (_negative, "of the sizes"),
        (_unknown_type, "unknown type 1000"),
        (_unknown_input, "type 1000"),
        (_future_opset, "version 2147483647"),
        (_in_a_branch, "12 bytes of 8"),
        (_sparse([1 << 20, 1 << 20], [3]), "a sparse tensor of 1 values"),
        (_sparse([4], [4]), "outside"),
    ],
)
def test_what_a_file_announces_is_there(
    tmp_path: Path, damage: Callable[[onnx.ModelProto], None], told: str
) -> None:
    model = classifier()
    damage(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    for read in (read_model, read_onnx):
        with pytest.raises(NetworkError) as caught:
            read(path)
        assert told in caught.value.found


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "int8", "bool", "int64", "uint64", "complex64", "float64"]
)
@pytest.mark.parametrize("raw", [True, False])
def test_values_of_every_type_are_counted(tmp_path: Path, dtype: str, raw: bool) -> None:
    model = classifier()
    array = np.ones((2, 3), dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    values = array.tobytes() if raw else array.reshape(-1)
    model.graph.initializer.append(helper.make_tensor("w", kind, [2, 3], values, raw=raw))
    save_model(model, tmp_path / "model.onnx")
    assert read_model(tmp_path / "model.onnx").graph.initializer[-1].name == "w"


def test_four_bits_share_a_byte(tmp_path: Path) -> None:
    model = classifier()
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.INT4, [3], [1, 2, 3]))
    save_model(model, tmp_path / "model.onnx")
    assert read_model(tmp_path / "model.onnx").graph.initializer[-1].name == "w"


def test_weights_beside_the_graph_are_read_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(classifier(), path, save_as_external_data=True, location="weights", size_threshold=0)
    assert read_model(path).graph.initializer[0].raw_data
    os.truncate(tmp_path / "weights", 40)
    with pytest.raises(NetworkError):
        read_model(path)


def test_what_is_folded_to_gigabytes_is_refused(tmp_path: Path) -> None:
    value = numpy_helper.from_array(np.ones(1, np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["ones"], value=value),
        helper.make_node("ReduceSum", ["ones"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.array([60_000, 60_000], np.int64), "sizes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "model.onnx"
    save_model(model, path)
    with pytest.raises(NetworkError, match="at which it took more"):
        read_onnx(path)


def test_functions_that_call_each_other_twice_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def twice(name: str, inner: str) -> onnx.FunctionProto:
        domain = "" if inner == "Relu" else "own"
        calls = [helper.make_node(inner, [a], [b], domain=domain) for a, b in (("x", "h"), ("h", "y"))]
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        return helper.make_function("own", name, ["x"], ["y"], calls, imports)

    model = classifier()
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.functions.extend(twice(f"f{place}", f"f{place - 1}" if place else "Relu") for place in range(40))
    model.graph.node[1].domain, model.graph.node[1].op_type = "own", "f39"
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert main(["inspect", str(path)]) == 2
    assert "is read within" in capfd.readouterr().err


@pytest.mark.parametrize("again", ["", "ai.onnx"])
def test_an_operator_set_named_twice_is_one(tmp_path: Path, again: str) -> None:
    model = classifier()
    version = model.opset_import[0].version
    model.opset_import.append(helper.make_opsetid(again, version))
    path = tmp_path / "twice.onnx"
    path.write_bytes(model.SerializeToString())
    (declared,) = read_model(path).opset_import
    assert declared.version == version
    assert main(["lint", str(path), "--target", "cpu", "--fix", str(tmp_path / "fixed.onnx")]) == 0


@pytest.mark.parametrize("again", ["", "ai.onnx"])
def test_an_operator_set_in_two_versions_is_refused(tmp_path: Path, again: str) -> None:
    model = classifier()
    model.opset_import.append(helper.make_opsetid(again, 13))
    path = tmp_path / "twice.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(
        NetworkError, match=r"one version of each operator set; found 20 and 13 of 'ai\.onnx'"
    ):
        read_model(path)


@pytest.mark.parametrize("inputs", [0, 1, 2])
@pytest.mark.parametrize("operator", sorted(_SHAPE_ARITHMETIC))
def test_operators_on_sizes_with_inputs_and_attributes_that_mean_nothing(operator: str, inputs: int) -> None:
    constants = [
        numpy_helper.from_array(value, name)
        for name, value in (
            ("vector", np.array([3, -1, 0], np.int64)),
            ("fractions", np.array([[0.5, np.nan]], np.float32)),
            ("text", np.array(["a"], object)),
        )
    ]
    attributes: list[dict[str, Any]] = [
        {}, {"to": 0}, {"to": 1000}, {"to": "x"}, {"axis": 99}, {"axes": [7]}, {"perm": [5, 5]}, {"value": 1.0}
    ]  # fmt: skip
    for given in attributes:
        for order in itertools.permutations(["vector", "fractions", "text"], inputs):
            graph = helper.make_graph(
                [helper.make_node(operator, list(order), ["sizes"], **given)],
                "odd",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
                constants,
            )
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
            with contextlib.suppress(NetworkError):
                assert shaped(model).shapes["x"] == (1, 4)
