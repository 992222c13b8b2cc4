"""What is folded is no larger than what it replaces, unless a weight is quantized next."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compress.onnx_graph.fold import prepare
from compress.onnx_graph.sessions import open_session

node = helper.make_node
info = helper.make_tensor_value_info
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def floats(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32) / 8


def model(nodes: list[onnx.NodeProto], shape: tuple[int | str, ...], **constants: object) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", FLOAT, shape)],
        [info("y", FLOAT, [None] * len(shape))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def loop(weight: str) -> onnx.NodeProto:
    body = helper.make_graph(
        [
            node("MatMul", ["a", weight], ["product"]),
            node("Tanh", ["product"], ["a_out"]),
            node("Identity", ["go"], ["go_out"]),
        ],
        "body",
        [info("i", INT64, []), info("go", BOOL, []), info("a", FLOAT, ["n", 64])],
        [info("go_out", BOOL, []), info("a_out", FLOAT, ["n", 64])],
    )
    return node("Loop", ["times", "yes", "h"], ["y"], body=body)


LOOP = {"w": floats(64, 64), "times": np.array(2), "yes": np.array(True)}
IMAGE = ("n", 8, 16, 16)
MODELS = {
    "zeros": model(
        [
            node("ConstantOfShape", ["size"], ["z"], value=helper.make_tensor("v", FLOAT, [1], [0])),
            node("Add", ["x", "z"], ["y"]),
        ],
        IMAGE,
        size=np.array([1, 8, 16, 16]),
    ),
    "expand": model(
        [node("Expand", ["one", "size"], ["e"]), node("Add", ["x", "e"], ["y"])],
        IMAGE,
        one=np.float32(1),
        size=np.array([1, 8, 16, 16]),
    ),
    "tile": model(
        [node("Tile", ["row", "times"], ["t"]), node("Add", ["x", "t"], ["y"])],
        IMAGE,
        row=floats(1, 8, 1, 1),
        times=np.array([1, 1, 16, 16]),
    ),
    "range": model(
        [
            node("Range", ["zero", "end", "step"], ["r"]),
            node("Reshape", ["r", "to"], ["s"]),
            node("Add", ["x", "s"], ["y"]),
        ],
        IMAGE,
        zero=np.float32(0),
        end=np.float32(2048),
        step=np.float32(1),
        to=np.array([1, 8, 16, 16]),
    ),
    "transposed for one, read by a loop": model(
        [node("Transpose", ["w"], ["t"], perm=[1, 0]), node("MatMul", ["x", "t"], ["h"]), loop("w")],
        ("n", 64),
        **LOOP,
    ),
    "scaled for one, read by a loop": model(
        [node("Gemm", ["x", "w", "b"], ["g"]), node("Mul", ["g", "s"], ["h"]), loop("w")],
        ("n", 64),
        b=floats(64),
        s=floats(64),
        **LOOP,
    ),
    "divided by what a loop reads": model(
        [node("Div", ["x", "w"], ["h"]), loop("w")], (64, 64), **{**LOOP, "w": np.abs(floats(64, 64)) + 1}
    ),
    "one weight, two norms": model(
        [
            node("Conv", ["x", "w"], ["c1"], pads=[1] * 4),
            node("BatchNormalization", ["c1", "one", "b", "b", "one"], ["n1"]),
            node("Conv", ["n1", "w"], ["c2"], pads=[1] * 4),
            node("BatchNormalization", ["c2", "one", "one", "b", "one"], ["y"]),
        ],
        IMAGE,
        w=floats(8, 8, 3, 3),
        one=np.ones(8, np.float32),
        b=floats(8),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_file_does_not_grow(name: str):
    original = MODELS[name]
    prepared = prepare(original)
    assert prepared.ByteSize() <= original.ByteSize() + 1024
    sizes = [size.dim_value or 3 for size in original.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": floats(*sizes)}
    wanted, found = (open_session(each, optimized=False).run(None, feeds)[0] for each in (original, prepared))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_weight_that_is_quantized_next_is_a_constant():
    prepared = prepare(MODELS["transposed for one, read by a loop"], store_twice=True)
    assert [each.op_type for each in prepared.graph.node] == ["MatMul", "Loop"]


def test_parts_of_one_weight_take_its_place():
    original = model(
        [
            node("Split", ["w"], ["q", "k", "v"], axis=1),
            *(node("MatMul", ["x", part], [f"{part}x"]) for part in "qkv"),
            node("Sum", ["qx", "kx", "vx"], ["y"]),
        ],
        ("n", 64),
        w=floats(64, 96),
    )
    prepared = prepare(original)
    assert [each.op_type for each in prepared.graph.node] == ["MatMul"] * 3 + ["Sum"]
    assert prepared.ByteSize() <= original.ByteSize() + 1024
