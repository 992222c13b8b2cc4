"""Each rule finds the graph that breaks it, and leaves the others alone."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.lint import LINT_RULES, RULES, Finding, lint
from compress.target.shape_ranges import ShapeRange
from compress.target.target import Target, load_target

JETSON = load_target("jetson-orin-nano-super")  # TensorRT 10.3
XAVIER = load_target("jetson-agx-xavier")  # TensorRT 8.5
THOR = load_target("jetson-thor-t5000")  # FP8
SERVER = replace(
    load_target("cpu"),
    quantization=replace(load_target("cpu").quantization, activation="uint8"),
    isa=("avx512_vnni",),
)

INITIALIZERS = {
    "s": np.float32(0.1),
    "channel_scales": np.full(4, 0.1, np.float32),
    "zero": np.int8(0),
    "zeros": np.zeros(4, np.int8),
    "unsigned_zero": np.uint8(0),
    "bias_zero": np.int32(0),
    "weight": np.ones((4, 4, 1, 1), np.float32),
    "quantized_weight": np.ones((4, 4, 1, 1), np.int8),
    "unsigned_weight": np.ones((4, 4, 1, 1), np.uint8),
    "matrix": np.ones((4, 4), np.int8),
    "quantized_bias": np.ones(4, np.int32),
}


def network(body: str, opset: int = 17, inputs: str = "float[N,4,8,8] x", **more: object) -> onnx.ModelProto:
    """A model that gets the initializers that its body mentions."""
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": {opset}, "custom": 1]> g ({inputs}) => (float[A,B,C,D] y) {{ {body} }}'
    )
    read = {name for node in model.graph.node for name in node.input}
    for name, value in (INITIALIZERS | more).items():
        if name in read:
            given = isinstance(value, onnx.TensorProto)
            tensor = value if given else onnx.numpy_helper.from_array(np.asarray(value), name)
            model.graph.initializer.append(tensor)
    declared = onnx.TypeProto()
    declared.CopyFrom(model.graph.output[0].type)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type
    model.graph.output[0].type.CopyFrom(inferred if inferred.tensor_type.HasField("shape") else declared)
    return model


QUANTIZED_INPUT = "q = QuantizeLinear(x, s, zero) d = DequantizeLinear(q, s, zero) "
QUANTIZED_WEIGHT = "w = DequantizeLinear<axis=0>(quantized_weight, channel_scales, zeros) "
CLEAN = QUANTIZED_INPUT + QUANTIZED_WEIGHT + "y = Conv(d, w)"


def rules(model: onnx.ModelProto, target: Target) -> list[tuple[str, str, str]]:
    return [(finding.rule, finding.severity, finding.node) for finding in lint(model, target)]


@pytest.mark.parametrize("target", [JETSON, XAVIER, THOR, load_target("t4")], ids=lambda target: target.name)
def test_symmetric_int8_is_clean_for_every_tensorrt(target: Target) -> None:
    assert lint(network(CLEAN), target) == []


FAULTY = {
    "three": np.int8(3),
    "negative": np.float32(-0.1),
    "infinite": np.float32("inf"),
    "one_nan": np.array([0.1, np.nan, 0.1, 0.1], np.float32),
}
UNSIGNED_INPUT = "q = QuantizeLinear(x, s, unsigned_zero) d = DequantizeLinear(q, s, unsigned_zero) "
BIAS = "b = DequantizeLinear(quantized_bias, s, bias_zero) "
CONV = "y = Conv(d, w)"


@pytest.mark.parametrize(
    "body, finding",
    [
        (CLEAN.replace("x, s, zero", "x, s, three"), ("zero-point", "error", "q")),
        (CLEAN.replace("q, s, zero", "q, s, three"), ("zero-point", "error", "d")),
        (CLEAN.replace("x, s,", "x, negative,"), ("scale", "error", "q")),
        (CLEAN.replace("x, s,", "x, infinite,"), ("scale", "error", "q")),
        (CLEAN.replace("channel_scales", "one_nan"), ("scale", "error", "w")),
        ("m = ReduceMax<keepdims=0>(x) " + CLEAN.replace("x, s,", "x, m,"), ("scale", "error", "q")),
        (
            QUANTIZED_INPUT + "w = DequantizeLinear(unsigned_weight, s, unsigned_zero) " + CONV,
            ("quantized-type", "error", "w"),
        ),
        (UNSIGNED_INPUT + QUANTIZED_WEIGHT + CONV, ("quantized-type", "error", "q")),
        # Without a zero point the type is UINT8.
        (
            UNSIGNED_INPUT.replace(", unsigned_zero", "") + QUANTIZED_WEIGHT + CONV,
            ("quantized-type", "error", "q"),
        ),
        (CLEAN.replace(CONV, BIAS + "y = Conv(d, w, b)"), ("quantized-type", "error", "b")),
        (
            QUANTIZED_INPUT.replace("s, zero", "channel_scales, zeros") + QUANTIZED_WEIGHT + CONV,
            ("activation-granularity", "error", "q"),
        ),
        (CLEAN.replace("axis=0", "axis=1"), ("weight-axis", "error", "w")),
        (
            CLEAN.replace(CONV, "c = Conv(d, w) i = Cast<to=1>(q) y = Add(c, i)"),
            ("unpaired-quantize", "error", "q"),
        ),
        (CLEAN + " u = QuantizeLinear(y, s, zero)", ("unpaired-quantize", "error", "u")),
        ("c = Cast<to=11>(x) e = Exp(c) y = Cast<to=1>(e)", ("wide-type", "warning", "c")),
        ("y = custom.Magic(x)", ("operator", "error", "y")),
        ("y = Det(x)", ("operator", "error", "y")),
    ],
)
def test_a_violation_is_the_only_finding(body: str, finding: tuple[str, str, str]) -> None:
    assert body != CLEAN
    assert rules(network(body, **FAULTY), JETSON) == [finding]


def test_integer_operators_are_unknown_to_tensorrt() -> None:
    body = """q, qs, qz = DynamicQuantizeLinear(x) i = ConvInteger(q, quantized_weight, qz) f = Cast<to=1>(i)
        y = Mul(f, qs)"""
    assert rules(network(body), JETSON) == [
        ("quantized-operator", "error", "q"),
        ("quantized-operator", "error", "i"),
    ]
    assert lint(network(body), SERVER) == []


@pytest.mark.parametrize(
    "layer, axis",
    [
        ("y = ConvTranspose(d, w)", 1),
        ("f = Flatten(d) y = Gemm(f, w)", 1),
        ("f = Flatten(d) y = Gemm<transB=1>(f, w)", 0),
        ("y = MatMul(d, w)", 1),
        ("t = Transpose<perm=[1,0]>(w) y = MatMul(d, t)", 0),
        ("t = Transpose(w) y = MatMul(d, t)", 0),
    ],
)
def test_output_channels_of_each_layer(layer: str, axis: int) -> None:
    weight = "quantized_weight" if "ConvT" in layer else "matrix"
    inputs = "float[N,4,1,1] x" if "Flatten" in layer else "float[N,4,8,4] x"

    def found(used: int) -> list[tuple[str, str, str]]:
        body = f"{QUANTIZED_INPUT} w = DequantizeLinear<axis={used}>({weight}, channel_scales, zeros) {layer}"
        return rules(network(body, inputs=inputs), JETSON)

    assert found(axis) == []
    assert found(1 - axis) == [("weight-axis", "error", "w")]


def test_a_negative_axis_counts_from_the_end() -> None:
    body = QUANTIZED_INPUT + "w = DequantizeLinear<axis=-1>(matrix, channel_scales, zeros) y = MatMul(d, w)"
    assert lint(network(body, inputs="float[N,4] x"), JETSON) == []


def test_one_scale_has_no_axis() -> None:
    body = QUANTIZED_INPUT + "w = DequantizeLinear<axis=1>(quantized_weight, s, zero) y = Conv(d, w)"
    assert lint(network(body), JETSON) == []


def test_float_weights_behind_their_own_pair_are_weights() -> None:
    pair = """v = QuantizeLinear<axis=0>(weight, channel_scales, zeros)
        w = DequantizeLinear<axis=0>(v, channel_scales, zeros) y = Conv(d, w)"""
    assert lint(network(QUANTIZED_INPUT + pair), JETSON) == []


def test_fp8_where_the_target_has_it() -> None:
    zero = onnx.helper.make_tensor("fz", onnx.TensorProto.FLOAT8E4M3FN, [], [0.0])
    body = "q = QuantizeLinear(x, s, fz) y = DequantizeLinear(q, s, fz)"
    model = network(body, opset=19, fz=zero)
    assert lint(model, THOR) == []
    assert rules(model, JETSON) == [("quantized-type", "error", "q")]
    assert rules(model, replace(THOR, tensorrt="8.6")) == [
        ("opset", "error", ""),
        ("quantized-type", "error", "q"),
    ]


def test_int4_is_for_weights() -> None:
    four = onnx.helper.make_tensor("w4", onnx.TensorProto.INT4, [4, 4], [1] * 16)
    zero = onnx.helper.make_tensor("z4", onnx.TensorProto.INT4, [], [0])
    read = replace(JETSON, tensorrt="11.0", opset_max=25)
    weights = network(
        "w = DequantizeLinear(w4, s, z4) y = MatMul(x, w)", 21, "float[N,4] x", w4=four, z4=zero
    )
    assert lint(weights, read) == []
    tensor = network("q = QuantizeLinear(x, s, z4) y = DequantizeLinear(q, s, z4)", 21, w4=four, z4=zero)
    assert rules(tensor, read) == [("quantized-type", "error", "q")]


@pytest.mark.parametrize(
    "opset, target, message",
    [
        (17, XAVIER, None),
        (18, XAVIER, "opset 18, and TensorRT 8.5.* reads up to 17"),
        (20, JETSON, None),
        (21, JETSON, "opset 21, and TensorRT 10.3 reads up to 20"),
        (8, JETSON, "opset 8, and TensorRT 10.3 reads from 9 on"),
        (8, XAVIER, None),
        (21, replace(JETSON, tensorrt=None), "reads up to 20"),
        (21, replace(JETSON, tensorrt="11.1", opset_max=None), None),
        (18, replace(JETSON, opset_max=17), "reads up to 17"),
        (21, SERVER, None),
        (21, replace(SERVER, opset_max=20), "opset 21, and cpu reads up to 20"),
    ],
)
def test_opsets(opset: int, target: Target, message: str | None) -> None:
    found = lint(network("y = Relu(x)", opset), target)
    if message is None:
        assert found == []
    else:
        (finding,) = found
        assert (finding.rule, finding.severity, finding.node) == ("opset", "error", "")
        assert re.search(message, finding.message)


def test_layer_normalization_came_with_tensorrt_8_6() -> None:
    model = network("y = LayerNormalization(x, scale)", scale=np.ones(8, np.float32))
    (finding,) = lint(model, XAVIER)
    assert (finding.rule, finding.node) == ("operator", "y")
    assert "ReduceMean" in finding.fix
    assert lint(model, replace(XAVIER, tensorrt="8.6.1")) == []


def test_int64_inputs_before_tensorrt_10() -> None:
    model = network("y = Gather(table, x)", inputs="int64[N,4] x", table=np.ones((9, 2), np.float32))
    assert rules(model, XAVIER) == [("wide-type", "warning", "x")]
    assert lint(model, JETSON) == []


def test_double_inputs_are_narrowed() -> None:
    model = network("y = Cast<to=1>(x)", inputs="double[N,4] x")
    assert rules(model, JETSON) == [("wide-type", "warning", "x")]


def test_open_axes_besides_the_batch() -> None:
    model = network("y = Relu(x)", inputs="float[N,4,H,W] x")
    (finding,) = lint(model, JETSON)
    assert (finding.rule, finding.severity, finding.node) == ("open-axis", "warning", "x")
    assert "2 (H), 3 (W)" in finding.message
    assert lint(model, SERVER) == []


def test_signed_activations_are_slow_on_processors_with_unsigned_kernels() -> None:
    (finding,) = lint(network(CLEAN), SERVER)
    assert (finding.rule, finding.severity, finding.node) == ("signed-activations", "warning", "q")
    signed_kernels = replace(SERVER, quantization=replace(SERVER.quantization, activation="int8"))
    assert lint(network(CLEAN), signed_kernels) == []
    unsigned = "q = QuantizeLinear(x, s, unsigned_zero) d = DequantizeLinear(q, s, unsigned_zero) "
    assert lint(network(unsigned + QUANTIZED_WEIGHT + "y = Conv(d, w)"), SERVER) == []


def test_signed_weights_are_no_activations() -> None:
    pair = "v = QuantizeLinear(weight, s, zero) w = DequantizeLinear(v, s, zero) y = Conv(x, w)"
    assert lint(network(pair), SERVER) == []


@pytest.mark.parametrize(
    "model",
    [
        network("y = Relu(nothing)"),
        network("y = MatMul(x, table)", inputs="float[N,3] x", table=np.ones((4, 2), np.float32)),
        onnx.ModelProto(),
    ],
    ids=["unknown tensor", "shapes that disagree", "empty"],
)
@pytest.mark.parametrize("target", [JETSON, SERVER], ids=["tensorrt", "onnxruntime"])
def test_a_graph_that_breaks_onnx_has_that_as_its_only_finding(
    model: onnx.ModelProto, target: Target
) -> None:
    (finding,) = lint(model, target)
    assert (finding.rule, finding.severity) == ("onnx", "error")
    assert "\n" not in finding.message


def test_local_functions_are_read_too() -> None:
    model = network("y = custom.F(x)")
    function = onnx.helper.make_function(
        "custom",
        "F",
        ["a"],
        ["b"],
        [onnx.helper.make_node("Hardmax", ["a"], ["b"])],
        [onnx.helper.make_opsetid("", 17)],
    )
    model.functions.append(function)
    assert [finding.rule for finding in lint(model, XAVIER)] == ["operator"]
    assert len(model.functions) == 1


def test_a_finding_is_one_line_and_json() -> None:
    finding = Finding("zero-point", "error", "q", "zero point 3", "quantize again")
    assert str(finding) == "error zero-point at q: zero point 3; quantize again"
    assert str(replace(finding, node="")) == "error zero-point: zero point 3; quantize again"
    assert finding.to_dict()["rule"] == "zero-point"


def test_every_rule_says_what_it_checks() -> None:
    assert {name for names in RULES.values() for name in names} | {"dla"} == set(LINT_RULES.names())
    assert all(LINT_RULES.load(name).__doc__ for name in LINT_RULES.names())


@settings(max_examples=25, deadline=None)
@given(
    zero_point=st.integers(-128, 127),
    scale=st.one_of(st.floats(width=32, allow_subnormal=False), st.just(0.1)),
    signed=st.booleans(),
)
def test_only_symmetric_positive_int8_pairs_pass(zero_point: int, scale: float, signed: bool) -> None:
    zero = np.int8(zero_point) if signed else np.uint8(zero_point % 256)
    body = "q = QuantizeLinear(x, scale, z) y = DequantizeLinear(q, scale, z)"
    model = network(body, scale=np.float32(scale), z=zero)
    legal = signed and zero_point == 0 and np.isfinite(np.float32(scale)) and np.float32(scale) > 0
    assert (lint(model, JETSON) == []) == bool(legal)


def test_fp4_came_with_tensorrt_10_8() -> None:
    zero = onnx.helper.make_tensor("z4", onnx.TensorProto.FLOAT4E2M1, [], [0.0])
    body = "q = QuantizeLinear(x, s, z4) y = DequantizeLinear(q, s, z4)"
    model = network(body, opset=23, z4=zero)
    blackwell = replace(THOR, tensorrt="11.0", opset_max=25)
    assert lint(model, blackwell) == []
    assert rules(model, replace(blackwell, peaks=replace(THOR.peaks, fp4_tflops=None))) == [
        ("quantized-type", "error", "q")
    ]
    too_early = lint(model, replace(blackwell, tensorrt="10.7"))
    assert [finding.rule for finding in too_early] == ["opset", "quantized-type"]


def test_scales_and_zero_points_may_be_computed_from_constants() -> None:
    body = """s2 = Mul(s, s) z2 = Identity(zero)
        q = QuantizeLinear(x, s2, z2) y = DequantizeLinear(q, s2, z2)"""
    assert lint(network(body), JETSON) == []


def test_the_zero_point_may_be_left_out_and_may_be_a_constant_node() -> None:
    body = """z = Constant<value_int=0>() z8 = Cast<to=3>(z) three = Constant<value = int8 {3}>()
        q = QuantizeLinear(x, s, z8) d = DequantizeLinear(q, s) r = Relu(d)
        p = QuantizeLinear(r, s, three) y = DequantizeLinear(p, s, three)"""
    assert rules(network(body), JETSON) == [("zero-point", "error", "p"), ("zero-point", "error", "y")]


def test_blocks_of_a_weight_have_no_channel_axis() -> None:
    four = onnx.helper.make_tensor("w4", onnx.TensorProto.INT4, [4, 4], [1] * 16)
    body = "w = DequantizeLinear<axis=0, block_size=2>(w4, blocks) y = MatMul(x, w)"
    model = network(body, 21, "float[N,4] x", w4=four, blocks=np.ones((2, 4), np.float32))
    assert lint(model, replace(JETSON, tensorrt="11.0", opset_max=25)) == []


@pytest.mark.parametrize(
    "body, words",
    [
        (CLEAN.replace("x, s, zero", "x, s, three"), "zero point 3,"),
        (CLEAN.replace("x, s,", "x, negative,"), "scale -0.1 is not"),
        (CLEAN.replace("channel_scales", "one_nan"), "scale nan is not"),
        (UNSIGNED_INPUT + QUANTIZED_WEIGHT + CONV, "a tensor quantized to UINT8"),
        (
            QUANTIZED_INPUT + "w = DequantizeLinear(unsigned_weight, s, unsigned_zero) " + CONV,
            "a weight quantized to UINT8",
        ),
        (CLEAN.replace(CONV, BIAS + "y = Conv(d, w, b)"), "a bias quantized to INT32"),
        ("y = Det(x)", "TensorRT 10.3 does not have Det"),
        ("y = custom.Magic(x)", "custom.Magic is no standard operator, and TensorRT 10.3"),
    ],
)
def test_what_a_finding_says(body: str, words: str) -> None:
    (finding,) = lint(network(body, **FAULTY), JETSON)
    assert words in finding.message
    assert finding.fix


def test_a_release_that_is_not_told_is_taken_as_10() -> None:
    (finding,) = lint(network("y = Det(x)"), replace(JETSON, tensorrt=None))
    assert "TensorRT 10 does not" in finding.message
    assert (
        lint(network("y = Gather(table, x)", inputs="int64[N,4] x", table=np.ones((9, 2))), load_target("t4"))
        != []
    )


def test_an_open_axis_of_a_known_size_is_no_finding() -> None:
    model = network("y = Relu(x)", inputs="float[N,4,H,W] x")
    known = ShapeRange((1, 4, 8, 8), (1, 4, 8, 8), (8, 4, 16, 8), 0)
    assert lint(model, replace(JETSON, input_shapes={"x": known})) == []
    other = ShapeRange((1, 3, 8, 8), (1, 3, 8, 8), (8, 3, 16, 8), 0)
    assert rules(model, replace(JETSON, input_shapes={"x": other})) == [("open-axis", "warning", "x")]


def test_samples_along_another_axis_are_no_open_axis() -> None:
    (finding,) = lint(network("y = Relu(x)", inputs="float[T,batch,4] x"), JETSON)
    assert "axis 0 (T) is open" in finding.message


CASTS = "e = Cast<to=10>(d) v = Cast<to=10>(w) c = Conv(e, v) y = Cast<to=1>(c)"


@pytest.mark.parametrize(
    ("body", "target", "found"),
    [
        (CASTS, THOR, True),
        (CASTS.replace("Cast<to=10>(d)", "MaxPool<kernel_shape=[1, 1]>(n) n = Cast<to=10>(d)"), THOR, True),
        (CASTS, XAVIER, False),  # an engine that is not strongly typed chooses by itself
        ("c = Conv(d, w) h = Cast<to=10>(c) r = Relu(h) y = Cast<to=1>(r)", THOR, False),
    ],
)
def test_a_cast_behind_dequantize_linear_keeps_its_layer_in_floats(
    body: str, target: Target, found: bool
) -> None:
    body = " ".join(
        sorted(body.replace(") ", ")\n").split("\n"), key=lambda line: not line.startswith("n ="))
    )
    told = rules(network(QUANTIZED_INPUT + QUANTIZED_WEIGHT + body), target)
    assert told == ([("cast-after-dequantize", "warning", "c")] if found else [])
