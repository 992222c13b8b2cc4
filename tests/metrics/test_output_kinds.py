"""What an output holds, told from graphs as exporters write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.core.tensor_spec import TensorSpec
from compress.metrics.output_kinds import OutputKind, output_kinds

Array = np.ndarray[Any, Any]
node = helper.make_node


def kinds(
    nodes: list[onnx.NodeProto],
    outputs: dict[str, list[int | str]],
    *,
    inputs: dict[str, tuple[int, list[int | str]]] | None = None,
    weights: dict[str, Array] | None = None,
    examples: list[Array] | None = None,
    opset: int = 17,
) -> tuple[OutputKind, ...]:
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, (kind, shape) in (inputs or {"x": (TensorProto.FLOAT, ["n", 8])}).items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    specs = [TensorSpec(name, "float32", ("batch", *shape[1:])) for name, shape in outputs.items()]
    return output_kinds(specs, model, examples)


def kind(
    nodes: list[onnx.NodeProto], shape: list[int | str], name: str = "y", **given: Any
) -> tuple[str, int | None]:
    (found,) = kinds(nodes, {name: shape}, **given)
    return found.kind, found.axis


W = {"w": np.zeros((8, 8), np.float32)}


@pytest.mark.parametrize(
    ("nodes", "shape", "wanted"),
    [
        ([node("Softmax", ["x"], ["y"], axis=1)], ["n", 8], ("classes", 1)),
        ([node("Softmax", ["x"], ["y"], axis=-1)], ["n", 4, 6, 8], ("classes", 3)),
        ([node("Softmax", ["x"], ["y"], axis=1)], ["n", 4, 6, 8], ("classes", 1)),
        ([node("LogSoftmax", ["x"], ["y"], axis=2)], ["n", 5, 8], ("classes", 2)),
        ([node("Softmax", ["x"], ["a"], axis=1), node("Log", ["a"], ["y"])], ["n", 8], ("classes", 1)),
        # The axis follows the tensor through a transposition: [n, H, W, C] of TensorFlow to [n, C, H, W].
        (
            [node("Softmax", ["x"], ["a"], axis=-1), node("Transpose", ["a"], ["y"], perm=[0, 3, 1, 2])],
            ["n", 8, 4, 6],
            ("classes", 1),
        ),
        ([node("Softmax", ["x"], ["a"], axis=1), node("Cast", ["a"], ["y"], to=1)], ["n", 8], ("classes", 1)),
        ([node("Sigmoid", ["x"], ["y"])], ["n", 8], ("probabilities", None)),
        ([node("LayerNormalization", ["x", "s"], ["y"])], ["n", 6, 8], ("embeddings", None)),
        ([node("LpNormalization", ["x"], ["y"])], ["n", 8], ("embeddings", None)),
        (
            [
                node("ReduceL2", ["x"], ["l"], axes=[1]),
                node("Clip", ["l", "tiny"], ["m"]),
                node("Div", ["x", "m"], ["y"]),
            ],
            ["n", 8],
            ("embeddings", None),
        ),
        # Nothing shows that these are class scores: a pose, an embedding, a forecast.
        ([node("MatMul", ["x", "w"], ["y"])], ["n", 8], ("values", None)),
        ([node("Tanh", ["x"], ["y"])], ["n", 8], ("values", None)),
        ([node("Sigmoid", ["x"], ["a"]), node("Mul", ["a", "w"], ["y"])], ["n", 8], ("values", None)),
        (
            [node("Softmax", ["x"], ["a"], axis=1), node("MatMul", ["a", "w"], ["y"])],
            ["n", 8],
            ("values", None),
        ),
    ],
)
def test_the_graph_shows_it(
    nodes: list[onnx.NodeProto], shape: list[int | str], wanted: tuple[str, int | None]
) -> None:
    assert kind(nodes, shape, weights=W | {"tiny": np.array(1e-9, np.float32)}) == wanted


def test_an_output_without_entries_is_not_judged() -> None:
    specs = [TensorSpec("scores", "float32", ("batch", 4)), TensorSpec("rest", "float32", ("batch", 0))]
    examples = [np.ones((3, 4), np.float32), np.ones((3, 0), np.float32)]
    assert [each.kind for each in output_kinds(specs, None, examples)] == ["values", "ignore"]


def test_softmax_without_an_axis_means_another_one_before_opset_13() -> None:
    nodes = [node("Softmax", ["x"], ["y"])]
    assert kind(nodes, ["n", 5, 8], opset=13) == ("classes", 2)
    assert kind(nodes, ["n", 5, 8], opset=11) == ("classes", 1)


def test_scores_are_told_by_who_reads_them() -> None:
    """The network gives logits, and the probabilities or the answer beside them."""
    for reader in (node("Softmax", ["y"], ["p"], axis=1), node("ArgMax", ["y"], ["p"], axis=1)):
        found = kinds([node("MatMul", ["x", "w"], ["y"]), reader], {"y": ["n", 8], "p": ["n", 8]}, weights=W)
        assert (found[0].kind, found[0].axis) == ("classes", 1)


def test_scores_of_a_vocabulary_are_tokens() -> None:
    table = np.zeros((50, 8), np.float32)
    nodes = [
        node("Gather", ["table", "ids"], ["e"]),
        node("Transpose", ["table"], ["t"], perm=[1, 0]),
        node("MatMul", ["e", "t"], ["y"]),
    ]
    given = {"inputs": {"ids": (TensorProto.INT64, ["n", "length"])}, "weights": {"table": table}}
    assert kind(nodes, ["n", "length", 50], **given) == ("tokens", 2)
    # Another number of scores for each position is no choice among what the network reads.
    assert kind(nodes, ["n", "length", 5], **given) == ("values", None)


def test_numbers_show_what_the_graph_does_not() -> None:
    random = np.random.default_rng(0)
    plain = [node("MatMul", ["x", "w"], ["y"])]
    scores = random.random((6, 8))
    probabilities = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    unit = (scores / np.linalg.norm(scores, axis=1, keepdims=True)).astype(np.float32)
    for example, wanted in (
        (probabilities, ("classes", 1)),
        (np.log(probabilities), ("classes", 1)),
        (unit, ("embeddings", None)),
        (scores.astype(np.float32), ("values", None)),
    ):
        assert kind(plain, ["n", 8], weights=W, examples=[example]) == wanted


def test_numbers_tell_the_axis_behind_a_reshape() -> None:
    scores = np.random.default_rng(0).random((2, 4, 6, 8))
    maps = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    nodes = [node("Softmax", ["x"], ["a"], axis=1), node("Reshape", ["a", "to"], ["y"])]
    given: dict[str, Any] = {"weights": {"to": np.array([0, 4, 6, 8])}, "examples": [maps]}
    assert kind(nodes, ["n", 4, 6, 8], **given) == ("classes", 1)


def test_gray_values_behind_a_sigmoid_are_no_decisions() -> None:
    nodes = [node("Sigmoid", ["x"], ["y"])]
    random = np.random.default_rng(0)
    gray, decided = random.random((4, 8)), np.where(random.random((4, 8)) > 0.5, 0.98, 0.01)
    assert kind(nodes, ["n", 8], examples=[gray.astype(np.float32)]) == ("values", None)
    assert kind(nodes, ["n", 8], examples=[decided.astype(np.float32)]) == ("probabilities", None)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("logits", "classes"), ("head.log_probs", "classes"), ("embedding", "embeddings"), ("pose", "values")],
)
def test_names_say_it(name: str, wanted: str) -> None:
    assert kind([node("MatMul", ["x", "w"], [name])], ["n", 8], name, weights=W)[0] == wanted


def test_one_score_is_no_choice() -> None:
    assert kind([node("Softmax", ["x"], ["y"], axis=1)], ["n", 1])[0] == "values"
    assert kind([node("MatMul", ["x", "w"], ["logits"])], ["n", 1], "logits", weights=W)[0] == "values"


def test_four_numbers_for_each_score_are_boxes() -> None:
    nodes = [
        node("Reshape", ["x", "four"], ["boxes_"]),
        node("MatMul", ["boxes_", "w"], ["places"]),
        node("Sigmoid", ["x"], ["scores"]),
    ]
    weights = {"four": np.array([0, 20, 4]), "w": np.zeros((4, 4), np.float32)}
    found = kinds(nodes, {"places": ["n", 20, 4], "scores": ["n", 20, 3]}, weights=weights)
    assert [each.kind for each in found] == ["boxes", "probabilities"]
    found = kinds(nodes, {"places": ["n", 20, 4], "scores": ["n", 7, 3]}, weights=weights)
    assert [each.kind for each in found] == ["values", "probabilities"]


def test_integers_and_texts_are_told_by_their_type() -> None:
    specs = [TensorSpec("label", "int64", ("batch",)), TensorSpec("text", "object", ("batch",))]
    assert [each.kind for each in output_kinds(specs, None)] == ["integers", "texts"]
