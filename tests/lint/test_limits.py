"""What TensorRT's parsers want of single operators, of types, and of constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from compress.lint import fix, lint
from compress.target.target import Target, load_target
from tests.rewriting import graph

OLD = load_target("jetson-agx-xavier")  # TensorRT 8.5
NEW = load_target("jetson-orin-nano-super")  # TensorRT 10.3
IMAGE = "float[N,3,6,6] x"
HALF = np.array([1, 1, 0.5, 0.5], np.float32)
K = np.array([2], np.int64)


def errors(model: onnx.ModelProto, target: Target) -> list[tuple[str, str, str]]:
    """Rule, message and rewrite of each error."""
    found = lint(model, target)
    assert all(finding.source for finding in found)
    return [(each.rule, each.message, each.rewrite) for each in found if each.severity == "error"]


@pytest.mark.parametrize(
    ("body", "constants", "target", "words"),
    [
        ("y = AveragePool<kernel_shape=[2,2], dilations=[2,2]>(x)", {}, NEW, "dilations [2, 2] have to be 1"),
        ("y = MaxPool<kernel_shape=[2,2], dilations=[1,2]>(x)", {}, OLD, "dilations [1, 2] have to be 1"),
        ("y, i = MaxPool<kernel_shape=[2,2]>(x)", {}, OLD, "further output 'i'"),
        ("y, m = LayerNormalization(x, s)", {"s": np.ones(6, np.float32)}, NEW, "further output 'm'"),
        ("y, m = Dropout(x, r, t)", {"r": np.float32(0.5), "t": np.True_}, OLD, "training mode"),
        ('y = Resize<mode="cubic">(x, , s)', {"s": HALF}, OLD, "mode is cubic"),
        (
            'y = Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize">(x, r, s)',
            {"s": HALF, "r": np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32)},
            NEW,
            "tf_crop_and_resize",
        ),
        ('y = Resize<mode="linear", antialias=1>(x, , s)', {"s": HALF}, NEW, "antialiases"),
        ("y, i = TopK<sorted=0>(x, k)", {"k": K}, NEW, "sorted has to be 1"),
        ('y = ScatterND<reduction="add">(x, k2, x)', {}, NEW, "reduction is add, and it may not have one"),
        ('y = ScatterND<reduction="none">(x, k2, x)', {}, NEW, "reduction is none, and it may not have one"),
        ('y = ScatterND<reduction="none">(x, k2, x)', {}, OLD, None),
        ('y = ScatterND<reduction="add">(x, k2, x)', {}, OLD, "reduction is add, which the parser does not"),
        ("y = ScatterND(x, k2, x)", {}, NEW, None),
        ('y = ScatterElements<reduction="add">(x, k2, x)', {}, OLD, "reduction is add"),
        ("y = LpNormalization<p=2>(x)", {}, NEW, None),
        ('y = Einsum<equation="...i->...i">(x)', {}, OLD, "ellipsis"),
        ('y = Einsum<equation="nchh->nch">(x)', {}, OLD, "diagonal"),
        ('y = Einsum<equation="...i->...i">(x)', {}, NEW, None),
        (
            "y = InstanceNormalization(x, a, b)",
            {"a": np.ones(3, np.float32), "b": np.ones(3, np.float32)},
            OLD,
            None,
        ),
    ],
)
def test_attributes(body: str, constants: dict[str, np.ndarray], target: Target, words: str | None) -> None:
    opset = 17 if target is OLD else 20
    inputs = IMAGE + (", int64[N,3,6,1] k2" if "k2" in body and "ND" in body else ", int64[N,3,6,6] k2")
    model = graph(body, opset, inputs, **constants)
    model = onnx.shape_inference.infer_shapes(model)
    found = [message for rule, message, _ in errors(model, target) if rule == "operator-limit"]
    assert len(found) == (0 if words is None else 1)
    assert all(words in message for message in found if words)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ("layout=1", "layout is 1"),
        (
            'direction="bidirectional", activations=["Sigmoid","Tanh","Sigmoid","Relu"]',
            "different activations",
        ),
        ('direction="bidirectional", activations=["Sigmoid","Tanh","Sigmoid","Tanh"]', None),
    ],
)
def test_recurrent_layers(attributes: str, words: str | None) -> None:
    count = 2 if "bidirectional" in attributes else 1
    model = graph(
        f"y = GRU<hidden_size=4, {attributes}>(x, w, r)",
        17,
        "float[5,2,3] x",
        w=np.ones((count, 12, 3), np.float32),
        r=np.ones((count, 12, 4), np.float32),
    )
    found = [message for _, message, _ in errors(model, OLD)]
    assert len(found) == (0 if words is None else 1)
    assert all(words in message for message in found if words)


@pytest.mark.parametrize(
    ("body", "target"),
    [
        ("y = CumSum(x, i)", OLD),
        ("y = Unsqueeze(x, i1)", OLD),
        ("y, k = TopK(x, i1)", OLD),
        ("y = ReduceSum(x, i1)", NEW),
    ],
)
def test_inputs_that_have_to_be_constant(body: str, target: Target) -> None:
    model = graph(
        body, 17, IMAGE + ", int64 i, int64[1] i1", "float[N,3,6,6] y" if "Cum" in body else "float[] y"
    )
    if not model.graph.output[0].type.tensor_type.HasField("shape"):
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "any"
    rules = [(rule, rewrite) for rule, _, rewrite in errors(model, target)]
    assert ("operator-limit", "fold-constants") in rules


@pytest.mark.parametrize(
    ("body", "output", "rewrite"),
    [
        ("y, m = LayerNormalization(x, s)", "float[] y", "unused-outputs"),
        ("y, m = LayerNormalization(x, s)", "float[] y, float[] m", "layer-normalization"),
        ("y, i = MaxPool<kernel_shape=[2,2]>(x)", "float[] y", "unused-outputs"),
        ("y, i = MaxPool<kernel_shape=[2,2]>(x)", "float[] y, int64[] i", ""),
    ],
)
def test_further_outputs_go_where_nobody_reads_them(body: str, output: str, rewrite: str) -> None:
    constants = {"s": np.ones(6, np.float32)} if "Layer" in body else {}
    model = graph(body, 17, IMAGE, output, **constants)
    assert [(rule, named) for rule, _, named in errors(model, NEW)] == [("operator-limit", rewrite)]
    left = [finding for finding in fix(model, NEW).findings if finding.severity == "error"]
    assert len(left) == (0 if rewrite else 1)


@pytest.mark.parametrize(("largest", "count"), [(3839, 0), (3840, 1)])
def test_how_many_top_k_gives(largest: int, count: int) -> None:
    model = graph("y, i = TopK(x, k)", 17, "float[N,5000] x", k=np.array([largest], np.int64))
    assert len(errors(model, NEW)) == count
    assert errors(model, OLD) == []


def test_computed_axes_are_folded() -> None:
    body = "a = Add(one, one) y = ReduceSum<keepdims=0>(x, a)"
    model = graph(body, 17, IMAGE, "float[N,3,6] y", one=np.array([1], np.int64))
    assert [rewrite for _, _, rewrite in errors(model, NEW)] == ["fold-constants"]


def test_operators_inside_of_branches_are_seen() -> None:
    body = """y = If(c) <then_branch = t () => (float[2] a) { a = Hardmax(x) },
        else_branch = e () => (float[2] b) { b = Identity(x) }>"""
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 17]> g (float[2] x, bool c) => (float[2] y) {{ {body} }}'
    )
    assert [(rule, rewrite) for rule, _, rewrite in errors(model, OLD)] == [("operator", "")]
    assert errors(model, NEW) == []


@pytest.mark.parametrize(
    ("operator", "opset", "rewrite"),
    [
        ("Gelu(x)", 20, "gelu"),
        ("Mish(x)", 18, "mish"),
        ("CastLike(x, x)", 17, "cast-like"),
        ("Hardmax(x)", 17, ""),
    ],
)
def test_operators_that_came_later(operator: str, opset: int, rewrite: str) -> None:
    found = errors(graph(f"y = {operator}", opset, IMAGE), OLD)
    assert ("operator", rewrite) in [(rule, named) for rule, _, named in found]
    assert errors(graph(f"y = {operator}", opset, IMAGE), NEW) == []


@pytest.mark.parametrize(
    ("inputs", "body", "target", "words"),
    [
        ("uint8[N,4] x", "y = Cast<to=1>(x)", OLD, None),
        ("bool[N,4] x", "n = Not(x) y = Cast<to=1>(n)", OLD, None),
        ("uint16[N,4] x", "y = Cast<to=1>(x)", NEW, "UINT16, and TensorRT 10.3 has no such type"),
        ("uint8[N,4] x", "t = Transpose(x) y = Cast<to=1>(t)", NEW, "UINT8 inside of the graph"),
        ("bfloat16[N,4] x", "y = Cast<to=1>(x)", NEW, None),
        ("bfloat16[N,4] x", "y = Cast<to=1>(x)", OLD, "has no such type"),
        ("bfloat16[N,4] x", "y = Cast<to=1>(x)", load_target("t4"), "t4 does not compute in it"),
    ],
)
def test_types(inputs: str, body: str, target: Target, words: str | None) -> None:
    found = [message for rule, message, _ in errors(graph(body, 17, inputs), target) if rule == "type"]
    assert len(found) == (0 if words is None else 1)
    assert all(words in message for message in found if words)


def test_what_a_later_release_reads_besides_is_not_invented() -> None:
    model = graph("y = Cast<to=1>(x)", 17, "uint16[N,4] x")
    assert errors(model, replace(NEW, tensorrt="11.1", opset_max=None)) == []


def test_constants_beyond_int32() -> None:
    end = np.array([2**63 - 1], np.int64)
    model = graph("y = Slice(x, zero, end)", 17, zero=np.zeros(1, np.int64), end=end)
    (finding,) = lint(model, OLD)
    assert (finding.rule, finding.severity, finding.rewrite) == ("wide-constant", "note", "int32-constants")
    assert lint(model, NEW) == []
    model = graph("s = Shape(x) t = Add(s, big) y = Cast<to=1>(t)", 17, big=np.array([2**40], np.int64))
    assert [(rule, rewrite) for rule, _, rewrite in errors(model, OLD)] == [("wide-constant", "")]


def test_wide_outputs() -> None:
    model = graph("y = ArgMax(x)", 17, IMAGE, "int64[] y")
    (finding,) = lint(model, OLD)
    assert (finding.rule, finding.rewrite) == ("wide-type", "narrow-types")
    assert "the output is int64" in finding.message


def test_an_open_axis_says_which_profile_it_needs() -> None:
    (finding,) = lint(graph("y = Relu(x)", 17, "float[N,3,H,8] x"), NEW)
    assert "--minShapes=x:<N>x3x<H>x8 --optShapes=x:<N>x3x<H>x8 --maxShapes=x:<N>x3x<H>x8" in finding.fix
