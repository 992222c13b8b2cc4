"""From a detector's outputs to boxes, scores and classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from compress.core.tensor_spec import TensorSpec
from compress.data import DetectionOptions
from compress.errors import DataError, MetricError
from compress.metrics import detections as detections_module
from compress.metrics.detections import Detections, detections_of, not_suppressed
from compress.metrics.detector_outputs import find_layout

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)
PLACES, CLASSES, SIZE = 12, 5, (80, 100)


def _boxes(n: int = 2) -> Array:
    """Corners in pixels, well apart: a grid of 4 by 3."""
    corner = np.stack(np.meshgrid(np.arange(4) * 25.0, np.arange(3) * 25.0), axis=-1).reshape(-1, 2)
    sides = RANDOM.uniform(5, 20, (n, PLACES, 2))
    return np.concatenate([np.broadcast_to(corner, sides.shape), corner + sides], axis=2)


BOXES = _boxes()
SCORES = RANDOM.uniform(0.1, 1, (2, PLACES, CLASSES))


def _options(**values: Any) -> DetectionOptions:
    return DetectionOptions.of({"size": list(SIZE), **values})


def _assert_all_found(found: list[Detections], scores: Array = SCORES, tolerance: float = 1e-9) -> None:
    assert len(found) == 2
    for image, each in enumerate(found):
        order = np.argsort(-scores[image], axis=None, kind="stable")
        places, classes = np.unravel_index(order, scores[image].shape)
        assert np.allclose(each.boxes, BOXES[image, places], atol=tolerance)
        assert np.allclose(each.scores, scores[image].ravel()[order], atol=tolerance)
        assert each.classes.tolist() == classes.tolist()
        assert (each.boxes.dtype, each.scores.dtype, each.classes.dtype) == (np.float64, np.float64, np.int64)


def _sides() -> Array:
    return BOXES[..., 2:] - BOXES[..., :2]


def _centred() -> Array:
    return np.concatenate([BOXES[..., :2] + _sides() / 2, _sides()], axis=2)


EDGES = np.array([100, 80, 100, 80.0])
LOGITS = np.log(SCORES / (1 - SCORES))
WITH_BACKGROUND = np.concatenate([RANDOM.uniform(0.2, 1, (2, PLACES, 1)), SCORES], axis=2)


@pytest.mark.parametrize(
    "outputs, options",
    [
        ([BOXES, SCORES], {}),
        ([SCORES, BOXES], {}),
        ([BOXES.astype(np.float32), SCORES], {}),
        ([BOXES, SCORES.transpose(0, 2, 1)], {}),
        ([BOXES.transpose(0, 2, 1), SCORES], {}),
        ([BOXES[:, :, None], SCORES[:, :, None]], {}),
        ([_centred(), SCORES], {"form": "cxcywh"}),
        ([np.concatenate([BOXES[..., :2], _sides()], axis=2), SCORES], {"form": "xywh"}),
        ([BOXES / EDGES, SCORES], {"normalised": True}),
        ([_centred() / EDGES, SCORES], {"normalised": True, "form": "cxcywh"}),
        ([BOXES, LOGITS], {"activation": "sigmoid"}),
        ([BOXES, WITH_BACKGROUND], {"background": "first"}),
        ([BOXES, np.roll(WITH_BACKGROUND, -1, axis=2)], {"background": "last"}),
        ([np.concatenate([_centred(), SCORES], axis=2)], {}),
        ([np.concatenate([_centred(), SCORES], axis=2).transpose(0, 2, 1)], {}),
        ([np.concatenate([BOXES, SCORES], axis=2)], {"form": "xyxy"}),
        (
            [np.concatenate([_centred(), np.full((2, PLACES, 1), 0.5), 2 * SCORES], axis=2)],
            {"objectness": True},
        ),
        ([np.concatenate([BOXES, SCORES], axis=2)], {"form": "xyxy", "nms": True, "boxes": "output 0"}),
    ],
)
def test_each_form_of_outputs_gives_the_same_boxes(outputs: list[Array], options: dict[str, Any]) -> None:
    found = detections_of(outputs, _options(**options))
    _assert_all_found(found, tolerance=1e-5 if outputs[0].dtype == np.float32 else 1e-9)


def test_the_number_of_classes_tells_whether_there_is_objectness() -> None:
    output = np.concatenate([_centred(), np.full((2, PLACES, 1), 0.5), 2 * SCORES], axis=2)
    options = _options()
    with_classes = DetectionOptions(size=SIZE, classes=CLASSES)
    _assert_all_found(detections_of([output], with_classes))
    assert detections_of([output], options)[0].classes.max() == CLASSES  # one class too many
    with pytest.raises(MetricError, match=r"the 2 classes of the data .* found scores for 6"):
        detections_of([output], DetectionOptions(size=SIZE, classes=2))
    with pytest.raises(MetricError, match=r"the 2 classes of the data .* found class number 4"):
        detections_of(list(_kept()), DetectionOptions(size=SIZE, classes=2, nms=False))


def test_the_number_of_classes_tells_which_axis_holds_the_scores() -> None:
    """Three places are fewer than 4 + 5 numbers."""
    output = np.concatenate([_centred(), SCORES], axis=2)[:, :3]
    for either in (output, output.transpose(0, 2, 1)):
        (found, _) = detections_of([either], DetectionOptions(size=SIZE, classes=CLASSES))
        assert sorted(found.scores) == sorted(SCORES[0, :3].ravel())


def test_half_precision_is_read_in_single() -> None:
    found = detections_of(
        [BOXES.astype(np.float16), LOGITS.astype(np.float16)], _options(activation="sigmoid")
    )
    assert np.allclose(found[0].scores, np.sort(SCORES[0], axis=None)[::-1], atol=2e-3)
    assert len(np.unique(found[0].scores)) == SCORES[0].size


def test_softmax_makes_probabilities() -> None:
    powers = np.log(WITH_BACKGROUND) + 7
    shares = WITH_BACKGROUND / WITH_BACKGROUND.sum(axis=2, keepdims=True)
    found = detections_of([BOXES, powers], _options(activation="softmax", background="first"))
    _assert_all_found(found, shares[:, :, 1:])


def _kept() -> tuple[Array, Array, Array]:
    """Boxes, the best score of each and its class, in the form that a graph with suppression gives."""
    return BOXES, SCORES.max(axis=2), SCORES.argmax(axis=2)


def _best_only() -> Array:
    return np.where(np.arange(CLASSES) == SCORES.argmax(axis=2)[..., None], SCORES, -1.0)


def _assert_best_found(found: list[Detections], count: int = PLACES) -> None:
    for image, each in enumerate(found):
        scores = SCORES[image].max(axis=1)[:count]
        order = np.argsort(-scores, kind="stable")
        assert np.allclose(each.boxes, BOXES[image, order])
        assert each.scores.tolist() == scores[order].tolist()
        assert each.classes.tolist() == SCORES[image].argmax(axis=1)[order].tolist()


def _rows(*columns: str) -> Array:
    boxes, scores, labels = _kept()
    named = dict(zip(("x1", "y1", "x2", "y2"), np.moveaxis(boxes, 2, 0), strict=True))
    named |= {"score": scores, "class": labels, "image": np.tile([[0.0], [1.0]], (1, PLACES))}
    return np.stack([named[column] for column in columns], axis=2)


SIX = ("x1", "y1", "x2", "y2", "score", "class")
SEVEN = ("image", "x1", "y1", "x2", "y2", "class", "score")
OPENVINO = ("image", "class", "score", "x1", "y1", "x2", "y2")


@pytest.mark.parametrize(
    "outputs, options",
    [
        (list(_kept()), {}),
        ([_kept()[2], _kept()[0], _kept()[1]], {}),
        ([*_kept()[:2], _kept()[2] + 1], {"background": "first"}),
        ([*_kept(), np.full(2, PLACES)], {}),
        ([*_kept(), np.full((2, 1), PLACES)], {}),
        ([_rows(*SIX)], {}),
        ([_rows(*SIX)[:, None]], {}),
        ([_rows(*SEVEN)], {}),
        ([_rows(*OPENVINO)[:, None]], {"columns": list(OPENVINO)}),
        ([BOXES, SCORES.max(axis=2), SCORES.argmax(axis=2).astype(np.float32)], "named"),
    ],
)
def test_a_graph_that_suppresses_by_itself(outputs: list[Array], options: Any) -> None:
    if options == "named":
        specs = [
            TensorSpec(name, str(output.dtype), output.shape)
            for name, output in zip(("boxes", "scores", "labels"), outputs, strict=True)
        ]
        layout = find_layout(specs, _options(nms=False))
        assert (layout.kind, layout.used) == ("kept", (0, 1, 2))
        _assert_best_found(detections_of(outputs, _options(nms=False), layout))
    else:
        _assert_best_found(detections_of(outputs, _options(nms=False, **options)))


def test_only_valid_boxes_are_taken() -> None:
    counted = detections_of([*_kept(), np.array([5, 5])], _options(nms=False))
    _assert_best_found(counted, 5)
    rows = _rows(*SEVEN)
    rows[:, 5:, 0] = -1
    _assert_best_found(detections_of([rows], _options(nms=False)), 5)


def test_without_suppression_here_or_there_every_score_counts() -> None:
    near = np.repeat(BOXES[:, :1], PLACES, axis=1)
    assert [len(each.scores) for each in detections_of([near, SCORES], _options(nms=False))] == [
        PLACES * CLASSES
    ] * 2
    assert [len(each.scores) for each in detections_of([near, SCORES], _options())] == [CLASSES] * 2


def test_thresholds_and_the_most_boxes() -> None:
    found = detections_of([BOXES, SCORES], _options(score_threshold=0.5, max_detections=7))
    assert [len(each.scores) for each in found] == [7, 7]
    found = detections_of([BOXES, SCORES], _options(score_threshold=0.9))
    assert [len(each.scores) for each in found] == (SCORES >= 0.9).sum(axis=(1, 2)).tolist()
    assert [len(each.scores) for each in detections_of([BOXES, SCORES * 0], _options())] == [0, 0]


def test_what_is_not_finite_is_left_out() -> None:
    boxes, scores = BOXES.copy(), SCORES.copy()
    boxes[0, 0, 2], boxes[0, 1, 0], scores[0, 2, 1], scores[0, 3, 0] = np.nan, np.inf, np.nan, np.inf
    first, second = detections_of([boxes, scores], _options())
    assert len(first.scores) == (PLACES - 2) * CLASSES - 2
    assert np.isfinite(first.boxes).all()
    assert np.isfinite(first.scores).all()
    assert len(second.scores) == PLACES * CLASSES


def test_boxes_are_cut_at_the_edges() -> None:
    boxes = np.array([[[-5.0, -6, 20, 30], [90, 70, 130, 90]]])
    (found,) = detections_of([boxes, np.array([[[0.9], [0.8]]])], _options())
    assert found.boxes.tolist() == [[0, 0, 20, 30], [90, 70, 100, 80]]
    (found,) = detections_of([boxes, np.array([[[0.9], [0.8]]])], DetectionOptions())
    assert found.boxes.tolist() == boxes[0].tolist()


def _slow_nms(boxes: Array, classes: Array, threshold: float) -> list[int]:
    kept: list[int] = []
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        for j in kept:
            width, height = (
                min(x2, boxes[j, 2]) - max(x1, boxes[j, 0]),
                min(y2, boxes[j, 3]) - max(y1, boxes[j, 1]),
            )
            common = max(width, 0) * max(height, 0)
            areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (boxes[i], boxes[j])]
            if classes[i] == classes[j] and common > threshold * (sum(areas) - common):
                break
        else:
            kept.append(i)
    return kept


@given(
    corners=arrays.arrays(np.int64, st.tuples(st.integers(0, 15), st.just(4)), elements=st.integers(0, 12)),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    data=st.data(),
)
def test_suppression_is_greedy_and_by_class(corners: Array, threshold: float, data: st.DataObject) -> None:
    boxes = np.concatenate(
        [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1
    )
    classes = data.draw(arrays.arrays(np.int64, len(boxes), elements=st.integers(0, 1)))
    found = Detections(boxes.astype(np.float64), np.linspace(1, 0.5, len(boxes)), classes)
    kept = _slow_nms(found.boxes, classes, threshold)
    for at_once in (1024, 4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(detections_module, "_AT_ONCE", at_once)
            assert not_suppressed(found, threshold, 100).tolist() == kept
            assert not_suppressed(found, threshold, 3).tolist() == kept[:3]


@pytest.mark.parametrize(
    "names, shapes, options, used",
    [
        ("boxes scores", [(1, 8, 4), (1, 8, 4)], {}, (0, 1)),  # four classes
        ("logits pred_boxes", [("batch", 8, 4), ("batch", 8, 4)], {}, (1, 0)),
        ("a b c", [(1, 8, 4), (1, 8, 3), (1, 9, 9)], {"scores": "b"}, (0, 1)),
        ("all raw1 raw2", [(1, 84, 8400), (1, 64, 80, 80), (1, 64, 40, 40)], {"boxes": "all"}, (0,)),
        ("det", [(1, 300, 6)], {"nms": False}, (0,)),
        ("boxes scores classes num", [(1, 9, 4), (1, 9), (1, 9), (1,)], {"nms": False}, (0, 1, 2, 3)),
    ],
)
def test_outputs_are_found_by_names_and_shapes(
    names: str, shapes: list[Any], options: dict[str, Any], used: tuple[int, ...]
) -> None:
    specs = [TensorSpec(name, "float32", shape) for name, shape in zip(names.split(), shapes, strict=True)]
    assert find_layout(specs, DetectionOptions.of(options)).used == used


@pytest.mark.parametrize(
    "names, shapes, options, message",
    [
        (
            "a b",
            [(1, 8, 4), (1, 8, 4)],
            {},
            r"one output that can hold a detector's boxes; found a: .*name it: boxes",
        ),
        ("a b", [(1, 8, 5), (1, 8, 6)], {}, "a detector's boxes"),
        ("a b c", [(1, 8, 4), (1, 8, 3), (1, 8, 5)], {}, "a detector's scores"),
        ("boxes scores", [(1, 8, 4), (1, 8, 3)], {"scores": "score"}, "told as scores .*did you mean scores"),
        ("boxes scores", [(1, 8, 4), (1, 8, 3)], {"boxes": "zzz"}, "choose one of boxes, scores"),
        ("boxes", [(8, 4)], {}, "a detector's boxes"),
    ],
)
def test_what_cannot_be_found_is_told(
    names: str, shapes: list[Any], options: dict[str, Any], message: str
) -> None:
    specs = [TensorSpec(name, "float32", shape) for name, shape in zip(names.split(), shapes, strict=True)]
    with pytest.raises(MetricError, match=message):
        find_layout(specs, DetectionOptions.of(options))


@pytest.mark.parametrize(
    "outputs, options, message",
    [
        ([BOXES, SCORES[:, :5]], {}, "scores for each box"),
        ([BOXES, np.zeros((2, PLACES, 3, 3))], {"scores": "output 1"}, "scores for each box"),
        (
            [np.zeros((2, 3, 3, 7)), SCORES],
            {"boxes": "output 0", "scores": "output 1"},
            r"boxes \[n, boxes, 4\]",
        ),
        ([np.zeros((2, 4, 9))], {}, "at least one score for each box"),
        ([np.zeros((2, 5, 9))], {"objectness": True}, "set objectness = false"),
        ([BOXES / EDGES, SCORES], {}, r"boxes in pixels.*at most 0\.\d+; set normalised = true"),
        ([_centred(), SCORES], {}, r"boxes as x1, y1, x2, y2; .* set form = cxcywh or xywh"),
        ([np.zeros((2, 9, 8))], {"nms": False}, "rows of 6 or 7 numbers"),
        ([np.zeros((2, 9, 7))], {"nms": False, "columns": list(SIX)}, "rows of 6 numbers"),
        ([BOXES, SCORES[:, :5, 0], SCORES.argmax(axis=2)], {"nms": False}, "scores and class numbers"),
    ],
)
def test_outputs_that_do_not_fit_together_are_told(
    outputs: list[Array], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MetricError, match=message):
        detections_of(outputs, _options(**options))


def test_normalised_boxes_need_a_size() -> None:
    with pytest.raises(MetricError, match=r"set size = \[height, width\]"):
        detections_of([BOXES / EDGES, SCORES], DetectionOptions(normalised=True))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"nsm": False}, "did you mean nms"),
        ({"form": "xyhw"}, "one of xyxy, xywh, cxcywh"),
        ({"score_threshold": 2}, "from 0 to 1"),
        ({"max_detections": 0}, "from 1"),
        ({"labels": "classes"}, "set nms = false"),
        ({"nms": False, "columns": ["x1", "y1", "x2", "y2", "score", "score"]}, "each there once"),
        ({"nms": False, "columns": ["x1", "y1", "x2", "y2", "score", "image"]}, "columns with x1"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        DetectionOptions.of(options)


def test_the_same_outputs_give_the_same_bytes() -> None:
    equal = np.full((1, 400, 2), 0.5)
    boxes = RANDOM.uniform(0, 40, (1, 400, 2))
    outputs = [np.concatenate([boxes, boxes + 20], axis=2), equal]
    first, second = (detections_of(outputs, _options())[0] for _ in range(2))
    assert [each.tobytes() for each in first] == [each.tobytes() for each in second]
