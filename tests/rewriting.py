"""Small graphs, and what they compute before and after a rewrite."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnx.parser
import onnxruntime

from compress.onnx_graph.fold import infer_shapes


def graph(
    body: str,
    opset: int = 20,
    inputs: str = "float[N,4] x",
    outputs: str = "float[] y",
    **constants: object,
) -> onnx.ModelProto:
    """A model with these initialisers; an output that is declared without axes gets the shape that follows."""
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": {opset}]> g ({inputs}) => ({outputs}) {{ {body} }}'
    )
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    for value in model.graph.output:
        if not value.type.tensor_type.shape.dim:
            value.type.tensor_type.ClearField("shape")
    infer_shapes(model)
    return model


def rewritten(model: onnx.ModelProto, *rewrites: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    """A copy after the rewrites, which is legal."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for rewrite in rewrites:
        rewrite(copy)
        infer_shapes(copy)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def run(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime computes, unoptimized."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, dict(feeds))


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def assert_same(
    one: onnx.ModelProto, other: onnx.ModelProto, *shapes: tuple[int, ...], atol: float = 1e-5
) -> None:
    """Both give the same on random floats of these shapes, in the order of the inputs."""
    random = np.random.default_rng(0)
    feeds = {}
    for value, shape in zip(one.graph.input, shapes, strict=True):
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        feeds[value.name] = (2 * random.standard_normal(shape)).astype(dtype)
    for first, second in zip(run(one, feeds), run(other, feeds), strict=True):
        assert first.dtype == second.dtype
        scale = max(1.0, float(np.abs(first).max(initial=0)))
        np.testing.assert_allclose(second, first, rtol=0, atol=atol * scale)
