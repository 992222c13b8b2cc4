"""A graph in an older opset computes what it did, or is refused by name."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import NetworkError
from compress.onnx_graph.rewrites.opset import lower_opset
from tests.rewriting import assert_same, graph, operators, rewritten, run

TO_17 = partial(lower_opset, opset=17)
IMAGE = "float[N,3,6,6] x"


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    "reduction", ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]
)
@settings(max_examples=8, deadline=None)
@given(
    axes=st.sampled_from([(1,), (-1,), (2, 3), (0, 1), ()]),
    kept=st.booleans(),
    opset=st.sampled_from([18, 20, 21]),
)
def test_reductions(reduction: str, axes: tuple[int, ...], kept: bool, opset: int) -> None:
    more = ", axes" if axes else ""
    constants = {"axes": ints(*axes)} if axes else {}
    body = f"p = Abs(x) y = Reduce{reduction}<keepdims={int(kept)}>(p{more})"
    model = graph(body, opset, IMAGE, **constants)
    assert_same(model, rewritten(model, TO_17), (2, 3, 6, 6))


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("a, b = Split<axis=1, num_outputs=2>(x) y = Concat<axis=1>(b, a)", {}),
        ("a, b, c = Split<axis=2, num_outputs=3>(x) y = Concat<axis=2>(b, c, a)", {}),
        ("a, b = Split<axis=-1>(x, sizes) y = Concat<axis=3>(b, a)", {"sizes": ints(1, 5)}),
        ("y = Pad(x, pads)", {"pads": ints(0, 0, 1, 2, 0, 0, 0, 1)}),
        ("y = Pad(x, pads, , axes)", {"pads": ints(1, 2, 0, 1), "axes": ints(2, -1)}),
        ('y = Pad<mode="reflect">(x, pads, , axes)', {"pads": ints(1, 2, 0, 1), "axes": ints(2, 3)}),
        ("y = Pad(x, pads, seven, axes)", {"pads": ints(1, 1), "axes": ints(1), "seven": np.float32(7)}),
        (
            'y = Resize<mode="linear", axes=[2,3]>(x, , scales)',
            {"scales": np.array([2, 1.5], np.float32)},
        ),
        ('y = Resize<mode="nearest">(x, , scales)', {"scales": np.array([1, 1, 2, 2], np.float32)}),
        (
            'y = Resize<keep_aspect_ratio_policy="stretch", antialias=0>(x, , scales)',
            {"scales": np.array([1, 1, 2, 2], np.float32)},
        ),
        ("y = AveragePool<kernel_shape=[3,3], dilations=[1,1], pads=[1,1,1,1]>(x)", {}),
        ("y = LpPool<kernel_shape=[3,3], dilations=[1,1]>(x)", {}),
        ("i = Cast<to=7, saturate=1>(x) y = Cast<to=1>(i)", {}),
        ("s = Shape(x) y = Reshape(x, s)", {}),
        ("a = Gelu(x) b = Mish(a) y = Identity(b)", {}),
        ("c = Equal(x, x) y = Where(c, x, x)", {}),
    ],
)
def test_operators_that_changed(body: str, constants: dict[str, np.ndarray]) -> None:
    model = graph(body, 20, IMAGE, **constants)
    other = rewritten(model, TO_17)
    assert other.opset_import[0].version == 17
    assert other.ir_version == 8
    assert_same(model, other, (2, 3, 6, 6))


def test_uneven_parts_get_their_sizes() -> None:
    model = graph("a, b = Split<axis=1, num_outputs=2>(x) y = Concat<axis=1>(b, a)", 20, IMAGE)
    (split,) = (node for node in rewritten(model, TO_17).graph.node if node.op_type == "Split")
    assert len(split.input) == 2


def test_resizing_to_sizes_takes_the_others_from_the_shape() -> None:
    model = graph(
        'y = Resize<mode="linear", axes=[2,3]>(x, , , sizes)', 20, "float[2,3,6,6] x", sizes=ints(9, 4)
    )
    assert_same(model, rewritten(model, TO_17), (2, 3, 6, 6))


@pytest.mark.parametrize(("newer", "older"), [("linear", b"bilinear"), ("nearest", b"nearest")])
def test_grid_sample_has_its_older_names(newer: str, older: bytes) -> None:
    model = graph(f'y = GridSample<mode="{newer}">(x, grid)', 20, IMAGE + ", float[N,4,4,2] grid")
    other = rewritten(model, TO_17)
    assert [entry.s for entry in other.graph.node[0].attribute] == [older]
    assert_same(model, other, (2, 3, 6, 6), (2, 4, 4, 2))


@settings(max_examples=15, deadline=None)
@given(
    half=st.booleans(),
    opset=st.sampled_from([19, 20, 21]),
    per_channel=st.booleans(),
    seed=st.integers(0, 99),
)
def test_quantization_in_half_precision_gets_casts(
    half: bool, opset: int, per_channel: bool, seed: int
) -> None:
    dtype = np.float16 if half else np.float32
    scales = np.random.default_rng(seed).uniform(0.05, 0.2, 3 if per_channel else ()).astype(dtype)
    zeros = np.zeros(scales.shape, np.int8)
    model = graph(
        "q = QuantizeLinear<axis=1>(x, s, z) y = DequantizeLinear<axis=1>(q, s, z)",
        opset,
        f"{'float16' if half else 'float'}[N,3,6,6] x",
        f"{'float16' if half else 'float'}[] y",
        s=scales,
        z=zeros,
    )
    other = rewritten(model, TO_17)
    assert ("Cast" in operators(other)) == half
    assert_same(model, other, (2, 3, 6, 6), atol=0.21 if half else 1e-6)  # half may round to the next step


def test_the_type_of_quantization_is_told_by_a_zero_point() -> None:
    model = graph(
        "q = QuantizeLinear<output_dtype=3>(x, s) y = DequantizeLinear(q, s)", 21, s=np.float32(0.1)
    )
    other = rewritten(model, TO_17)
    assert len(other.graph.node[0].input) == 3
    assert_same(model, other, (3, 4))


@pytest.mark.parametrize(
    ("body", "opset", "constants", "words"),
    [
        ("y = ReduceMean(x, axes)", 20, {}, "computed at run time"),
        ("y = ReduceMean<noop_with_empty_axes=1>(x)", 20, {}, "reduces no axis"),
        ('y = Pad<mode="wrap">(x, pads)', 20, {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1)}, "wraps around"),
        ("y = AveragePool<kernel_shape=[2,2], dilations=[2,2]>(x)", 20, {}, "dilations came later"),
        ("b = BitwiseNot(i) y = Cast<to=1>(b)", 20, {}, "it came later"),
        (
            'y = Resize<antialias=1, mode="linear">(x, , scales)',
            20,
            {"scales": np.array([1, 1, 0.5, 0.5], np.float32)},
            "antialias came later",
        ),
        (
            'y = ScatterND<reduction="max">(x, at, part)',
            20,
            {"at": ints(0).reshape(1, 1)},
            "reduction is max",
        ),
    ],
)
def test_what_has_no_older_form_is_named(
    body: str, opset: int, constants: dict[str, np.ndarray], words: str
) -> None:
    inputs = IMAGE + ", int64[K] axes, int32[2] i, float[1,3,6,6] part"
    model = graph(body, opset, inputs, **constants)
    with pytest.raises(NetworkError, match=words) as caught:
        rewritten(model, TO_17)
    assert "opset 17" in caught.value.wanted


def test_splitting_an_axis_of_unknown_size_is_refused() -> None:
    model = graph("y, b = Split<axis=0, num_outputs=2>(x)", 20, IMAGE)
    with pytest.raises(NetworkError, match="unknown size"):
        rewritten(model, TO_17)


def test_what_changed_inside_of_a_branch_is_refused() -> None:
    body = """y = If(c) <then_branch = t () => (float[2] a) { a = Gelu(x) },
        else_branch = e () => (float[2] b) { b = Identity(x) }>"""
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 20]> g (float[2] x, bool c) => (float[2] y) {{ {body} }}'
    )
    with pytest.raises(NetworkError, match="inside a branch"):
        lower_opset(model, 17)


def test_a_graph_that_is_old_enough_stays_as_it_is() -> None:
    model = graph("y = Relu(x)", 17)
    assert lower_opset(model, 17) == []
    assert lower_opset(model, 20) == []
    assert model.opset_import[0].version == 17


def test_lower_than_13_is_not_written() -> None:
    with pytest.raises(NetworkError, match="opset from 13"):
        lower_opset(graph("y = Relu(x)", 20), 12)


@pytest.mark.parametrize(
    "body",
    [
        "y = HardSwish(x)",
        "y = LayerNormalization<axis=-1>(x, six)",
        "a = Gelu(x) y = LeakyRelu<alpha=0.2>(a)",
        "a = Reshape<allowzero=0>(x, shape) y = Softmax<axis=1>(a)",
        "a, b = Split<axis=2, num_outputs=2>(x) c = Add(a, b) y = ReduceMean<keepdims=1>(c, axes)",
    ],
)
def test_down_to_13_for_the_oldest_parser(body: str) -> None:
    constants = {"six": np.linspace(0.5, 1.5, 6, dtype=np.float32), "shape": ints(0, 3, 36), "axes": ints(2)}
    read = {name: value for name, value in constants.items() if name in body.replace("axis", "")}
    model = graph(body, 20, IMAGE, **read)
    lowered = rewritten(model, partial(lower_opset, opset=13))
    assert lowered.opset_import[0].version == 13
    assert_same(model, lowered, (2, 3, 6, 6))


@pytest.mark.parametrize("body", ["y = Trilu(x)", "g = Identity(x) y = GridSample(x, grid)"])
def test_what_no_older_opset_has_is_refused(body: str) -> None:
    grid = {"grid": np.zeros((1, 2, 2, 2), np.float32)} if "grid" in body else {}
    with pytest.raises(NetworkError, match="opset 13"):
        lower_opset(graph(body, 20, "float[1,3,6,6] x", **grid), 13)


def test_nothing_but_the_number_changes_where_no_operator_did() -> None:
    model = graph("y = Relu(x)", 20)
    assert lower_opset(model, 18) == []
    assert model.opset_import[0].version == 18


def test_from_the_newest_opset_down() -> None:
    model = graph(
        "r = RMSNormalization(x, scale) t = Transpose(r) y = Swish(t)", 24, scale=np.ones(4, np.float32)
    )
    other = rewritten(model, TO_17)
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    normalized = (x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)).T
    np.testing.assert_allclose(run(other, {"x": x})[0], normalized / (1 + np.exp(-normalized)), atol=1e-6)
