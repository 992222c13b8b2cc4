"""What the original loses by a build's answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import MetricError
from compress.metrics import Metric
from compress.metrics.output_kinds import OutputKind
from compress.metrics.unlabelled import strictly, unlabelled_metric
from compress.metrics.unlabelled.choices import CONFIDENCE, temperature_of

Array = np.ndarray[Any, Any]


def metric(kind: str, axis: int | None = None, index: int = 0, *others: OutputKind) -> Metric:
    own = OutputKind("y", index, kind, axis, "test")  # type: ignore[arg-type]
    return unlabelled_metric(own, (own, *others))


def kept(judge: Metric, ours: Array, theirs: Array) -> Array:
    values = judge.values(list(judge.per_sample([ours], None, [theirs])))
    assert values.dtype == np.float64
    assert values.shape == (len(ours),)
    return values


def told(judge: Metric, ours: Array, theirs: Array) -> float:
    assert judge.shown is not None
    return float(judge.shown(list(judge.per_sample([ours], None, [theirs]))).mean())


def scores(n: int = 200, classes: int = 10, seed: int = 0, scale: float = 4.0) -> Array:
    return scale * np.random.default_rng(seed).standard_normal((n, classes)).astype(np.float32)


ALL = [("classes", 1), ("tokens", 1), ("probabilities", None), ("values", None), ("embeddings", None)]


@pytest.mark.parametrize(("kind", "axis"), ALL)
def test_the_original_keeps_all_of_its_own(kind: str, axis: int | None) -> None:
    y = scores()
    y = 1 / (1 + np.exp(-y)) if kind == "probabilities" else y
    np.testing.assert_allclose(kept(metric(kind, axis), y, y), 1)


@pytest.mark.parametrize(("kind", "axis"), ALL)
def test_no_number_where_the_original_has_one_is_a_loss_of_all(kind: str, axis: int | None) -> None:
    y = scores()
    y = 1 / (1 + np.exp(-y)) if kind == "probabilities" else y
    broken = y.copy()
    broken[3, 4], broken[5, 0] = np.nan, np.inf
    found = kept(metric(kind, axis), broken, y)
    assert found[3] == found[5] == 0
    np.testing.assert_allclose(np.delete(found, (3, 5)), 1)


def test_what_the_original_masks_is_no_loss() -> None:
    y = scores()
    y[:, 7] = -np.inf
    assert kept(metric("classes", 1), y.copy(), y).min() == 1
    rows = scores()
    rows[2] = np.nan
    assert kept(metric("values"), rows.copy(), rows).min() == 1


def test_a_choice_between_near_ties_costs_little_and_a_wrong_one_all() -> None:
    original = np.zeros((30, 4), np.float32)
    original[:, 0], original[0, 1] = 12.0, 11.9
    near, wrong = original.copy(), original.copy()
    near[0, 1], wrong[1, 2] = 13.0, 13.0
    judge = metric("classes", 1)
    assert 1 - kept(judge, near, original)[0] == pytest.approx(1 - math.exp(-0.1), abs=1e-4)
    assert kept(judge, wrong, original)[1] < 1e-3
    assert told(judge, near, original) == pytest.approx(29 / 30)


def test_the_loss_is_the_share_of_the_originals_own_probability() -> None:
    """Where the original is sure enough, scores are taken as they are."""
    y = scores(scale=12.0)
    ours = y + np.random.default_rng(1).standard_normal(y.shape).astype(np.float32) * 6
    p = np.exp(y - y.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows = np.arange(len(y))
    wanted = p[rows, ours.argmax(1)] / p[rows, y.argmax(1)]
    np.testing.assert_allclose(kept(metric("classes", 1), ours, y), wanted, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0])
def test_the_scale_of_the_scores_waves_nothing_through(scale: float) -> None:
    """Cosines without a temperature differ by hundredths: as they are, no answer would cost anything."""
    y = 0.1 * scores(seed=2)
    ours = y + 0.3 * np.random.default_rng(3).standard_normal(y.shape).astype(np.float32)
    assert (ours.argmax(1) != y.argmax(1)).mean() > 0.2
    lost = 1 - kept(metric("classes", 1), scale * ours, scale * y).mean()
    assert lost == pytest.approx(1 - kept(metric("classes", 1), ours, y).mean(), rel=0.02)
    assert lost > 0.1


def test_probabilities_and_their_logarithms_lose_alike() -> None:
    y, ours = scores(), scores() + scores(seed=1, scale=1.0)
    p, q = (np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in (y, ours))
    np.testing.assert_allclose(
        kept(metric("classes", 1), q, p), kept(metric("classes", 1), np.log(q), np.log(p)), atol=1e-5
    )


@given(st.lists(st.floats(1e-3, 50), min_size=1, max_size=30))
def test_scores_are_never_made_flatter(margins: list[float]) -> None:
    array = np.array(margins)
    temperature = temperature_of(array)
    assert 0 < temperature <= 1
    sure = np.mean(1 / (1 + np.exp(-array / temperature)))
    assert sure >= CONFIDENCE - 1e-6


def test_tokens_are_held_against_how_likely_the_original_takes_them() -> None:
    """Text is drawn from all probabilities: one temperature lower, the best token stays and the text does not."""
    y = scores(classes=50)
    log_p, log_q = (each - np.log(np.exp(each).sum(1, keepdims=True)) for each in (y, 2 * y))
    divergence = (np.exp(log_p) * (log_p - log_q)).sum(1)
    np.testing.assert_allclose(kept(metric("tokens", 1), 2 * y, y), np.exp(-divergence), atol=1e-4)
    assert kept(metric("tokens", 1), 2 * y, y).mean() < 0.9
    np.testing.assert_allclose(kept(metric("classes", 1), 2 * y, y), 1)
    np.testing.assert_allclose(kept(metric("tokens", 1), y + 5, y), 1, atol=1e-6)


def test_a_lost_object_counts_however_small_it_is() -> None:
    """One class on nearly all of a map, another on two pixels of it: losing these loses ten times their share."""
    theirs = np.zeros((40, 2, 16, 16), np.float32)
    theirs[:, 0] = 9.0
    theirs[:, 1, 4, 4:6] = 18.0
    ours = theirs.copy()
    ours[:, 1] = 0
    rare, common = math.sqrt(2), math.sqrt(254)
    assert kept(metric("classes", 1), ours, theirs).mean() == pytest.approx(
        common / (rare + common), abs=1e-3
    )
    assert told(metric("classes", 1), ours, theirs) == pytest.approx(1 - 2 / 256)


def test_the_axis_of_the_classes_is_the_one_that_is_told() -> None:
    theirs = np.moveaxis(scores(n=30 * 16).reshape(30, 4, 4, 10), 0, 0)
    ours = theirs[..., ::-1].copy()
    right = (theirs.argmax(-1) == ours.argmax(-1)).mean()
    assert told(metric("classes", 3), ours, theirs) == pytest.approx(right)


def test_each_token_counts_alike() -> None:
    """Which class a position answers does not matter, unlike in maps."""
    theirs = np.zeros((20, 30, 40), np.float32)
    theirs[:, :27, 0] = theirs[:, 27:, 1] = 12.0
    common, rare = theirs.copy(), theirs.copy()
    common[:, :3] = np.roll(common[:, :3], 5, axis=2)
    rare[:, 27:] = np.roll(rare[:, 27:], 5, axis=2)
    judge = metric("tokens", 2)
    np.testing.assert_allclose(kept(judge, common, theirs), kept(judge, rare, theirs))
    assert told(judge, common, theirs) == pytest.approx(0.9)
    assert kept(judge, common, theirs).max() < 0.9
    assert kept(metric("classes", 2), rare, theirs).mean() < kept(metric("classes", 2), common, theirs).mean()


def test_classes_of_which_several_hold_count_what_is_there() -> None:
    theirs = np.full((50, 20), 0.01, np.float32)
    theirs[:, :2] = 0.99
    missed, added = theirs.copy(), theirs.copy()
    missed[:, 0], added[:, 5] = 0.2, 0.9
    judge = metric("probabilities")
    assert kept(judge, missed, theirs).mean() == pytest.approx(1 - 0.5 * (1 - 0.01 / 0.99), abs=1e-3)
    assert kept(judge, added, theirs).mean() == pytest.approx(1 - (1 - 0.01 / 0.99) / 3, abs=1e-3)
    assert told(judge, missed, theirs) == pytest.approx(0.5)


def test_probabilities_that_never_find_anything_are_judged_as_numbers() -> None:
    theirs = np.random.default_rng(0).uniform(0.01, 0.2, (60, 5)).astype(np.float32)
    assert kept(metric("probabilities"), np.full_like(theirs, 0.1), theirs).mean() < 0.3


def test_one_pose_for_every_input_has_lost_all_of_it() -> None:
    random = np.random.default_rng(0)
    theirs = (300 + random.standard_normal((200, 6))).astype(np.float32)
    constant = np.repeat(theirs.mean(0, keepdims=True), 200, axis=0)
    assert np.linalg.norm(constant - theirs) / np.linalg.norm(theirs) < 0.01
    assert kept(metric("values"), constant, theirs).mean() < 0.2


def test_a_number_in_small_units_counts_like_the_others() -> None:
    random = np.random.default_rng(0)
    theirs = (random.standard_normal((300, 3)) * [1, 1000, 1]).astype(np.float32)
    ours = theirs.copy()
    ours[:, 2] = 0
    assert 1 - kept(metric("values"), ours, theirs).mean() == pytest.approx(math.sqrt(1 / 3), abs=0.15)


def test_images_are_measured_by_what_varies_inside_them() -> None:
    random = np.random.default_rng(0)
    theirs = (0.5 + 0.1 * random.standard_normal((10, 3, 40, 40))).astype(np.float32)
    ours = theirs + 0.001 * random.standard_normal(theirs.shape).astype(np.float32)
    assert 1 - kept(metric("values"), ours, theirs).mean() == pytest.approx(0.01, rel=0.05)


def test_boxes_count_where_the_original_finds_something() -> None:
    random = np.random.default_rng(0)
    boxes = random.random((30, 50, 4)).astype(np.float32)
    found = np.full((30, 50, 2), 0.01, np.float32)
    found[:, 7, 1] = 0.9
    judge = metric("boxes", None, 0, OutputKind("s", 1, "probabilities", None, "test"))
    elsewhere, there = boxes.copy(), boxes.copy()
    elsewhere[:, :7], there[:, 7] = 5.0, 5.0
    values = [
        judge.values(list(judge.per_sample([ours, found], None, [boxes, found]))).mean()
        for ours in (elsewhere, there)
    ]
    assert values == [1.0, 0.0]


def test_a_rotated_space_keeps_its_neighbours_but_not_those_of_an_index() -> None:
    random = np.random.default_rng(0)
    centres = random.standard_normal((8, 16))
    theirs = (centres[np.arange(80) % 8] + 0.1 * random.standard_normal((80, 16))).astype(np.float32)
    rotation, _ = np.linalg.qr(random.standard_normal((16, 16)))
    judge = metric("embeddings")
    assert kept(judge, (theirs @ rotation).astype(np.float32), theirs).mean() < 0.5
    near = theirs + 0.01 * random.standard_normal(theirs.shape).astype(np.float32)
    assert kept(judge, near, theirs).mean() > 0.99
    unit = (theirs / np.linalg.norm(theirs, axis=1, keepdims=True)).astype(np.float32)
    assert kept(judge, 3 * unit, unit).mean() > 0.99  # of vectors of one length, the angle alone counts
    assert kept(judge, random.standard_normal(theirs.shape).astype(np.float32), theirs).mean() < 0.5


def test_vectors_for_each_position_are_taken_by_their_mean() -> None:
    theirs = scores(n=40, classes=16)
    sequences = np.repeat(theirs[:, None], 5, axis=1)
    ours = sequences + 0.1
    np.testing.assert_allclose(
        kept(metric("embeddings"), ours, sequences),
        kept(metric("embeddings"), theirs + 0.1, theirs),
        atol=1e-6,
    )


def test_integers_and_texts_are_equal_or_not() -> None:
    assert kept(metric("integers"), np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 5]])).tolist() == [
        1,
        0.5,
    ]
    texts = np.array(["a", "b"], dtype=object)
    assert kept(metric("texts"), texts, texts[::-1]).tolist() == [0, 0]


def test_every_other_answer_is_wrong_where_that_is_asked() -> None:
    y, ours = scores(), scores() + scores(seed=1, scale=2.0)
    judge = strictly(metric("classes", 1))
    assert judge.right_or_wrong
    assert kept(judge, ours, y).tolist() == (ours.argmax(1) == y.argmax(1)).tolist()
    assert strictly(metric("values")).right_or_wrong is False


def test_what_cannot_be_compared_is_told() -> None:
    judge = metric("classes", 1)
    with pytest.raises(MetricError, match="none"):
        judge.per_sample([scores()], None, None)
    with pytest.raises(MetricError, match="original's shape"):
        judge.per_sample([scores(classes=9)], None, [scores()])


def test_vectors_of_different_lengths_are_also_compared_by_distance() -> None:
    """All angles stay, and in an index of the original's vectors nothing is found any more."""
    random = np.random.default_rng(5)
    centres = random.standard_normal((20, 16))
    theirs = (np.repeat(centres, 20, 0) * random.uniform(0.5, 3, (400, 1))).astype(np.float32)
    theirs += 0.02 * random.standard_normal(theirs.shape).astype(np.float32)
    shrunk = 0.3 * theirs
    assert kept(metric("embeddings"), shrunk, theirs).mean() < 0.9
    unit = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(kept(metric("embeddings"), 0.3 * unit, unit), 1)
