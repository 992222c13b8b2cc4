"""When a comparison stops, and what it tells; the processes are stood in for, so that their times are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from compress.backends.base import Artifact
from compress.profiling.latency import Budget
from compress.records.profile import Latency
from compress.timing import contest
from compress.timing.contest import LEAST_STARTS, MOST_STARTS, Contest
from compress.timing.processes import Times
from compress.timing.turns import Turns

#: By the batch size and the number of the start.
Ratio = Callable[[int, int], float]

BUILD = Artifact(Path("build.onnx"), "b", 1, "onnxruntime", {"intra_op_threads": 0})
FP32 = Artifact(Path("fp32.onnx"), "f", 1, "onnxruntime", {"intra_op_threads": 0})
ALONE = Artifact(Path("fp32.onnx"), "f", 1, "onnxruntime", {"intra_op_threads": 1})


class Processes:
    """Times without processes: fp32 takes so many milliseconds a sample, the build a ratio of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ratio: Ratio, sample_ms: float = 1.0) -> None:
        self.ratio, self.sample_ms = ratio, sample_ms
        self.starts = 0
        self.timed: list[tuple[int, float | None]] = []
        self.opened: list[list[Artifact]] = []
        monkeypatch.setattr(contest, "workers", self.workers)
        monkeypatch.setattr(contest, "take_turns", self.take_turns)

    @contextmanager
    def workers(self, artifacts: Sequence[Artifact], feeds: Mapping[int, Path]) -> Iterator[list[_Worker]]:
        self.opened.append(list(artifacts))
        yield [_Worker(artifact) for artifact in artifacts]
        self.starts += 1

    def take_turns(
        self, workers: Sequence[_Worker], batch: int, seconds: float, *, period_s: float | None = None
    ) -> Turns:
        self.timed.append((batch, period_s))
        fp32 = self.sample_ms * batch
        medians: Times = np.array([[fp32 * self.ratio(batch, self.starts), fp32]] * 3)
        return Turns(medians, (medians[:, 0], medians[:, 1]), max(seconds, 0.1))


class _Worker:
    peak_memory_mb = 7.0

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact


def run(
    *,
    rival: float | None = None,
    period_s: float | None = None,
    reference: Callable[[int], Artifact] = lambda _: FP32,
    seconds: float = 1e3,
) -> dict[tuple[int, float | None], Latency]:
    feeds = {batch: {"x": np.zeros((batch, 2), np.float32)} for batch in (1, 32)}
    paths = {batch: Path(f"{batch}.npz") for batch in feeds}
    figures, peak = Contest(
        BUILD, reference, feeds, paths, Budget(seconds=seconds), period_s, rival
    ).figures()
    assert peak == 7.0
    return {(each.batch, each.period_ms): each for each in figures}


def test_a_clear_gain_is_known_after_few_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(monkeypatch, lambda batch, start: 0.5 + 0.002 * start)
    found = run()
    assert processes.starts == 3
    latency = found[1, None]
    assert latency.ratio == pytest.approx(0.502, abs=1e-3)
    assert latency.ratio_interval is not None
    assert 0.47 < latency.ratio_interval.low < 0.5 < latency.ratio_interval.high < 0.53
    assert (latency.starts, latency.shapes) == (3, {"x": [1, 2]})
    assert latency.reference_ms == 1.0
    assert latency.p50_ms == pytest.approx(0.502)


def test_what_is_clearly_slower_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(monkeypatch, lambda batch, start: 1.4)
    assert run()[1, None].starts == LEAST_STARTS
    assert processes.starts == LEAST_STARTS


def test_what_cannot_be_told_apart_takes_every_start(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(monkeypatch, lambda batch, start: (0.99, 1.01)[start % 2])
    interval = run()[1, None].ratio_interval
    assert processes.starts == MOST_STARTS
    assert interval is not None
    assert interval.low < 1 < interval.high


def test_a_gain_that_starts_disagree_on_is_looked_at_again_however_short_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Processes(monkeypatch, lambda batch, start: (0.05, 0.1, 0.07, 0.08)[start])
    latency = run(seconds=1e-9)[1, None]
    assert latency.starts == LEAST_STARTS + 1
    assert latency.ratio_interval is not None
    assert latency.ratio_interval.high < 1
    Processes(monkeypatch, lambda batch, start: (1.01, 1.2)[start])
    assert run(seconds=1e-9)[1, None].starts == LEAST_STARTS


def test_a_build_that_another_one_beats_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(monkeypatch, lambda batch, start: (0.7, 0.704)[start % 2])
    run()
    assert processes.starts > LEAST_STARTS
    processes = Processes(monkeypatch, lambda batch, start: (0.7, 0.704)[start % 2])
    run(rival=0.4)
    assert processes.starts == LEAST_STARTS


def test_slow_batches_of_a_loser_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(monkeypatch, lambda batch, start: 1.4, sample_ms=50.0)
    assert list(run()) == [(1, None)]
    assert {batch for batch, _ in processes.timed} == {1}
    processes = Processes(monkeypatch, lambda batch, start: 0.5, sample_ms=50.0)
    assert list(run()) == [(1, None), (32, None)]


def test_slow_batches_are_timed_once_a_build_that_looked_lost_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processes = Processes(monkeypatch, lambda batch, start: (1.2, 0.9, 0.5)[min(start, 2)], sample_ms=50.0)
    latency = run()
    assert [batch for batch, _ in processes.timed][:4] == [1, 1, 1, 32]
    assert (latency[1, None].starts, latency[32, None].starts) == (MOST_STARTS, 1)


@pytest.mark.parametrize(("ratio", "sample_ms", "starts"), [(0.5, 50.0, 1), (0.5, 10.0, 2), (0.95, 50.0, 3)])
def test_slow_calls_that_decide_nothing_are_timed_in_few_starts_where_the_gain_is_clear(
    monkeypatch: pytest.MonkeyPatch, ratio: float, sample_ms: float, starts: int
) -> None:
    Processes(monkeypatch, lambda batch, start: ratio + 0.002 * start, sample_ms=sample_ms)
    found = run()
    assert (found[1, None].starts, found[32, None].starts) == (3, starts)
    assert (found[32, None].ratio_interval is None) == (starts == 1)


def test_a_build_that_cannot_be_chosen_is_timed_no_further_than_its_ratio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processes = Processes(monkeypatch, lambda batch, start: (0.4, 0.45)[start % 2])
    assert list(run(rival=0.0)) == [(1, None)]
    assert processes.starts == LEAST_STARTS


def test_each_batch_size_has_the_fp32_that_is_fastest_there(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(monkeypatch, lambda batch, start: 0.5)
    found = run(reference=lambda batch: ALONE if batch == 1 else FP32)
    assert processes.opened[0] == [BUILD, ALONE, FP32]
    assert found[1, None].reference_options == {"intra_op_threads": 1}
    assert found[32, None].reference_options == {"intra_op_threads": 0}


def test_paced_calls_are_a_figure_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(monkeypatch, lambda batch, start: 0.5)
    found = run(period_s=0.04)
    assert list(found) == [(1, None), (32, None), (1, 40.0)]
    assert (1, 0.04) in processes.timed


def test_starts_that_differ_widen_the_interval_of_the_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    Processes(monkeypatch, lambda batch, start: (0.3, 0.5)[start % 2])
    interval = run()[1, None].interval
    assert interval.low <= 0.3
    assert interval.high >= 0.5
