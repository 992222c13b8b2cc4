"""Rewrites that the findings name are done, and what they leave is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from compress.lint import fix, lint
from compress.lint.equality import TOLERANCE, largest_difference, tolerance
from compress.lint.sarif import DESCRIPTIONS
from compress.target.target import load_target
from tests.graphs import classifier
from tests.rewriting import assert_same, graph, operators

OLD = load_target("jetson-agx-xavier")  # TensorRT 8.5
NEW = load_target("jetson-orin-nano-super")  # TensorRT 10.3
REFERENCES = Path(__file__).parents[2] / "references"


@pytest.mark.parametrize("name", ["byte_cnn", "gru", "mobilenet", "resnet20", "text_encoder", "vit"])
def test_every_reference_network_is_clean_for_the_oldest_release(name: str) -> None:
    path = REFERENCES / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(
            "not trained here: python -m benchmarks run train (benchmarks/studies/lint_all.py does it for every target)"
        )
    model = onnx.load(path)
    assert any(finding.severity == "error" for finding in lint(model, OLD))
    fixed = fix(model, OLD)
    assert (fixed.findings, dict(fixed.refused)) == ((), {})
    difference = largest_difference(model, fixed.model)
    assert difference is not None
    assert difference <= TOLERANCE


def test_the_graph_that_is_given_stays() -> None:
    model = graph("y = Gelu(x)")
    before = model.SerializeToString()
    fixed = fix(model, OLD)
    assert list(fixed.applied) == ["gelu", "opset"]
    assert model.SerializeToString() == before


def test_a_graph_without_findings_is_handed_back() -> None:
    model = graph("y = Relu(x)", 17)
    fixed = fix(model, OLD)
    assert fixed.model is model
    assert (dict(fixed.applied), fixed.findings) == ({}, ())


def test_a_rewrite_that_changes_nothing_is_not_told() -> None:
    model = graph("y = CumSum(x, i)", 17, "float[N,4] x, int32 i", "float[N,4] y")
    fixed = fix(model, OLD)
    assert [finding.rewrite for finding in fixed.findings] == ["fold-constants"]
    assert dict(fixed.applied) == {}
    assert fixed.model is model


def test_what_has_no_older_form_is_told_and_the_rest_is_done() -> None:
    model = graph("g = Gelu(x) y = ReduceMean<noop_with_empty_axes=1>(g)")
    fixed = fix(model, OLD)
    assert list(fixed.applied) == ["gelu"]
    assert "reduces no axis" in fixed.refused["opset"]
    assert [finding.rule for finding in fixed.findings] == ["opset"]
    assert "Gelu" not in operators(fixed.model)


def test_the_interface_stays_where_it_has_to() -> None:
    model = graph("y = Gather(table, x)", 17, "int64[N,3] x", table=np.ones((4, 2), np.float32))
    kept = fix(model, OLD, keep_interface=True)
    assert dict(kept.applied) == {}
    assert [finding.rule for finding in kept.findings] == ["wide-type"]
    assert dict(fix(model, OLD).applied) == {"narrow-types": ("x",)}


def test_int64_inputs_stay_where_the_release_has_them() -> None:
    model = graph("d = Cast<to=11>(x) y = Cast<to=7>(d)", 17, "int64[N,3] x", "int64[] y")
    assert "narrow-types" not in fix(model, NEW).applied
    doubles = graph("y = Exp(x)", 17, "double[N,3] x, int64[N,3] i", "double[] y")
    fixed = fix(doubles, NEW)
    assert dict(fixed.applied) == {"narrow-types": ("x", "y")}


def test_an_opset_that_is_too_old_is_raised() -> None:
    model = graph("y = Relu(x)", 8, "float[N,4] x")
    fixed = fix(model, NEW)
    assert dict(fixed.applied) == {"opset": ("opset 9",)}
    assert fixed.findings == ()
    assert_same(model, fixed.model, (2, 4))


def test_group_normalization_that_onnx_has_withdrawn_is_written_out() -> None:
    model = graph(
        "y = GroupNormalization<num_groups=2>(x, s, b)",
        18,
        "float[N,4,5] x",
        "float[N,4,5] y",
        s=np.ones(2, np.float32),
        b=np.zeros(2, np.float32),
    )
    fixed = fix(model, OLD)
    assert list(fixed.applied) == ["group-normalization", "opset"]
    assert fixed.findings == ()


def test_a_bias_in_int32_is_written_as_float() -> None:
    body = """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) w = DequantizeLinear(i, s, z)
        b = DequantizeLinear(bias, s) y = Gemm(d, w, b)"""
    constants = {
        "s": np.float32(0.1),
        "z": np.int8(0),
        "i": np.ones((4, 4), np.int8),
        "bias": np.ones(4, np.int32),
    }
    model = graph(body, 17, **constants)
    fixed = fix(model, OLD)
    assert list(fixed.applied) == ["float-biases"]
    assert fixed.findings == ()
    assert_same(model, fixed.model, (3, 4))


def test_local_functions_are_written_out() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["": 20, "own": 1]> g (float[N,4] x) => (float[N,4] y) { y = own.F(x) }
        <domain: "own", opset_import: ["": 20]> F (a) => (b) { b = Gelu(a) }"""
    )
    fixed = fix(model, OLD)
    assert fixed.findings == ()
    assert not fixed.model.functions


def test_every_rule_has_a_description() -> None:
    everything = [replace(OLD, tensorrt=None), NEW, load_target("raspberry-pi-5")]
    models = [
        classifier(),
        graph("y = Gelu(x)"),
        graph("y = Gather(table, x)", 17, "int64[N,3] x", table=np.ones((4, 2), np.float32)),
        graph("y = Exp(x)", 17, "double[N,3] x, int64[N,3] i", "double[] y"),
    ]
    found = {
        finding.rule for target in everything for model in models for finding in lint(model, target, dla=True)
    }
    assert len(found) >= 3
    assert found <= set(DESCRIPTIONS)


def test_the_largest_difference() -> None:
    one, other = graph("y = Mul(x, s)", s=np.float32(1)), graph("y = Mul(x, s)", s=np.float32(1.5))
    assert largest_difference(one, one) == 0
    assert 0.2 < (largest_difference(one, other) or 0) <= 0.51
    assert largest_difference(one, graph("y = Div(x, s)", s=np.float32(0))) == float("inf")
    assert largest_difference(one, graph("y = Transpose(x)")) == float("inf")
    assert largest_difference(graph("y = RandomNormalLike(x)"), one) is None
    unknown = graph("y = Relu(x)")
    unknown.graph.node[0].op_type = "Unknown"
    assert largest_difference(unknown, one) is None
    assert largest_difference(one, unknown) == float("inf")


_STATE = "float[batch,sequence] x, float[2,batch,4] h"


def test_axes_of_one_name_have_one_size_in_the_batch_that_is_compared() -> None:
    """A state counts samples along its second axis: it fits the inputs only where both are equally long there."""
    model = graph(
        """m = ReduceMean <axes = [0, 2], keepdims = 0> (h)
        s = ReduceMean <axes = [1], keepdims = 0> (x)
        y = Add(m, s)""",
        17, _STATE, "float[batch] y",
    )  # fmt: skip
    assert largest_difference(model, model) == 0


def test_sizes_are_tried_until_one_runs() -> None:
    """A window of 400 numbers takes no shorter sound, and no two recordings."""
    window = np.ones((1, 1, 400), np.float32)
    model = graph(
        """one = Reshape(x, shape)
        y = Conv(one, window)""",
        17, "float[batch,samples] x", "float[1,1,steps] y", window=window, shape=np.array([1, 1, -1]),
    )  # fmt: skip
    assert largest_difference(model, model) == 0
    wide = graph("y = MatMul(x, w)", 17, "float[N,K] x", "float[N,2] y", w=np.ones((7, 2), np.float32))
    assert largest_difference(wide, wide) is None
    assert largest_difference(wide, wide, shapes={"x": (3, 7)}) == 0


def test_half_precision_and_quantization_are_held_to_less() -> None:
    assert tolerance(graph("y = Relu(x)")) == TOLERANCE
    quantized = graph("q = QuantizeLinear(x, s) y = DequantizeLinear(q, s)", s=np.float32(0.1))
    assert tolerance(quantized) > TOLERANCE
    assert tolerance(graph("y = Relu(x)", 20, "float16[N,4] x", "float16[] y")) > TOLERANCE
