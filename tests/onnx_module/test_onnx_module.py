from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from onnx import TensorProto, helper, numpy_helper

from compress.errors import NetworkError
from compress.network.network import load_network
from compress.onnx_graph.fold import prepare
from compress.onnx_module import OPERATORS, OnnxModule
from tests.networks import NETWORKS, build
from tests.random_graphs import SIDE, networks

NOISE = np.random.default_rng(0)


def runtime(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def module(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    found = OnnxModule(model)
    with torch.no_grad():
        return [
            each.numpy() for each in found(*(torch.from_numpy(feeds[name]) for name in found.input_names))
        ]


def one_node(op_type: str, *inputs: np.ndarray | None, outputs: int = 1, opset: int = 20, **attributes):
    """A model of one node whose first input is fed and whose other inputs are constants."""
    names = ["x", *(f"c{place}" for place in range(1, len(inputs)))]
    given = ["" if value is None else name for name, value in zip(names, inputs, strict=True)]
    made = [f"y{place}" for place in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op_type, given, made, name="node", **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(inputs[0].dtype), None)],
        [helper.make_empty_tensor_value_info(name) for name in made],
        [
            numpy_helper.from_array(value, name)
            for name, value in zip(names[1:], inputs[1:], strict=True)
            if value is not None
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def floats(*shape: int) -> np.ndarray:
    return NOISE.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


IMAGE = floats(2, 4, 6, 5)
F = np.float32

CASES = {
    "ArgMax": (IMAGE, {"axis": 1, "keepdims": 0}),
    "AveragePool": (IMAGE, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "AveragePool, uneven": (
        IMAGE,
        {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1], "count_include_pad": 1},
    ),
    "BatchNormalization": (IMAGE, floats(4), floats(4), floats(4), np.abs(floats(4)), {"epsilon": 1e-3}),
    "Cast": (IMAGE, {"to": TensorProto.INT32}),
    "Celu": (IMAGE, {"alpha": 0.5}),
    "Clip": (IMAGE, F(-0.5), F(0.5), {}),
    "Clip, above": (IMAGE, None, F(0.5), {}),
    "Concat": (IMAGE, floats(2, 3, 6, 5), {"axis": 1}),
    "Conv": (IMAGE, floats(6, 2, 3, 3), floats(6), {"group": 2, "pads": [1, 0, 1, 0], "strides": [2, 1]}),
    "Conv, uneven": (IMAGE, floats(3, 4, 2, 2), {"pads": [0, 1, 1, 0]}),
    "Conv, same": (IMAGE, floats(3, 4, 2, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "Conv, same lower": (IMAGE, floats(3, 4, 2, 2), {"auto_pad": "SAME_LOWER"}),
    "Conv, one axis": (floats(2, 3, 9), floats(4, 3, 3), {"dilations": [2]}),
    "ConvTranspose": (IMAGE, floats(4, 3, 3, 3), {"strides": [2, 2], "output_padding": [1, 1]}),
    "CumSum": (IMAGE, np.array(1), {}),
    "DepthToSpace": (IMAGE, {"blocksize": 2}),
    "DepthToSpace, CRD": (IMAGE, {"blocksize": 2, "mode": "CRD"}),
    "Einsum": (floats(3, 4), floats(4, 5), {"equation": "ij,jk->ki"}),
    "Expand": (floats(3, 1), ints(2, 1, 4), {}),
    "Flatten": (IMAGE, {"axis": 2}),
    "Flatten, from the end": (IMAGE, {"axis": -1}),
    "Gather": (IMAGE, np.array([[0, -1], [2, 1]]), {"axis": 1}),
    "Gather, one": (IMAGE, np.array(-1), {"axis": 2}),
    "GatherElements": (floats(2, 3), np.array([[0, -1], [2, 1]]), {"axis": 1}),
    "Gelu": (IMAGE, {}),
    "Gelu, tanh": (IMAGE, {"approximate": "tanh"}),
    "Gemm": (floats(3, 4), floats(5, 4), floats(5), {"transB": 1}),
    "Gemm, scaled": (floats(4, 3), floats(4, 5), floats(3, 1), {"transA": 1, "alpha": 0.5, "beta": 2.0}),
    "GlobalMaxPool": (IMAGE, {}),
    "HardSigmoid": (IMAGE, {"alpha": 0.3, "beta": 0.4}),
    "HardSwish": (IMAGE, {}),
    "InstanceNormalization": (IMAGE, floats(4), floats(4), {}),
    "LayerNormalization": (IMAGE, floats(6, 5), floats(6, 5), {"axis": 2}),
    "LogSoftmax": (IMAGE, {"axis": 1}),
    "Max": (IMAGE, floats(5), floats(6, 1), {}),
    "MaxPool": (IMAGE, {"kernel_shape": [3, 2], "pads": [1, 0, 1, 0], "ceil_mode": 1, "strides": [2, 2]}),
    "MaxPool, uneven": (IMAGE, {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}),
    "Mod": (IMAGE, F(0.7), {"fmod": 1}),
    "PRelu": (IMAGE, floats(4, 1, 1), {}),
    "Pad": (IMAGE, ints(0, 0, 1, 2, 0, 0, 3, 0), F(2), {}),
    "Pad, a value in a list": (IMAGE, ints(0, 0, 1, 2, 0, 0, 3, 0), np.array([2], np.float32), {}),
    "Pad, axes": (IMAGE, ints(1, 2), None, ints(-1), {}),
    "Pad, reflect": (IMAGE, ints(0, 0, 1, 2, 0, 0, 3, 0), {"mode": "reflect"}),
    "Pad, edge": (IMAGE, ints(0, 0, 1, 2, 0, 0, 3, 0), {"mode": "edge"}),
    "Pow": (np.abs(IMAGE), F(1.5), {}),
    "ReduceL1": (IMAGE, ints(1, -1), {}),
    "ReduceL2": (IMAGE, ints(1), {"keepdims": 0}),
    "ReduceMax": (IMAGE, {}),
    "ReduceMean": (IMAGE, ints(2, 3), {"keepdims": 0}),
    "ReduceProd": (IMAGE, ints(-1, 0), {"keepdims": 0}),
    "ReduceSum": (IMAGE, {"noop_with_empty_axes": 1}),
    "Reshape": (IMAGE, ints(0, -1, 5), {}),
    "Resize": (IMAGE, None, np.array([1, 1, 2, 2], F), {"nearest_mode": "floor", "mode": "nearest"}
               | {"coordinate_transformation_mode": "asymmetric"}),
    "Resize, linear": (IMAGE, None, None, ints(2, 4, 9, 7), {"mode": "linear"}),
    "Resize, corners": (
        IMAGE,
        None,
        None,
        ints(2, 4, 9, 7),
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
    "Shape": (IMAGE, {"start": 1, "end": -1}),
    "Slice": (IMAGE, ints(1, -4), ints(9, -1), ints(2, 3), ints(2, 1), {}),
    "Slice, backwards": (IMAGE, ints(-1), ints(-9), ints(1), ints(-1), {}),
    "SpaceToDepth": (floats(2, 3, 4, 6), {"blocksize": 2}),
    "Split": (IMAGE, ints(1, 3), {"axis": 1, "outputs": 2}),
    "Split, in parts": (IMAGE, {"axis": 3, "num_outputs": 3, "outputs": 3}),
    "Squeeze": (floats(1, 3, 1), ints(-1), {}),
    "Tile": (floats(2, 3), ints(2, 3), {}),
    "Trilu": (floats(4, 4), np.array(1), {"upper": 0}),
    "Unsqueeze": (floats(2, 3), ints(0, -1), {}),
    "Where": (IMAGE > 0, floats(5), floats(6, 1), {}),
    "GRU": (floats(4, 2, 3), floats(2, 15, 3), floats(2, 15, 5), floats(2, 30), None, floats(2, 2, 5),
            {"hidden_size": 5, "direction": "bidirectional", "linear_before_reset": 1, "outputs": 2}),
    "GRU, reverse": (floats(4, 2, 3), floats(1, 15, 3), floats(1, 15, 5),
                     {"hidden_size": 5, "direction": "reverse", "linear_before_reset": 1, "outputs": 2}),
    "LSTM": (floats(4, 2, 3), floats(2, 20, 3), floats(2, 20, 5), floats(2, 40), None, floats(2, 2, 5),
             floats(2, 2, 5), {"hidden_size": 5, "direction": "bidirectional", "outputs": 3}),
    "RNN": (floats(4, 2, 3), floats(1, 5, 3), floats(1, 5, 5), floats(1, 10), {"hidden_size": 5, "outputs": 2}),
}  # fmt: skip

UNARY = "Abs Atan Ceil Cos Elu Erf Exp Floor Identity LeakyRelu Mish Neg Reciprocal Relu Round Selu Sigmoid"
UNARY += " Sign Sin Softmax Softplus Softsign Tan Tanh"
BINARY = "Add Div Equal Greater GreaterOrEqual Less LessOrEqual Mul Sub"


@pytest.mark.parametrize("case", CASES)
def test_an_operator_computes_what_the_runtime_computes(case):
    *inputs, attributes = CASES[case]
    model = one_node(case.partition(",")[0], *inputs, **attributes)
    expected, found = runtime(model, {"x": inputs[0]}), module(model, {"x": inputs[0]})
    for wanted, result in zip(expected, found, strict=True):
        assert result.dtype == wanted.dtype
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op_type", UNARY.split() + BINARY.split())
def test_elementwise_operators_compute_what_the_runtime_computes(op_type):
    model = one_node(op_type, IMAGE, *([floats(6, 1)] if op_type in BINARY.split() else []))
    np.testing.assert_allclose(
        module(model, {"x": IMAGE})[0], runtime(model, {"x": IMAGE})[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
def test_a_whole_network_computes_what_the_runtime_computes(kind):
    network = load_network(build(kind), example=NETWORKS[kind])
    model = prepare(network.to_onnx())
    feeds = {spec.name: array for spec, array in zip(network.inputs, NETWORKS[kind].values(), strict=True)}
    for wanted, result in zip(runtime(model, feeds), module(model, feeds), strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(model=networks())
def test_random_graphs_compute_what_the_runtime_computes(model):
    prepared = prepare(model)
    value = model.graph.input[0]
    shape = [dim.dim_value or 2 for dim in value.type.tensor_type.shape.dim]
    assert SIDE in shape
    feeds = {value.name: np.random.default_rng(1).normal(size=shape).astype(np.float32)}
    for wanted, result in zip(runtime(prepared, feeds), module(prepared, feeds), strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (one_node("NonZero", IMAGE), "NonZero"),
        (one_node("Resize", IMAGE, None, None, ints(2, 4, 9, 7)), "Resize in mode nearest"),
        (one_node("MaxPool", IMAGE, outputs=2, kernel_shape=[2, 2]), "y1"),
        (
            one_node("GRU", floats(4, 2, 3), floats(1, 15, 3), floats(1, 15, 5), hidden_size=5),
            "linear_before_reset 0",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(model, told):
    with pytest.raises(NetworkError, match=told):
        module(model, {"x": IMAGE if model.graph.node[0].op_type != "GRU" else floats(4, 2, 3)})


def test_the_module_has_gradients():
    model = one_node("Gemm", floats(3, 4), floats(5, 4), transB=1)
    x = torch.ones(3, 4, requires_grad=True)
    OnnxModule(model)(x)[0].sum().backward()
    weight = numpy_helper.to_array(model.graph.initializer[0])
    np.testing.assert_allclose(x.grad[0].numpy(), weight.sum(0), rtol=1e-5)


def test_every_operator_of_the_table_is_tested():
    covered = {case.partition(",")[0] for case in CASES} | {*UNARY.split(), *BINARY.split()}
    in_networks = {"GlobalAveragePool", "MatMul", "Sqrt", "Transpose"}
    plain = {
        "Acos",
        "And",
        "Asin",
        "CastLike",
        "ConstantOfShape",
        "IsInf",
        "IsNaN",
        "Log",
        "Min",
        "Not",
        "Or",
    }
    plain |= {"Range", "ReduceLogSumExp", "ReduceMin", "ReduceSumSquare", "Size", "Sum", "Xor"}
    assert set(OPERATORS) == covered | in_networks | plain
