"""The gate refuses data on which its baseline is right by chance, and no other: in one line, with exit code 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compress.cli import main
from compress.data.task import Task
from compress.errors import DataError
from compress.gate import GatePolicy, Verdict, gate
from compress.gate.groups import load_task_and_groups
from compress.onnx_graph.files import save_model
from tests.graphs import classifier, samples

ACCURACY = GatePolicy(checks=("accuracy",))


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of four classes, each as common as the others, and data with labels of other samples or classes."""
    from onnx.reference import ReferenceEvaluator

    place = tmp_path_factory.mktemp("wrong")
    x, model = samples(600), classifier()
    (scores,) = ReferenceEvaluator(model).run(None, {"x": x})
    bias = model.graph.initializer[-1]
    centred = onnx.numpy_helper.to_array(bias) - np.median(scores, axis=0)
    bias.CopyFrom(onnx.numpy_helper.from_array(centred.astype(np.float32), bias.name))
    (scores,) = ReferenceEvaluator(model).run(None, {"x": x})
    y = scores.argmax(1)
    assert np.bincount(y).min() > 50
    save_model(model, place / "net.onnx")
    np.savez(place / "shuffled.npz", x=x, y=np.random.default_rng(0).permutation(y))
    np.savez(place / "reordered.npz", x=x, y=np.array([2, 3, 1, 0])[y])
    np.savez(place / "few.npz", x=x[:20], y=y[:20])
    np.savez(place / "one.npz", x=x, y=np.full(600, 3))
    return place


def task_of(path: Path, metric: str | None = None) -> Task:
    task, _ = load_task_and_groups(str(path), metric=metric, subjects=())
    return task


def test_labels_of_other_samples_are_chance(wrong: Path):
    with pytest.raises(
        DataError, match=r"found the baseline is right on \d+ % of 600 samples, which is chance"
    ):
        gate(wrong / "net.onnx", wrong / "net.onnx", task=task_of(wrong / "shuffled.npz"), policy=ACCURACY)


def test_another_order_of_the_classes_is_named(wrong: Path):
    with pytest.raises(DataError, match="the classes seem to be in another order than the network's"):
        gate(wrong / "net.onnx", wrong / "net.onnx", task=task_of(wrong / "reordered.npz"), policy=ACCURACY)


@pytest.mark.parametrize("data", ["shuffled", "reordered"])
def test_a_person_reads_one_line_and_a_script_the_exit_code(
    wrong: Path, data: str, capsys: pytest.CaptureFixture[str]
):
    code = main(
        [
            "gate",
            str(wrong / "net.onnx"),
            "--baseline",
            str(wrong / "net.onnx"),
            "--data",
            str(wrong / f"{data}.npz"),
        ]
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert line.startswith("error: wanted a baseline that does on the data what its network was trained for")
    assert line.endswith("correct the data, or the way it is prepared")


@pytest.mark.parametrize("data", ["few", "one"])
def test_few_samples_and_those_of_one_class_are_judged(wrong: Path, data: str):
    (check,) = gate(
        wrong / "net.onnx", wrong / "net.onnx", task=task_of(wrong / f"{data}.npz"), policy=ACCURACY
    )
    assert check.name == "accuracy"


@pytest.mark.parametrize("check", ["accuracy", "slices", "churn", "calibration", "corruptions"])
def test_every_check_of_outputs_needs_an_original_that_works(wrong: Path, check: str):
    with pytest.raises(DataError, match="which is chance"):
        gate(
            wrong / "net.onnx",
            wrong / "net.onnx",
            task=task_of(wrong / "shuffled.npz"),
            policy=GatePolicy(checks=("size", check)),
        )


def test_size_is_judged_on_any_data(wrong: Path):
    (check,) = gate(
        wrong / "net.onnx",
        wrong / "net.onnx",
        task=task_of(wrong / "shuffled.npz"),
        policy=GatePolicy(checks=("size",)),
    )
    assert check.verdict is Verdict.PASS


def test_another_metric_may_be_low(wrong: Path):
    (check,) = gate(
        wrong / "net.onnx",
        wrong / "net.onnx",
        task=task_of(wrong / "shuffled.npz", "f1-macro"),
        policy=ACCURACY,
    )
    assert check.name == "accuracy"
