"""What of a graph the deep learning accelerator of a Jetson leaves to the GPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compress.lint import lint
from compress.target.target import load_target
from tests.rewriting import graph

ORIN = load_target("jetson-agx-orin-64gb")
XAVIER = load_target("jetson-agx-xavier")
IMAGE = "float[1,3,16,16] x"


def weight(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("c = Conv(x, w3) r = Relu(c) y = MaxPool<kernel_shape=[2,2]>(r)", None),
        ("y = Conv<pads=[16,16,16,16]>(x, w33)", "a kernel of 33, and the DLA takes up to 32"),
        ("y = Conv<strides=[9,1]>(x, w3)", "a stride of 9, and the DLA takes up to 8"),
        ("y = ConvTranspose<group=3>(x, t)", "no grouped or dilated"),
        ("y = ConvTranspose<pads=[1,1,0,0]>(x, u)", "padding has to be 0"),
        ("y = Concat<axis=2>(x, x)", "along the channels only"),
        ("y = Concat<axis=-3>(x, x)", None),
        ("y = MatMul(x, x)", "second input has to be constant"),
        ("a = Erf(x) b = Erf(a) y = Relu(b)", "Erf is not among the DLA's operators, and so 1 more"),
        ("y = Div(x, x)", None),
    ],
)
def test_operators(body: str, words: str | None) -> None:
    constants = {
        "w3": weight(4, 3, 3, 3),
        "w33": weight(4, 3, 33, 33),
        "t": weight(3, 1, 2, 2),
        "u": weight(3, 4, 3, 3),
    }
    read = {name: value for name, value in constants.items() if f" {name})" in body}
    found = lint(graph(body, 17, IMAGE, **read), ORIN, dla=True)
    assert [finding.rule for finding in found] == ([] if words is None else ["dla"])
    assert all(words in finding.message and finding.source for finding in found if words)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ("float[N,3,16,16] x", "static shapes only"),
        ("float[1,3,9000,16] x", "an axis of 9000, and the DLA takes up to 8192"),
        ("float[5000,3,16,16] x", "a batch of 5000, and the DLA takes up to 4096"),
    ],
)
def test_shapes(inputs: str, words: str) -> None:
    (finding,) = lint(graph("y = Relu(x)", 17, inputs), ORIN, dla=True)
    assert words in finding.message


def test_nothing_is_said_unless_it_is_asked() -> None:
    assert lint(graph("y = Erf(x)", 17, IMAGE), ORIN) == []


def test_div_came_to_the_list_after_8_5_and_xavier_is_not_wholly_known() -> None:
    found = lint(graph("y = Div(x, x)", 17, IMAGE), XAVIER, dla=True)
    assert [finding.severity for finding in found] == ["note", "warning"]
    assert "not known here" in found[0].message


def test_a_target_without_one() -> None:
    (finding,) = lint(graph("y = Relu(x)", 17, IMAGE), load_target("t4"), dla=True)
    assert (finding.severity, finding.message) == ("error", "t4 has no DLA")


def test_releases_after_10_7_have_none_on_jetson() -> None:
    (finding,) = lint(graph("y = Relu(x)", 17, IMAGE), replace(ORIN, tensorrt="10.16"), dla=True)
    assert "10.7 was the last" in finding.message
    assert lint(graph("y = Relu(x)", 17, IMAGE), replace(ORIN, tensorrt="10.7"), dla=True) == []
