"""ONNX Runtime multiplies by exactly the weights that were packed."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from compress.onnx_graph.graph import Graph
from compress.quantization.weights.grouped import GroupedWeight
from compress.quantization.weights.layers import find_layers
from compress.quantization.weights.packing import _packed, pack, unpacked
from tests.quantization.weights.matrices import model_of

ZERO_POINTS = ["none", "whole", "float"]


@given(
    inputs=st.integers(32, 200),
    outputs=st.integers(1, 20),
    group_size=st.sampled_from([16, 32, 64]),
    bits=st.sampled_from([4, 8]),
    zero_points=st.sampled_from(ZERO_POINTS),
    scaled=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_the_runtime_computes_with_the_weights_that_were_packed(
    inputs, outputs, group_size, bits, zero_points, scaled, bias, seed
):
    group_size = min(group_size, 32) if inputs < 64 else group_size
    if bits == 8 and zero_points == "float":
        zero_points = "whole"
    random = np.random.default_rng(seed)
    groups = -(-inputs // group_size)
    points = {
        "none": None,
        "whole": random.integers(0, 2**bits, (outputs, groups)).astype(np.uint8),
        "float": random.uniform(-3, 18, (outputs, groups)).astype(np.float32),
    }[zero_points]
    weight = GroupedWeight(
        integers=random.integers(0, 2**bits, (outputs, groups, group_size)).astype(np.uint8),
        scales=random.uniform(0.01, 0.1, (outputs, groups)).astype(np.float32),
        zero_points=points,
        input_scales=random.uniform(0.5, 2, inputs).astype(np.float32) if scaled else None,
        inputs=inputs,
        bits=bits,
    )
    added = random.standard_normal(outputs).astype(np.float32)
    node = helper.make_node("Gemm", ["x", "w", "b"] if bias else ["x", "w"], ["scores"], "layer", transB=1)
    model = model_of(
        [node],
        [numpy_helper.from_array(np.ones((outputs, inputs), np.float32), "w")]
        + ([numpy_helper.from_array(added, "b")] if bias else []),
        ["batch", inputs],
        ["batch", outputs],
    )
    (layer,), _ = find_layers(Graph(model), group_size)
    pack(model, layer, weight, "float32")
    x = random.standard_normal((5, inputs)).astype(np.float32)
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    wanted = x @ weight.dequantized().T + (added if bias else 0)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("count", [6, 7])
def test_unpacking_is_the_inverse(bits, count):
    integers = np.random.default_rng(0).integers(0, 2**bits, (3, count)).astype(np.uint8)
    packed = _packed(integers, bits)
    assert packed.shape == (3, count if bits == 8 else (count + 1) // 2)
    np.testing.assert_array_equal(unpacked(packed, bits, count), integers)
