"""Which batch sizes change a build's outputs, and the worst verdict over batches of all sizes."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compress.core.tensor_spec import TensorSpec
from compress.data.task import Task, load_task
from compress.gate.batches import judged_in_all, sizes_that_differ
from compress.gate.verdict import Check, Verdict

X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


class Session:
    """A build whose outputs may depend on how many samples run at once.

    Args:
        change: Function from the outputs and the number of samples at once to what it gives.
        dtype: Type of the outputs.
    """

    inputs = (TensorSpec("x", "float32", ("batch", 4)),)

    def __init__(self, change: Any, dtype: str = "float32") -> None:
        self.outputs = (TensorSpec("y", dtype, ("batch", 4)),)
        self._change, self._dtype, self.sizes = change, dtype, set[int]()

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        x = feeds["x"]
        self.sizes.add(len(x))
        return [np.asarray(self._change(x, len(x)), self._dtype)]


def task(samples: int = 200) -> Task:
    return load_task({"x": X[:samples], "y": np.arange(samples) % 4}, calibrates=False)


def test_only_the_sizes_that_change_outputs_are_told() -> None:
    session = Session(lambda x, size: x + (size in (2, 32)))
    assert sizes_that_differ(session, task(), (1, 2, 8, 32, 2)) == (2, 32)


@pytest.mark.parametrize(("share", "found"), [(0.9e-3, ()), (1.2e-3, (8,))])
def test_a_thousandth_of_the_largest_value_is_arithmetic_in_another_order(
    share: float, found: tuple[int, ...]
) -> None:
    """The largest value of an output counts, not that of each number, and not the type's own precision."""
    scaled = np.clip(X, -1, 1)
    scaled[0, 0] = 100
    data = load_task({"x": scaled, "y": np.arange(200) % 4}, calibrates=False)

    def change(x: np.ndarray, size: int) -> np.ndarray:
        return x + np.float32(100 * share) * (size == 8)

    session = Session(change)
    assert sizes_that_differ(session, data, (4, 8)) == found


def test_whole_numbers_have_to_be_equal() -> None:
    session = Session(lambda x, size: (x > 0) + 1000 * (size == 1) + (size == 8), "int64")
    assert sizes_that_differ(session, task(), (4, 8)) == (8,)


def test_what_is_no_number_in_both_is_no_difference_and_in_one_it_is() -> None:
    both = Session(lambda x, size: np.where(x > 2, np.nan, x))
    assert sizes_that_differ(both, task(), (4, 8)) == ()
    one = Session(lambda x, size: np.where((x > 2) & (size == 8), np.nan, x))
    assert sizes_that_differ(one, task(), (4, 8)) == (8,)
    unbounded = Session(lambda x, size: np.where(x > 2, np.inf, x + (size == 8)))
    assert sizes_that_differ(unbounded, task(), (4, 8)) == (8,)  # infinity is no scale


def test_sizes_above_the_number_of_samples_are_left_out() -> None:
    session = Session(lambda x, size: x + (size != 1))
    assert sizes_that_differ(session, task(30), (30, 31)) == ()  # no more than all samples run anyway
    assert max(session.sizes) <= 30

    assert sizes_that_differ(session, task(30), (31, 100)) == ()


def test_outputs_of_another_shape_are_others() -> None:
    session = Session(lambda x, size: x[:, :3] if size == 8 else x)
    assert sizes_that_differ(session, task(), (4, 8)) == (8,)


def test_samples_are_spread_over_the_data() -> None:
    """A difference of the first and the last sample alone is seen, among so many."""
    for row in (0, 199):
        session = Session(lambda x, size, row=row: x + (size == 4) * (x == X[row]).all(axis=1, keepdims=True))
        assert sizes_that_differ(session, task(), (4,)) == (4,)


def check(verdict: Verdict, detail: str, **figures: Any) -> Check:
    return Check("accuracy", verdict, detail, figures)


def test_without_other_sizes_the_check_is_as_it_was() -> None:
    usual = check(Verdict.PASS, "fine")
    assert judged_in_all(usual, lambda size: pytest.fail("judged"), ()) is usual


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        ((Verdict.PASS, Verdict.PASS, Verdict.PASS), Verdict.PASS),
        ((Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.PASS), Verdict.INCONCLUSIVE),
        ((Verdict.INCONCLUSIVE, Verdict.PASS, Verdict.FAIL), Verdict.FAIL),
        ((Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE), Verdict.FAIL),
    ],
)
def test_the_worst_size_decides_and_every_one_is_told(verdicts: tuple[Verdict, ...], worst: Verdict) -> None:
    usual, *others = verdicts
    by_size = dict(zip((1, 32), others, strict=True))
    found = judged_in_all(
        check(usual, "usual", drop=1.0),
        lambda size: check(by_size[size], f"of {size}", drop=float(size)),
        (1, 32),
    )
    assert found.verdict is worst
    assert found.detail == (
        f"usual; outputs are others where each sample runs alone, and so judged: {others[0]}, of 1; "
        f"outputs are others in batches of 32, and so judged: {others[1]}, of 32"
    )
    assert found.figures == {
        "drop": 1.0,
        "batches": {
            "1": {"drop": 1.0, "verdict": str(others[0])},
            "32": {"drop": 32.0, "verdict": str(others[1])},
        },
    }


def test_streams_run_as_streams() -> None:
    """A network with a state is run over whole streams, each of them in a batch of its own size."""
    wrapped: list[object] = []

    def over(session: Session) -> Session:
        wrapped.append(session)
        return session

    session = Session(lambda x, size: x)
    streams = SimpleNamespace(over=over, one_by_one=False)
    known = task()
    object.__setattr__(known, "whole", streams)
    assert sizes_that_differ(session, known, (4,)) == ()
    assert wrapped == [session]


def test_samples_that_run_one_by_one_have_no_neighbours_in_a_batch() -> None:
    known = task()
    object.__setattr__(known, "whole", SimpleNamespace(over=lambda session: session, one_by_one=True))
    assert sizes_that_differ(Session(lambda x, size: x * size), known, (4,)) == ()
