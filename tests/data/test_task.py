"""Data, calibration set apart, and the metric, from what the user gives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.core.tensor_spec import TensorSpec
from compress.data import ImageOptions, Split, open_data
from compress.data.task import Task, load_task
from compress.errors import CompressError, DataError, MetricError
from compress.metrics.output_kinds import OutputKind

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 3)).astype(np.float32)
Y = np.arange(40) % 4
INPUTS = [TensorSpec("image", "float32", ("batch", 3))]
OUTPUTS = [TensorSpec("scores", "float32", ("batch", 4))]


def _rows(split: Split) -> set[bytes]:
    return {row.tobytes() for batch in split.batches(7) for row in next(iter(batch.inputs.values()))}


def test_one_set_is_split_by_the_seed() -> None:
    task = load_task((X, Y), calibration_samples=6, seed=3)
    assert (len(task.calibration), len(task.evaluation), task.training) == (6, 34, None)
    assert _rows(task.calibration) | _rows(task.evaluation) == {row.tobytes() for row in X}
    again, other = (
        load_task((X, Y), calibration_samples=6, seed=3),
        load_task((X, Y), calibration_samples=6, seed=4),
    )
    assert task.provenance == again.provenance
    assert task.evaluation.sha256 == again.evaluation.sha256 != other.evaluation.sha256


@given(total=st.integers(8, 60), samples=st.integers(1, 30), seed=st.integers(0, 1000))
def test_a_split_never_shares_a_sample(total: int, samples: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(0, 9, (total, 2)).astype(np.float32)
    if len(np.unique(x, axis=0)) == 1:
        return
    task = load_task(x, calibration_samples=samples, seed=seed)
    assert not _rows(task.calibration) & _rows(task.evaluation)
    assert len(task.calibration) + len(task.evaluation) == total


def test_calibration_comes_from_training_data_where_there_is_some() -> None:
    train = X + 100
    task = load_task((X, Y), train_data=(train, Y), calibration_samples=10, seed=1)
    assert len(task.evaluation) == 40
    assert task.training is not None
    assert len(task.training) == 40
    assert len(task.calibration) == 10
    assert _rows(task.calibration) < {row.tobytes() for row in train}
    assert task.provenance["split"]["calibration_from"] == "training data"
    assert task.provenance["training"] == {"kind": "arrays", "samples": 40}


def test_calibration_data_of_its_own_comes_first() -> None:
    task = load_task((X, Y), train_data=(X + 100, Y), calibration_data=X + 200, calibration_samples=10)
    assert _rows(task.calibration) < {row.tobytes() for row in X + 200}


def test_samples_of_the_evaluation_data_are_left_out_of_calibration() -> None:
    given = np.concatenate([X[:5], X[:10] + 100])
    task = load_task((X, Y), calibration_data=given)
    assert _rows(task.calibration) == {row.tobytes() for row in given[5:]}
    assert task.provenance["split"]["left_out_of_calibration"] == 5
    assert load_task((X, Y), calibration_data=given[5:]).provenance["split"]["left_out_of_calibration"] == 0


@pytest.mark.parametrize("name", ["train_data", "calibration_data"])
def test_the_evaluation_data_again_is_told(name: str) -> None:
    with pytest.raises(DataError, match="whose samples are all in the evaluation data too"):
        load_task((X, Y), **{name: (X, Y)})


def test_images_and_arrays_are_compared_by_pixels(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = RANDOM.integers(0, 256, (12, 5, 5, 3), dtype=np.uint8)
    for number, each in enumerate(pixels):
        path = tmp_path / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        image.fromarray(each).save(path)
    arrays = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    with pytest.raises(DataError, match="all in the evaluation data too"):
        load_task(tmp_path, calibration_data=arrays)
    task = load_task(tmp_path, seed=5)
    assert not _rows(task.calibration) & _rows(task.evaluation)
    assert task.classes == ("a", "b")
    assert task.provenance["evaluation"]["options"]["layout"] == "NCHW"


@pytest.mark.parametrize(
    "targets, name",
    [(Y, "top-1"), (Y.astype(np.float32), "mean-error"), (X, "mean-error"), (None, "agreement")],
)
def test_the_metric_follows_the_targets(targets: Any, name: str) -> None:
    data = {"x": X} if targets is None else {"x": X, "y": targets}
    task = load_task(data)
    assert task.metric.name == task.provenance["metric"] == name


def test_the_metric_asked_for_wins() -> None:
    assert load_task((X, Y), metric="agreement").metric.name == "agreement"
    assert load_task((X, Y), metric="top-3").metric.name == "top-3"
    assert load_task((X, Y), metric="mean-error").metric.name == "mean-error"


@pytest.mark.parametrize(
    "targets, metric, message",
    [
        (None, "top-1", "targets for top-1; found data without y"),
        (None, "mean-error", "targets for mean-error"),
        (Y.astype(np.float32), "top-1", r"found y: float32\[30\]; save class numbers: y\.astype\('int64'\)"),
        (
            np.eye(4, dtype=np.float32)[Y],
            "top-1",
            r"found y: float32\[30, 4\]; save class numbers: y\.argmax\(1\)",
        ),
        (
            np.zeros((40, 2), int),
            None,
            r"a metric's name; found integer targets of shape \[30, 2\]; f1 or auc",
        ),
        (Y, "top-9000000", "a known metric"),
    ],
)
def test_a_metric_that_does_not_fit_the_targets_is_told(targets: Any, metric: Any, message: str) -> None:
    data = {"x": X} if targets is None else {"x": X, "y": targets}
    with pytest.raises(MetricError, match=message):
        load_task(data, metric=metric)


def test_provenance_is_plain_json_and_names_everything(tmp_path: Path) -> None:
    np.savez(tmp_path / "val.npz", x=X, y=Y)
    task = load_task(tmp_path / "val.npz", seed=7)
    assert json.loads(json.dumps(task.provenance)) == task.provenance
    assert task.provenance["evaluation"] == {
        "kind": "npz",
        "path": str(tmp_path / "val.npz"),
        "samples": 30,
        "sha256": task.evaluation.sha256,
    }
    assert task.provenance["calibration"]["sha256"] == task.calibration.sha256
    assert task.provenance["split"] == {
        "calibration_from": "evaluation data",
        "calibration_samples": 512,
        "seed": 7,
    }


def test_the_example_is_calibration_data_repeated_where_it_is_short() -> None:
    task = load_task((X, Y), calibration_samples=2)
    example = task.example(5)["x"]
    assert example.shape == (5, 3)
    assert example[0].tobytes() == example[2].tobytes() == example[4].tobytes()
    assert {row.tobytes() for row in example} == _rows(task.calibration)
    assert task.bind(INPUTS, OUTPUTS).example()["image"].shape == (2, 3)


def test_binding_renames_every_split_and_fits_the_metric() -> None:
    task = load_task(X, train_data=X + 100).bind(INPUTS, OUTPUTS)
    assert task.training is not None
    for split in (task.evaluation, task.calibration, task.training):
        assert set(next(split.batches(1)).inputs) == {"image"}
    assert task.metric.outputs == ("scores",)
    assert [kind.kind for kind in task.kinds] == ["values"]  # nothing shows that they are classes
    with pytest.raises(DataError, match="training data for input image"):
        load_task((X, Y), train_data=X[:, :2], calibration_data=X + 1).bind(INPUTS, OUTPUTS)


@pytest.mark.parametrize("labels, found", [(Y + 1, "from 1 to 4"), (Y - 1, "from -1 to 2")])
def test_labels_outside_the_classes_are_told(labels: Any, found: str) -> None:
    with pytest.raises(
        DataError, match=f"labels from 0 to 3.*'scores'; found labels {found} in the evaluation"
    ):
        load_task((X, labels)).bind(INPUTS, OUTPUTS)
    load_task((X, labels), metric="agreement").bind(INPUTS, OUTPUTS)  # labels are not used
    load_task((X, labels)).bind(INPUTS, [TensorSpec("scores", "float32", ("batch", "classes"))])


SEVERAL = [
    TensorSpec("boxes", "float32", ("batch", 4)),
    TensorSpec("scores", "float32", ("batch", 4)),
    TensorSpec("features", "float32", ("batch", 16)),
]


def test_every_output_counts() -> None:
    task = load_task(X).bind(INPUTS, SEVERAL)
    assert [metric.outputs for metric in task.metrics] == [("boxes",), ("scores",), ("features",)]
    labelled = load_task((X, Y), metric={"scores": "top-1", "features": "ignore"}).bind(INPUTS, SEVERAL)
    assert [(metric.name, metric.outputs) for metric in labelled.metrics] == [
        ("top-1", ("scores",)),
        ("agreement", ("boxes",)),
    ]


def test_labels_are_held_against_the_output_that_holds_classes() -> None:
    kinds = [
        OutputKind("boxes", 0, "values", None, "test"),
        OutputKind("scores", 1, "classes", 1, "test"),
        OutputKind("features", 2, "values", None, "test"),
    ]
    task = load_task((X, Y)).bind(INPUTS, SEVERAL, kinds)
    assert task.metric.outputs == ("scores",)
    outputs = [np.zeros((4, 4)), np.eye(4), np.zeros((4, 16))]
    assert list(task.metric.per_sample(outputs, np.arange(4), None)) == [1, 1, 1, 1]


def test_a_function_of_the_callers_judges_all_outputs() -> None:
    task = load_task((X, Y), metric=lambda outputs, targets: targets).bind(INPUTS, SEVERAL)
    assert len(task.metrics) == 1
    against = load_task(X, metric=lambda outputs, original: outputs[0][:, 0] * 0).bind(INPUTS, SEVERAL)
    assert against.metric.needs == "reference"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"score": "classes"}, "an output of the network.*'score'.*did you mean scores"),
        ({"scores": "clases"}, "did you mean classes"),
        (dict.fromkeys(("boxes", "scores", "features"), "ignore"), "all of them ignored"),
        ({"scores": "top-1"}, "targets for top-1"),
    ],
)
def test_what_is_named_for_an_output_must_fit(named: dict[str, str], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        load_task(X, metric=named).bind(INPUTS, SEVERAL)


def test_a_metric_that_does_not_fit_the_outputs_is_told() -> None:
    with pytest.raises(MetricError, match="more than 4 classes for top-4"):
        load_task((X, Y), metric="top-4").bind(INPUTS, OUTPUTS)


def test_class_folders_must_be_the_networks_classes(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for number in range(8):
        path = tmp_path / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        image.fromarray(np.full((2, 2, 3), number, np.uint8)).save(path)
    inputs = [TensorSpec("image", "float32", ("batch", 3, 2, 2))]
    with pytest.raises(DataError, match=r"a folder for each of the 4 classes.*found 3 class folders"):
        load_task(tmp_path).bind(inputs, OUTPUTS)
    load_task(tmp_path).bind(inputs, [TensorSpec("scores", "float32", ("batch", 3))])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"data": (X[:0], Y[:0])}, "at least 8 samples, .*; found 0"),
        ({"data": (X[:1], Y[:1])}, "at least 8 samples, .*; found 1"),
        ({"data": (X[:1], Y[:1]), "calibration_data": X[1:]}, "at least 2 evaluation samples; found 1"),
        ({"data": np.ones((20, 3))}, "20 that are all equal"),
        ({"data": X, "calibration_samples": 0}, "at least 1 calibration sample"),
        ({"data": X, "seed": -1}, "a seed from 0"),
        ({"data": X, "image_options": {"size": [4, 4]}}, "for the image options"),
        ({"data": X, "image_options": ImageOptions()}, "for the image options"),
    ],
)
def test_what_makes_no_task_is_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_task(**arguments)


def test_empty_image_options_do_not_matter() -> None:
    assert len(load_task(X, image_options={"size": None, "mode": None}).evaluation) == 30


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "task_module.py"
    sys.modules.pop("task_module", None)


def _own_task() -> Task:
    task = load_task((X, Y))
    return Task(open_data((X[:20], Y[:20])), open_data(X[20:]), None, task.metric, {"note": "mine"})


def test_a_task_of_the_users_own(module: Path) -> None:
    own = _own_task()
    assert load_task(own).metric is own.metric
    task = load_task(own, metric="top-2")
    assert task.metric.name == task.provenance["metric"] == "top-2"
    assert task.provenance["note"] == "mine"
    assert task.provenance["evaluation"]["samples"] == 20
    module.write_text(
        "import numpy as np\nfrom compress.data.task import load_task\n"
        "def task():\n    return load_task(np.arange(60.0).reshape(20, 3), seed=9)\n"
    )
    assert load_task("task_module:task").provenance["split"]["seed"] == 9


def test_a_task_whose_calibration_data_overlaps_is_told() -> None:
    own = _own_task()
    with pytest.raises(DataError, match="1 of 2 calibration samples in both"):
        load_task(Task(own.evaluation, open_data(X[19:21]), None, own.metric, {}))
    with pytest.raises(DataError, match="at least 2 evaluation samples"):
        load_task(Task(own.evaluation.take([0]), own.calibration, None, own.metric, {}))
    with pytest.raises(DataError, match="put all data into the Task"):
        load_task(own, train_data=X)


def test_a_loader_from_a_reference(module: Path) -> None:
    module.write_text(
        "import numpy as np\nX = np.random.default_rng(0).normal(size=(40, 3)).astype('float32')\n"
        "def loader():\n    return [(X[i:i + 8], np.arange(8) % 4) for i in range(0, 40, 8)]\n"
    )
    task = load_task("task_module:loader").bind(INPUTS, OUTPUTS)
    assert (len(task.evaluation), len(task.calibration)) == (30, 10)
    assert task.provenance["evaluation"]["reference"] == "task_module:loader"
    assert _rows(task.evaluation) | _rows(task.calibration) == {row.tobytes() for row in X}


@settings(max_examples=40)
@given(
    content=st.one_of(
        st.none(),
        st.integers(),
        st.text(max_size=20),
        st.binary(max_size=20),
        st.lists(st.integers(), max_size=5),
        st.dictionaries(st.text(max_size=2), st.lists(st.floats(), max_size=9), max_size=3),
        st.tuples(st.lists(st.floats(), max_size=9), st.lists(st.integers(), max_size=9)),
    )
)
def test_whatever_is_given_is_a_task_or_told(content: Any) -> None:
    try:
        task = load_task(content)
    except CompressError as error:
        told = error
    else:
        assert len(task.evaluation) >= 2
        return
    assert "\n" not in str(told)


MAPS = RANDOM.integers(0, 3, (40, 4, 4))
BOXES = [np.array([[0.0, 0, 4, 4, row % 3]]) for row in range(40)]
IMAGES = RANDOM.normal(size=(40, 3, 8, 16)).astype(np.float32)
DETECTOR = [TensorSpec("boxes", "float32", ("batch", 9, 4)), TensorSpec("scores", "float32", ("batch", 9, 3))]


@pytest.mark.parametrize(
    "targets, name",
    [(None, "agreement"), (Y, "top-1"), (Y * 0.5, "mean-error"), (MAPS, "miou"), (BOXES, "map")],
)
def test_targets_choose_the_metric(targets: Any, name: str) -> None:
    task = load_task(IMAGES if targets is None else (IMAGES, targets))
    assert task.metric.name == task.provenance["metric"] == name
    assert (task.detections is not None) == (name == "map")


def test_settings_of_a_metric_are_taken() -> None:
    task = load_task((X, RANDOM.integers(0, 2, (40, 3))), metric="f1:threshold=0")
    assert task.metric.name == task.provenance["metric"] == "f1:threshold=0"


@pytest.mark.parametrize("images", [IMAGES, IMAGES.transpose(0, 2, 3, 1)])
def test_a_detectors_options_come_from_the_call_the_file_and_the_data(tmp_path: Path, images: Any) -> None:
    np.savez(tmp_path / "val.npz", x=images, boxes=np.vstack(BOXES), boxes_of=np.arange(40))
    (tmp_path / "compress-data.toml").write_text('[detections]\nform = "xywh"\niou_threshold = 0.5\n')
    task = load_task(tmp_path / "val.npz", detections={"iou_threshold": 0.7})
    assert task.detections is not None
    assert (task.detections.form, task.detections.iou_threshold, task.detections.size) == (
        "xywh",
        0.7,
        (8, 16),
    )
    assert task.provenance["detections"]["size"] == [8, 16]
    assert json.loads(json.dumps(task.provenance)) == task.provenance
    bound = task.bind([TensorSpec("image", "float32", ("batch", *images.shape[1:]))], DETECTOR)
    assert bound.detections == task.detections
    own = Task(task.evaluation, task.calibration, None, task.metric, {})
    given = load_task(own, detections={"size": [1, 2]}).detections
    assert given is not None
    assert (given.size, given.form) == ((1, 2), "xywh")
    with pytest.raises(DataError, match="did you mean form"):
        load_task((IMAGES, BOXES), detections={"forms": "xywh"})


def test_a_task_of_boxes_judges_a_detector() -> None:
    inputs = [TensorSpec("image", "float32", ("batch", 3, 8, 16))]
    task = load_task((IMAGES, BOXES), detections={"score_threshold": 0.5}).bind(inputs, DETECTOR)
    assert task.metric.outputs == ("boxes", "scores")
    batch = next(task.evaluation.batches(5))
    assert batch.targets is not None
    boxes, scores = np.tile([0.0, 0, 4, 4], (5, 9, 1)), np.zeros((5, 9, 3))
    for row, (box,) in enumerate(batch.targets):
        scores[row, 0, int(box[4])] = 0.9
    scores[:, 1:] = 0.4  # below the threshold
    rows = task.metric.per_sample([boxes, scores], batch.targets, None)
    assert task.metric.values(rows).tolist() == [1.0] * 5
    with pytest.raises(MetricError, match="a detector's boxes"):
        load_task((IMAGES, BOXES)).bind(inputs, OUTPUTS)


def test_neither_torch_nor_pillow_is_imported_for_arrays() -> None:
    code = (
        "import sys, numpy; from compress.data.task import load_task; load_task(numpy.arange(60.).reshape(20, 3));"
        "print([name for name in ('torch', 'onnx', 'onnxruntime', 'PIL') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
