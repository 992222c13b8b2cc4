"""Networks that come in half precision, with sparse constants, or with ONNX Runtime's own operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compress.network.formats.onnx_file import read_onnx
from compress.onnx_graph.fold import prepare
from compress.onnx_graph.half import in_half_precision
from compress.onnx_graph.sessions import open_session
from compress.onnx_graph.widening import in_float32, is_half

node = helper.make_node
info = helper.make_tensor_value_info
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def floats(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32) / 4


def halves(*shape: int) -> NDArray[np.float16]:
    return floats(*shape).astype(np.float16)


def model(
    nodes: list[onnx.NodeProto], kind: int = FLOAT, functions: object = (), **constants: object
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", kind, ["n", 16])],
        [info("y", kind, ["n", 16])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    domains = [
        helper.make_opsetid(name, version) for name, version in (("", 17), ("com.microsoft", 1), ("own", 1))
    ]
    return helper.make_model(graph, opset_imports=domains, ir_version=8, functions=functions)


def _loop() -> onnx.NodeProto:
    body = helper.make_graph(
        [
            node("MatMul", ["a", "w"], ["product"]),
            node("Tanh", ["product"], ["a_out"]),
            node("Identity", ["go"], ["go_out"]),
        ],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("a", HALF, ["n", 16])],
        [info("go_out", TensorProto.BOOL, []), info("a_out", HALF, ["n", 16])],
    )
    return node("Loop", ["times", "yes", "h"], ["l"], body=body)


IN, OUT = node("Cast", ["x"], ["h"], to=HALF), node("Cast", ["l"], ["y"], to=FLOAT)
OWN = helper.make_function(
    "own",
    "HalfLayer",
    ["a", "b"],
    ["o"],
    [node("MatMul", ["a", "b"], ["t"]), node("Cast", ["t"], ["u"], to=HALF), node("Relu", ["u"], ["o"])],
    [helper.make_opsetid("", 17)],
)
MODELS = {
    "casts at the ends": model([IN, node("MatMul", ["h", "w"], ["l"]), OUT], w=halves(16, 16)),
    "throughout": model(
        [node("MatMul", ["x", "w"], ["r"]), node("Relu", ["r"], ["y"])], HALF, w=halves(16, 16)
    ),
    "weights alone": model(
        [node("Cast", ["w"], ["w32"], to=FLOAT), node("MatMul", ["x", "w32"], ["y"])], w=halves(16, 16)
    ),
    "constants in nodes": model(
        [
            IN,
            node("Constant", [], ["w"], value=numpy_helper.from_array(halves(16, 16))),
            node("MatMul", ["h", "w"], ["p"]),
            node("Shape", ["p"], ["s"]),
            node("ConstantOfShape", ["s"], ["c"], value=helper.make_tensor("v", HALF, [1], [0.5])),
            node("Mul", ["p", "c"], ["l"]),
            OUT,
        ]
    ),
    "in a loop": model([IN, _loop(), OUT], w=halves(16, 16), times=np.array(2), yes=np.array(True)),
    "in a function": model(
        [IN, node("HalfLayer", ["h", "w"], ["l"], domain="own"), OUT], functions=[OWN], w=halves(16, 16)
    ),
    "the runtime's own operators": model(
        [
            IN,
            node("FusedMatMul", ["h", "w"], ["p"], domain="com.microsoft", transB=1),
            node("BiasGelu", ["p", "b"], ["q"], domain="com.microsoft"),
            node("MatMul", ["q", "w"], ["l"]),
            OUT,
        ],
        w=halves(16, 16),
        b=halves(16),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_network_in_half_precision_computes_in_float32(name: str):
    original = MODELS[name]
    wide = in_float32(original)
    for edge in ("input", "output"):
        assert getattr(wide.graph, edge)[0].type == getattr(original.graph, edge)[0].type
    kinds = {tensor.data_type for tensor in prepare(wide).graph.initializer}
    assert HALF not in kinds
    dtype = np.float16 if original.graph.input[0].type.tensor_type.elem_type == HALF else np.float32
    feeds = {"x": floats(5, 16).astype(dtype)}
    wanted, found = (
        open_session(each, optimized=False).run(None, feeds)[0] for each in (original, prepare(wide))
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=5e-3)


def test_a_float32_network_is_left_alone():
    original = model([node("MatMul", ["x", "w"], ["y"])], w=floats(16, 16))
    assert not is_half(original)
    assert in_float32(original) is original


def test_operators_of_the_runtimes_own_stay_in_float32_among_half_ones():
    original = prepare(
        model(
            [
                node("MatMul", ["x", "w"], ["p"]),
                node("Gelu", ["p"], ["q"], domain="com.microsoft"),
                node("MatMul", ["q", "v"], ["r"]),
                node("Relu", ["r"], ["y"]),
            ],
            w=floats(16, 16),
            v=floats(16, 16),
        )
    )
    half = in_half_precision(original, "float16")
    constants = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    layers = [each for each in half.graph.node if each.op_type == "MatMul"]
    assert [constants[layer.input[1]] for layer in layers] == [HALF, HALF]  # what comes behind it, too
    feeds = {"x": floats(5, 16)}
    wanted, found = (open_session(each, optimized=False).run(None, feeds)[0] for each in (original, half))
    np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=5e-3)


@pytest.mark.parametrize("each_axis", [False, True])
def test_sparse_constants_are_read_as_dense_ones(tmp_path: Path, each_axis: bool):
    dense = floats(16, 16)
    dense[np.abs(dense) < 0.25] = 0
    values = dense[dense != 0]
    places = np.argwhere(dense) if each_axis else np.flatnonzero(dense)
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("w", FLOAT, [len(values)], values),
        helper.make_tensor("places", TensorProto.INT64, places.shape, places.ravel()),
        dense.shape,
    )
    original = model([node("MatMul", ["x", "w"], ["y"])])
    original.graph.sparse_initializer.append(sparse)
    onnx.save(original, tmp_path / "m.onnx")
    read = prepare(read_onnx(tmp_path / "m.onnx"))
    np.testing.assert_array_equal(numpy_helper.to_array(read.graph.initializer[0]), dense)
    x = floats(5, 16)
    (found,) = open_session(read).run(None, {"x": x})
    np.testing.assert_allclose(found, x @ dense, rtol=1e-5, atol=1e-6)
