"""What a language model writes, as a profile holds it."""

from __future__ import annotations

import json

import pytest

from compress.records.greedy import GreedyText

ANSWERS = ((5, 6, 7, 8), (1, 2), (9, 9, 9), (4, 3, 2, 1))


@pytest.mark.parametrize("same", [None, (4, 0, 2, 4)])
def test_it_comes_back_from_json(same: tuple[int, ...] | None):
    greedy = GreedyText(4, "a" * 64, ANSWERS, same)
    assert GreedyText.from_dict(json.loads(json.dumps(greedy.to_dict()))) == greedy


def test_the_distribution_of_same_tokens():
    greedy = GreedyText(4, "a" * 64, ANSWERS, (4, 0, 2, 3))
    assert [greedy.quantile(share) for share in (0, 0.25, 0.5, 0.75, 1)] == [0, 0, 2, 3, 4]
    assert (greedy.median, greedy.whole) == (2, 1)
    assert "the first 2 tokens (median; quartiles 0 and 3) are the original's, and 1 answers" in str(greedy)


def test_the_original_is_compared_with_nothing():
    greedy = GreedyText(4, "a" * 64, ANSWERS)
    assert (greedy.median, greedy.whole, str(greedy)) == (None, None, "")
    assert "same" not in greedy.to_dict()


@pytest.mark.parametrize("same", [[4, 2, 3], [5, 2, 3, 4], [-1, 2, 3, 4]])
def test_more_same_tokens_than_there_are(same: list[int]):
    data = GreedyText(4, "a" * 64, ANSWERS).to_dict() | {"same": same}
    with pytest.raises(ValueError, match="that the answers do not have"):
        GreedyText.from_dict(data)
