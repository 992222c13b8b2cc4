"""The outcomes of both sides on the same samples, run or recorded."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compress.core.tensor_spec import TensorSpec
from compress.data.task import Task, load_task
from compress.errors import BundleError, DataError, UsageError
from compress.gate.outcomes import Paired, distinct_rows, recorded_outcomes, run_outcomes
from compress.gate.subject import Subject
from compress.records.profile import Accuracy, Interval
from tests.records import candidate

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = X.argmax(1)


class Scores:
    """A build that scores three classes: those of its input, turned by some classes."""

    inputs = (TensorSpec("x", "float32", ("batch", 3)),)
    outputs = (TensorSpec("y", "float32", ("batch", 3)),)

    def __init__(self, turned: int = 0) -> None:
        self.turned = turned

    def run(self, feeds: Any) -> list[np.ndarray]:
        return [np.roll(feeds["x"], self.turned, axis=1)]


def task(**data: Any) -> Task:
    return load_task({"x": X, "y": Y, **data}, calibrates=False).bind(Scores.inputs, Scores.outputs)


def recorded(name: str = "main", outcomes: tuple[float, ...] = (1.0, 0.0, 1.0), **changes: Any) -> Subject:
    profile = candidate("fp32").profile
    assert profile is not None
    known = {"data_sha256": "ab" * 32, "metric": "top-1", "samples": len(outcomes), **changes}
    accuracy = Accuracy(
        mean=0.5, interval=Interval(0.4, 0.6, 0.95), right_or_wrong=True, higher_is_better=True, **known
    )
    return Subject(name, None, replace(profile, accuracy=accuracy, outcomes=outcomes))


def test_both_sides_are_run_on_every_sample() -> None:
    (paired,) = run_outcomes(Scores(), Scores(1), recorded(), task())  # type: ignore[arg-type]
    assert paired.outcomes.tolist() == [1.0] * 40
    assert paired.reference.tolist() == [0.0] * 40
    assert paired.metric.name == "top-1"


def test_a_recorded_baseline_takes_the_place_of_a_run_on_the_same_data_and_metric_alone() -> None:
    known = task()
    was = tuple(float(row % 2) for row in range(40))
    baseline = recorded(outcomes=was, data_sha256=known.evaluation.sha256)
    (paired,) = run_outcomes(Scores(), None, baseline, known)  # type: ignore[arg-type]
    assert paired.reference.tolist() == list(was)
    assert paired.outcomes.tolist() == [1.0] * 40
    for other in ({"metric": "top-5"}, {"data_sha256": "cd" * 32}):
        changed = {"data_sha256": known.evaluation.sha256, **other}
        with pytest.raises(BundleError, match="give the data and the metric that it was recorded with"):
            run_outcomes(Scores(), None, recorded(outcomes=was, **changed), known)  # type: ignore[arg-type]
    short = recorded(outcomes=was[:-1], data_sha256=known.evaluation.sha256)
    with pytest.raises(DataError, match="40 of the candidate and 39 of the baseline"):
        run_outcomes(Scores(), None, short, known)  # type: ignore[arg-type]


def test_without_labels_a_baseline_has_to_be_run() -> None:
    known = load_task({"x": X}, calibrates=False).bind(Scores.inputs, Scores.outputs)
    with pytest.raises(BundleError, match=r"a baseline to run for agreement.*main: a profile"):
        run_outcomes(Scores(), None, recorded(), known)  # type: ignore[arg-type]
    (paired,) = run_outcomes(Scores(), Scores(1), recorded(), known)  # type: ignore[arg-type]
    assert paired.reference.tolist() == [1.0] * 40  # the baseline is what is agreed with
    assert paired.outcomes.max() < 1


def test_no_samples_are_refused_before_anything_is_run() -> None:
    known = task()
    empty = SimpleNamespace(evaluation=known.evaluation.take(np.array([], np.int64)), metrics=known.metrics)
    with pytest.raises(DataError, match="give data with at least two samples"):
        run_outcomes(Scores(), Scores(), recorded(), empty)  # type: ignore[arg-type]


def test_repeated_samples_are_found_by_inputs_and_targets() -> None:
    assert distinct_rows(task()) is None
    doubled = load_task(
        {"x": X[[0, 1, 0, 2, 1]].repeat(8, axis=0), "y": Y[[0, 1, 0, 2, 1]].repeat(8)}, calibrates=False
    )
    rows = distinct_rows(doubled)
    assert rows is not None
    assert rows.tolist() == [0, 8, 24]
    other_label = Y.copy()
    other_label[0] = (Y[0] + 1) % 3
    twice = load_task({"x": np.concatenate([X, X[:1]]), "y": np.append(Y, other_label[0])}, calibrates=False)
    assert distinct_rows(twice) is None


def test_rows_are_taken_of_both_sides_alike() -> None:
    (paired,) = run_outcomes(Scores(), Scores(1), recorded(), task())  # type: ignore[arg-type]
    mixed = Paired(np.arange(40.0), np.arange(40.0) * 2, paired.metric)
    assert mixed.of(None) is mixed
    part = mixed.of(np.array([3, 1]))
    assert (part.outcomes.tolist(), part.reference.tolist(), part.metric) == ([3, 1], [6, 2], paired.metric)


def test_recorded_outcomes_need_the_same_data_and_metric() -> None:
    paired = recorded_outcomes(recorded("build", (1.0, 1.0, 0.0)), recorded())
    assert paired.outcomes.tolist() == [1.0, 1.0, 0.0]
    assert paired.reference.tolist() == [1.0, 0.0, 1.0]
    metric = paired.metric
    assert (metric.name, metric.right_or_wrong, metric.higher_is_better) == ("top-1", True, True)
    with pytest.raises(UsageError, match="recorded outcomes of top-1"):
        metric.per_sample([X], Y, None)
    for other in ({"metric": "top-5"}, {"data_sha256": "cd" * 32}):
        with pytest.raises(BundleError, match="give --data, so that both builds are run on it"):
            recorded_outcomes(recorded("build"), recorded(**other))
    with pytest.raises(DataError, match="0 of the candidate and 0 of the baseline"):
        recorded_outcomes(recorded("build", ()), recorded(outcomes=()))


def test_a_side_without_a_record_is_named() -> None:
    bare = Subject("model.onnx", None, None)
    with pytest.raises(BundleError, match=r"none of model\.onnx; give --data"):
        recorded_outcomes(bare, recorded())
    with pytest.raises(BundleError, match=r"none of model\.onnx; record it with --data"):
        run_outcomes(Scores(), None, bare, task())  # type: ignore[arg-type]
