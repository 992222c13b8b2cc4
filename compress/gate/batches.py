"""Check that a build gives the same answers for any number of samples that run at once.

Accuracy is taken in batches of one size, and latency at others: a build that is right in the one and wrong, and fast,
in the other would pass by both. Networks do that without ill will, with batch norm left in training mode or ranges
taken over the batch. So some samples run in batches of every size that counts, and where their outputs differ by more
than arithmetic in another order explains, both builds are judged on all samples in batches of that size, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.gate.verdict import Check, Verdict
from compress.profiling.accuracy import forward, sizes_at_once

if TYPE_CHECKING:
    from compress.data import Split
    from compress.data.task import Task
    from compress.network.states import Runs

Array = np.ndarray[Any, Any]

#: Samples that are tried, spread over the data; more where a batch takes more.
_TRIED = 32

#: Difference that is no difference, as a share of an output's largest value.
_CLOSE = 1e-3

_WORST_LAST = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)


def sizes_that_differ(session: Runs, task: Task, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the batch sizes in which some samples get other outputs than in the batches that accuracy is taken in.

    Args:
        session: The opened build, which takes any number of samples.
        task: Evaluation data, bound to the network.
        sizes: Batch sizes to try, in samples; those above the number of samples are left out.
    """
    if task.whole is not None:
        if task.whole.one_by_one:
            return ()
        session = task.whole.over(session)
    usual, lone = sizes_at_once(session, task)
    count = len(task.evaluation)
    tried = [size for size in dict.fromkeys(sizes) if size != usual and size <= count]
    if lone or not tried:
        return ()
    most = min(count, max(_TRIED, *tried))
    some = task.evaluation.take(np.unique(np.linspace(0, count - 1, most).astype(np.int64)))
    usual_outputs = _outputs(session, some, usual)
    return tuple(size for size in tried if not _close(_outputs(session, some, size), usual_outputs))


def judged_in_all(check: Check, judge: Callable[[int], Check], sizes: Sequence[int]) -> Check:
    """Return the worst result of the accuracy check over batches of all sizes.

    Args:
        check: Result in the batches that accuracy is taken in.
        judge: Function that makes the same check in batches of another size.
        sizes: Batch sizes in which outputs differ; empty leaves the check unchanged.
    """
    if not sizes:
        return check
    checks = {size: judge(size) for size in sizes}
    details = "; ".join(
        f"outputs are others {_words(size)}, and so judged: {check_at_size.verdict}, {check_at_size.detail}"
        for size, check_at_size in checks.items()
    )
    worst = max((check, *checks.values()), key=lambda check_at_size: _WORST_LAST.index(check_at_size.verdict))
    batches = {
        str(size): {**check_at_size.figures, "verdict": str(check_at_size.verdict)}
        for size, check_at_size in checks.items()
    }
    return replace(
        check,
        verdict=worst.verdict,
        detail=f"{check.detail}; {details}",
        figures={**check.figures, "batches": batches},
    )


def _words(size: int) -> str:
    return "where each sample runs alone" if size == 1 else f"in batches of {size}"


def _outputs(session: Runs, samples: Split, size: int) -> list[list[Array]]:
    """Return the rows of all samples, output by output."""
    outputs = [forward(session, batch, ()) for batch in samples.batches(size)]
    return [[row for batch in outputs for row in batch[index]] for index in range(len(outputs[0]))]


def _close(ours: list[list[Array]], wanted: list[list[Array]]) -> bool:
    """Whether no row differs by more than a share of the largest value of its output."""
    for our_rows, their_rows in zip(ours, wanted, strict=True):
        largest = max((_largest(row) for row in their_rows), default=0.0)
        pairs = zip(our_rows, their_rows, strict=True)
        if not all(_near(np.asarray(one), np.asarray(other), _CLOSE * largest) for one, other in pairs):
            return False
    return True


def _near(ours: Array, wanted: Array, most: float) -> bool:
    if ours.shape != wanted.shape:
        return False
    if wanted.dtype.kind != "f":
        return bool((ours == wanted).all())
    return bool(np.allclose(ours.astype(np.float64), wanted, rtol=0, atol=most, equal_nan=True))


def _largest(row: Array) -> float:
    values = np.asarray(row)
    if values.dtype.kind != "f":
        return 0.0
    return float(np.abs(values[np.isfinite(values)]).max(initial=0))
