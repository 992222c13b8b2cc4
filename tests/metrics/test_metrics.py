"""Metrics: a value for every sample."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics import Metric, drop_points, load_metric
from tests.distributions import installed

Array = np.ndarray[Any, Any]


def _values(
    name: Any, output: Array, targets: Array | None = None, reference: Array | None = None
) -> list[float]:
    metric = load_metric(name)
    values = metric.per_sample([output], targets, None if reference is None else [reference])
    assert values.dtype == np.float64
    assert values.shape == (len(output),)
    return values.tolist()


def _spec(*shape: int | str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec("out", dtype, shape)


SCORES = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 8), st.integers(3, 6)), elements=st.integers(-3, 3)
)


@given(scores=SCORES, data=st.data())
def test_top_1_is_argmax(scores: Array, data: st.DataObject) -> None:
    labels = data.draw(arrays.arrays(np.int64, len(scores), elements=st.integers(0, scores.shape[1] - 1)))
    assert _values("top-1", scores, labels) == (scores.argmax(axis=1) == labels).tolist()


@given(scores=SCORES, data=st.data())
def test_top_k_is_among_the_k_first_of_a_stable_order(scores: Array, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, scores.shape[1] - 1))
    labels = data.draw(arrays.arrays(np.int64, len(scores), elements=st.integers(0, scores.shape[1] - 1)))
    first = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert _values(f"top-{k}", scores, labels) == [
        label in row for label, row in zip(labels, first, strict=True)
    ]


@pytest.mark.parametrize(
    "output, targets, message",
    [
        (np.zeros((4, 3)), None, "data without y"),
        (np.zeros((4, 3)), np.array([0, 1, 2, 3]), r"labels in \[0, 3\); found labels from 0 to 3"),
        (np.zeros((4, 3)), np.array([0, -1, 2, 2]), "labels from -1 to 2"),
        (np.zeros((4, 3)), np.zeros(4), "one integer label a sample"),
        (np.zeros((4, 3)), np.zeros((4, 3), int), "one integer label a sample"),
        (np.full((4, 3), np.nan), np.zeros(4, int), "NaN"),
        (np.zeros((4, 1)), np.zeros(4, int), "more than 1 classes"),
        (np.zeros(4), np.zeros(4, int), "more than 1 classes"),
        (np.zeros((4, 3, 2)), np.zeros(4, int), "more than 1 classes"),
    ],
)
def test_what_top_1_cannot_judge_is_told(output: Array, targets: Array | None, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        _values("top-1", output, targets)


def test_top_k_is_fitted_to_the_classes() -> None:
    assert load_metric("top-5").fitted([_spec("batch", 6)]).name == "top-5"
    assert load_metric("top-5").fitted([_spec("batch", "classes")]).name == "top-5"
    for outputs in (_spec("batch", 5), _spec("batch", 6, 7), _spec("batch")):
        with pytest.raises(MetricError, match=r"scores .* of more than 5 classes for top-5"):
            load_metric("top-5").fitted([outputs])


def test_mean_error_is_the_mean_over_all_but_the_samples() -> None:
    output, target = np.array([[[1.0, 2.0]], [[3.0, 5.0]]]), np.array([[1.0, 0.0], [3.5, 5.5]])
    assert _values("mean-error", output, target) == [1.0, 0.5]
    assert _values("mean-error", np.array([[1.0], [2.0]]), np.array([0, 2])) == [1.0, 0.0]
    metric = load_metric("mean-error")
    assert (metric.higher_is_better, metric.right_or_wrong, metric.needs) == (False, False, "labels")


def test_a_metric_that_fits_everything_stays_as_it_is() -> None:
    metric = load_metric(within_one)
    assert metric.fitted([_spec("batch", 3)]) is metric


@pytest.mark.parametrize(
    "output, targets, message",
    [
        # Broadcasting would give a number for each of these.
        (np.zeros((4, 3)), np.zeros(4), "targets like the first output"),
        (np.zeros((4, 1)), np.zeros((4, 4)), "targets like the first output"),
        (np.zeros((4, 2, 3)), np.zeros((4, 3, 2)), "targets like the first output"),
        (np.zeros(4), None, "data without y"),
        (np.array([0, np.nan]), np.zeros(2), "a finite mean-error; found nan for sample 1"),
    ],
)
def test_what_mean_error_cannot_judge_is_told(output: Array, targets: Array | None, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        _values("mean-error", output, targets)


def test_agreement_by_itself_takes_the_first_output_for_what_its_name_and_type_say() -> None:
    fitted = load_metric("agreement").fitted([TensorSpec("logits", "float32", ("batch", 3))])
    assert (fitted.name, fitted.needs, fitted.outputs) == ("agreement", "reference", ("logits",))
    assert fitted.shown is not None
    assert load_metric("agreement").fitted([_spec("batch", 3)]).shown is None  # numbers, not choices
    with pytest.raises(MetricError, match="fit it to the network"):
        _values("agreement", np.zeros((2, 3)), reference=np.zeros((2, 3)))


def within_one(outputs: Sequence[Array], targets: Array) -> Array:
    assert isinstance(outputs, list)
    return np.abs(outputs[0] - targets) <= 1


def test_the_users_function() -> None:
    metric = load_metric(within_one)
    assert _values(within_one, np.array([1.0, 5.0]), np.array([2.0, 2.0])) == [1, 0]
    assert (metric.name, metric.needs, metric.higher_is_better) == ("within_one", "labels", True)
    assert (metric.right_or_wrong, metric.unit, metric.class_labels) == (False, "", False)


def test_the_users_function_takes_the_originals_outputs_in_place_of_targets() -> None:
    def same(outputs: Sequence[Array], targets: Sequence[Array]) -> Array:
        return (outputs[0] == targets[0]).mean(axis=1)

    metric = load_metric(same).unlabelled
    assert metric is not None
    assert metric.needs == "reference"
    ours, theirs = np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 5]])
    assert list(metric.per_sample([ours], None, [theirs])) == [1, 0.5]


def test_the_users_function_may_ask_for_the_original_beside_the_targets() -> None:
    def not_worse(outputs: Sequence[Array], targets: Array, original: Sequence[Array]) -> Array:
        return np.abs(outputs[0] - targets) <= np.abs(original[0] - targets)

    metric = load_metric(not_worse)
    assert metric.needs == "reference"
    found = metric.per_sample([np.array([1.0, 3.0])], np.array([1.0, 1.0]), [np.array([2.0, 2.0])])
    assert list(found) == [1, 0]


def test_attributes_of_the_users_function() -> None:
    def loss(outputs: Sequence[Array], targets: Array) -> Array:
        return np.array([0.0, 1.0])

    loss.higher_is_better = False  # type: ignore[attr-defined]
    loss.right_or_wrong = True  # type: ignore[attr-defined]
    metric = load_metric(loss)
    assert (metric.higher_is_better, metric.right_or_wrong, metric.unit) == (False, True, "%")


@pytest.mark.parametrize(
    "returned, message",
    [
        (0.5, r"shape \(2,\); found shape \(\)"),
        ([0.5], r"found shape \(1,\)"),
        ([[0.5], [0.5]], r"found shape \(2, 1\)"),
        ([0.5, math.nan], "found nan for sample 1"),
        ([0.5, math.inf], "found inf for sample 1"),
        ("text", "ValueError"),
        (None, "TypeError|a finite|shape"),
    ],
)
def test_what_the_users_function_must_not_return_is_told(returned: object, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        _values(lambda outputs, targets: returned, np.zeros((2, 3)), np.zeros(2))


def test_a_broken_promise_of_right_or_wrong_is_told() -> None:
    def half(outputs: Sequence[Array], targets: Array) -> Array:
        return np.full(2, 0.5)

    half.right_or_wrong = True  # type: ignore[attr-defined]
    with pytest.raises(MetricError, match="0 or 1 from half"):
        _values(half, np.zeros((2, 3)), np.zeros(2))


def test_a_failure_in_the_users_function_is_one_line_with_its_cause() -> None:
    def broken(outputs: Sequence[Array], targets: Array) -> Array:
        raise KeyError("a\nb")

    with pytest.raises(MetricError, match=r"broken: fn\(outputs, targets\).*KeyError") as caught:
        _values(broken, np.zeros((2, 3)), np.zeros(2))
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_reference_and_a_metric_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user_metrics.py").write_text(
        "from compress.metrics import load_metric\nready = load_metric('top-3')\nnumber = 3\n"
        "def mine(outputs, targets):\n    return targets * 1.0\n"
    )
    try:
        assert load_metric("user_metrics:mine").name == "user_metrics:mine"
        assert load_metric("user_metrics:ready").name == "top-3"
        with pytest.raises(MetricError, match="int at user_metrics:number"):
            load_metric("user_metrics:number")
        with pytest.raises(MetricError, match="no 'absent' in user_metrics"):
            load_metric("user_metrics:absent")
    finally:
        sys.modules.pop("user_metrics", None)
    metric = load_metric("agreement")
    assert load_metric(metric) is metric


def test_a_metric_of_another_package(tmp_path: Path) -> None:
    names = {"word-error": "words", "gone": "gone", "scaled": "SCALED", "top-7": "words", "miou": "words"}
    source = (
        "from compress.core.toml_schema import Number\nfrom compress.metrics.custom import from_callable\n"
        "from compress.metrics.options import NamedMetric\ndef words(outputs, targets):\n    return targets * 1.0\n"
        "def scaled(by=1.0):\n    return from_callable(lambda outputs, targets: targets * by, 'scaled')\n"
        "SCALED = NamedMetric(scaled, {'by': Number('', 0, 9)})\n"
    )
    points = {"compress.metrics": {name: f"metric_plugin:{place}" for name, place in names.items()}}
    with installed(tmp_path, "metric-plugin", points, metric_plugin=source):
        assert load_metric("word-error").name == "word-error"
        metric = load_metric("scaled:by=3")
        assert metric.name == "scaled:by=3"
        assert list(metric.per_sample([np.ones((2, 1))], np.array([1.0, 2.0]), None)) == [3.0, 6.0]
        with pytest.raises(MetricError, match=r"of metric-plugin 1.0; .*no attribute 'gone'.*; update or"):
            load_metric("gone")
        with pytest.raises(MetricError, match="did you mean word-error"):
            load_metric("word-eror")
        with pytest.raises(MetricError, match="top-k is built in for every k"):
            load_metric("top-7")
        with pytest.raises(MetricError, match=r"one each in compress-toolkit \S+ and metric-plugin 1.0"):
            load_metric("miou")
        with pytest.raises(MetricError, match="word-error alone"):
            load_metric("word-error:by=3")


@pytest.mark.parametrize(
    "name, message",
    [
        ("top5", "did you mean top-5"),
        ("agrement", "did you mean agreement"),
        ("top-0", "did you mean top-"),
        ("zzz", "choose one of top-1, top-5, mean-error, agreement"),
        ("", "choose one of"),
        (3, "found int"),
    ],
)
def test_an_unknown_metric_gets_the_nearest(name: Any, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        load_metric(name)


def _metric(right_or_wrong: bool, higher_is_better: bool) -> Metric:
    return Metric("m", load_metric("agreement").per_sample, "labels", right_or_wrong, higher_is_better, "")


@pytest.mark.parametrize(
    "right_or_wrong, higher_is_better, baseline, candidate, points",
    [
        (True, True, 0.91, 0.90, 1.0),
        (True, True, 0.0, 0.5, -50.0),
        (True, False, 0.10, 0.12, 2.0),
        (False, True, 0.80, 0.76, 5.0),
        (False, False, 0.50, 0.51, 2.0),
        (False, True, -2.0, -2.1, 5.0),
        (False, True, 0.0, 0.0, 0.0),
        (False, False, 0.0, 0.1, math.inf),
        (False, True, 0.0, 0.1, -math.inf),
    ],
)
def test_a_drop_in_points(
    right_or_wrong: bool, higher_is_better: bool, baseline: float, candidate: float, points: float
) -> None:
    assert drop_points(_metric(right_or_wrong, higher_is_better), baseline, candidate) == pytest.approx(
        points
    )
