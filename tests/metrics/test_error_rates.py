"""wer and cer, held against jiwer; decoding of CTC."""

from __future__ import annotations

from typing import Any

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics import load_metric
from compress.metrics.error_rates import edit_distance
from tests.metrics.left_out import by_leaving_out, figure, rows_of

Array = np.ndarray[Any, Any]
ALPHABET = "_ abc"
TEXT = st.text("ab c", min_size=1, max_size=10).filter(str.strip)


def _numbers(texts: list[str], padding: int = -1) -> Array:
    longest = max(len(text) for text in texts)
    rows = [[ALPHABET.index(letter) for letter in text] + [padding] * (longest - len(text)) for text in texts]
    return np.array(rows, dtype=np.int64)


def _steps(texts: list[str]) -> Array:
    """Scores as CTC gives them for these texts: every letter twice, a blank after each."""
    rows = [[number for letter in text for number in (ALPHABET.index(letter),) * 2 + (0,)] for text in texts]
    longest = max(map(len, rows))
    padded = np.array([row + [0] * (longest - len(row)) for row in rows])
    return np.eye(len(ALPHABET))[padded] + np.random.default_rng(0).uniform(
        0, 0.5, (*padded.shape, len(ALPHABET))
    )


@given(pairs=st.lists(st.tuples(TEXT, TEXT), min_size=2, max_size=6))
def test_jiwer_counts_the_same(pairs: list[tuple[str, str]]) -> None:
    found, wanted = [list(each) for each in zip(*pairs, strict=True)]
    cer, wer = load_metric("cer:blank=0"), load_metric(f"wer:blank=0,alphabet={ALPHABET}")
    output, targets = _steps(found), _numbers(wanted)
    # jiwer drops spaces at the ends, which are characters here.
    ours = figure(cer, rows_of(cer, output, targets))
    assert ours == pytest.approx(sum(edit_distance(*pair) for pair in pairs) / sum(map(len, wanted)))
    if all(text == text.strip() for pair in pairs for text in pair):
        assert ours == pytest.approx(jiwer.cer(wanted, found))
    assert figure(wer, rows_of(wer, output, targets)) == pytest.approx(jiwer.wer(wanted, found))


@given(found=st.text("abc", max_size=12), wanted=st.text("abc", min_size=1, max_size=12))
def test_the_distance_is_levenshteins(found: str, wanted: str) -> None:
    counted = jiwer.process_characters(wanted, found)
    assert edit_distance(found, wanted) == counted.substitutions + counted.insertions + counted.deletions


def test_class_numbers_are_taken_as_they_are() -> None:
    output, targets = np.array([[3, 3, 4, -1], [2, 2, 9, 2]]), np.array([[3, 3, 4], [2, 2, -1]])
    for name in ("cer", "wer"):
        metric = load_metric(name)
        assert figure(metric, rows_of(metric, output, targets)) == pytest.approx(2 / 5)
        ended = load_metric(name, end=9)
        assert figure(ended, rows_of(ended, output, targets)) == 0


def test_repeats_and_blanks_go_only_with_a_blank() -> None:
    scores = np.eye(4)[[[1, 1, 3, 1, 3, 3]]]
    for blank, errors in (("3", 0), ("last", 0), ("0", 4), ("none", 4)):
        metric = load_metric(f"cer:blank={blank}")
        assert metric.per_sample([scores], np.array([[1, 1]]), None)[0] == (
            0 if errors == 0 else errors - (blank == "0") * 2,
            2,
        )
    with pytest.raises(MetricError, match="cer:blank=0"):
        load_metric("cer").per_sample([scores], np.array([[1, 1]]), None)


def test_other_spaces_part_words() -> None:
    metric = load_metric("wer:blank=none,alphabet=|ab,space=|")
    found, wanted = np.eye(3)[[[1, 0, 2, 2]]], np.array([[1, 0, 0, 2, -1]])
    assert metric.per_sample([found], wanted, None) == [(1, 2)]


@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), min_size=2, max_size=8))
def test_each_sample_is_left_out(pairs: list[tuple[int, int]]) -> None:
    metric = load_metric("wer")
    assert np.allclose(metric.values(pairs), by_leaving_out(metric, pairs))


@pytest.mark.parametrize(
    "name, output, targets, message",
    [
        ("cer", np.zeros((2, 3)), np.zeros((2, 3), int), "scores .* or class numbers for cer"),
        ("cer", np.zeros((2, 3), int), np.zeros((2, 3)), "padded with -1, for cer"),
        ("cer", np.zeros((2, 3), int), np.zeros(2, int), "padded with -1, for cer"),
        ("cer:blank=9", np.zeros((2, 3, 4)), np.zeros((2, 3), int), "a blank below 4"),
        ("cer:blank=0", np.full((2, 3, 4), np.nan), np.zeros((2, 3), int), "NaN"),
        ("wer:alphabet=ab", np.full((2, 3), 2), np.zeros((2, 3), int), "class 2, and 2 characters"),
    ],
)
def test_what_cannot_be_read_is_told(name: str, output: Array, targets: Array, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        load_metric(name).per_sample([output], targets, None)


def test_targets_that_are_all_empty_are_told() -> None:
    metric = load_metric("cer")
    with pytest.raises(MetricError, match="all empty"):
        metric.values(rows_of(metric, np.zeros((2, 3), int), np.full((2, 3), -1)))
    assert metric.fitted([TensorSpec("text", "float32", ("batch", 9, 5))]).outputs == ("text",)
