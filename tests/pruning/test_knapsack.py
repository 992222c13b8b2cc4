from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.pruning.knapsack import cheapest

ITEMS = st.lists(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 20)), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)


def brute_force(savings, losses, demand) -> float | None:
    found = [
        sum(losses[item][option] for item, option in enumerate(options))
        for options in product(*(range(len(each)) for each in savings))
        if sum(savings[item][option] for item, option in enumerate(options)) >= demand
    ]
    return min(found, default=None)


@settings(max_examples=150, deadline=None)
@given(ITEMS, st.integers(1, 30))
def test_nothing_loses_less(items, demand) -> None:
    savings = [[saved for saved, _ in each] for each in items]
    losses = [[lost for _, lost in each] for each in items]
    chosen = cheapest(savings, losses, demand, resolution=demand)  # whole parts: exact
    best = brute_force(savings, losses, demand)
    assert (chosen is None) == (best is None)
    if chosen is not None:
        assert sum(each[option] for each, option in zip(savings, chosen, strict=True)) >= demand
        assert sum(each[option] for each, option in zip(losses, chosen, strict=True)) == best


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=4), min_size=2, max_size=4
    ),
    st.floats(0.05, 2),
)
def test_rounding_costs_no_more_than_a_part_an_item(items, demand) -> None:
    savings = [[saved for saved, _ in each] for each in items]
    losses = [[lost for _, lost in each] for each in items]
    chosen = cheapest(savings, losses, demand, resolution=200)
    bound = brute_force(savings, losses, demand * (1 + len(items) / 200))
    if chosen is None:
        assert bound is None
        return
    assert sum(each[option] for each, option in zip(savings, chosen, strict=True)) >= demand * (1 - 1e-9)
    if bound is not None:
        assert sum(each[option] for each, option in zip(losses, chosen, strict=True)) <= bound + 1e-9


@pytest.mark.parametrize("demand", [0, -1])
def test_without_demand_nothing_is_lost(demand) -> None:
    assert cheapest([[5, 0]], [[1, 0]], demand) == [1]


@pytest.mark.parametrize(
    ("savings", "losses", "demand", "chosen"),
    [
        ([[2, 3, 2]], [[1, 1, 1]], 2, [0]),  # each saves all that is asked
        ([[1, 1, 1], [1, 1]], [[1, 1, 1], [2, 2]], 2, [0, 0]),
        ([[0, 1, 1], [0, 1, 1]], [[0, 4, 4], [0, 4, 4]], 2, [1, 1]),
    ],
)
def test_of_equal_options_the_first_is_taken(savings, losses, demand, chosen) -> None:
    assert cheapest(savings, losses, demand, resolution=demand) == chosen


@pytest.mark.parametrize(
    ("savings", "losses"),
    [([[0, 1], [0, 1]], [[0, 1]]), ([[0, 1]], [[0, 1], [0, 1]]), ([[0, 1]], [[0]]), ([[0]], [[0, 1]])],
)
def test_every_saving_has_a_loss(savings, losses) -> None:
    with pytest.raises(ValueError, match="argument 2 is"):
        cheapest(savings, losses, 1)
