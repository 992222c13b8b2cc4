"""The Pareto front of time and accuracy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compress.search.decision import (
    pareto_front,
)
from tests.records import candidate
from tests.search.choices import (
    FP32,
    INSIDE,
    with_latency,
)


@given(
    st.lists(
        st.tuples(st.floats(0.1, 3), st.floats(-1, 5)),
        min_size=1,
        max_size=6,
    )
)
def test_front_holds_exactly_what_nothing_dominates(points: list[tuple[float, float]]) -> None:
    candidates = [
        candidate(f"c{index}", ratio=ratio, drop=(drop - 0.1, drop, drop + 0.1))
        for index, (ratio, drop) in enumerate(points)
    ]
    front = set(pareto_front(candidates))
    for index, (ratio, drop) in enumerate(points):
        dominated = any(r <= ratio and d <= drop and (r, d) != (ratio, drop) for r, d in points)
        assert (f"c{index}" in front) == (not dominated)


def test_the_front_is_of_the_first_batch_size() -> None:
    first = with_latency(candidate("first", ratio=0.5, drop=INSIDE), 1, ratio=0.9)
    other = with_latency(candidate("other", ratio=0.6, drop=INSIDE), 1, ratio=0.1)
    assert pareto_front([first, other]) == ("first",)


def test_the_original_takes_its_own_time_on_the_front() -> None:
    slow = candidate("slow", ratio=1.5, drop=INSIDE)
    assert pareto_front([FP32, slow]) == ("fp32",)
    assert pareto_front([FP32, candidate("fast", ratio=0.9, drop=INSIDE)]) == ("fast", "fp32")
