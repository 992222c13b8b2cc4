"""Workers are real processes, which open real builds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compress.backends.base import Artifact
from compress.backends.onnxruntime import OnnxRuntime
from compress.errors import NetworkError
from compress.timing.processes import stored_feeds, workers
from compress.timing.turns import take_turns
from tests.graphs import classifier, samples

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return OnnxRuntime().compile(classifier(), tmp_path_factory.mktemp("workers"), {"intra_op_threads": 2})


@pytest.fixture(scope="module")
def feeds() -> Iterator[dict[int, Path]]:
    with stored_feeds({batch: {"x": samples(batch)} for batch in (1, 3)}) as paths:
        yield paths


def test_a_worker_makes_the_calls_it_is_asked_for(artifact: Artifact, feeds: dict[int, Path]) -> None:
    with workers([artifact], feeds) as (worker,):
        assert len(worker.calls(1, 0.0, least=5)) == 5
        assert len(worker.calls(3, 10.0, most=7)) == 7
        assert worker.calls(3, 0.02).sum() >= 10  # milliseconds of calls in 20 ms
        assert worker.peak_memory_mb is None or worker.peak_memory_mb > 0


def test_paced_calls_begin_a_period_apart(artifact: Artifact, feeds: dict[int, Path]) -> None:
    with workers([artifact], feeds) as (worker,):
        begin = time.perf_counter()
        assert len(worker.calls(1, 0.0, least=4, period_s=0.03)) == 4
        assert time.perf_counter() - begin >= 4 * 0.03


@LINUX
def test_a_worker_takes_no_time_while_another_has_its_turn(
    artifact: Artifact, feeds: dict[int, Path]
) -> None:
    """Its threads would spin on for some 40 ms after each call."""
    spinning = replace(artifact, options={**artifact.options, "spinning": True})
    with workers([spinning], feeds) as (worker,):
        worker.calls(1, 0.02)
        while not _is_stopped(worker._pid):  # each of its threads stops when a processor comes to it
            time.sleep(0.01)
        before = _processor_ticks(worker._pid)
        time.sleep(0.1)
        assert _processor_ticks(worker._pid) == before


def _processor_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _is_stopped(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(path.read_text().rpartition(")")[2].split()[0] == "T" for path in threads)


def test_no_worker_is_left(artifact: Artifact, feeds: dict[int, Path]) -> None:
    with workers([artifact, artifact], feeds) as opened:
        numbers = [worker._pid for worker in opened]
    for number in numbers:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


def test_a_crash_is_told_with_its_signal(artifact: Artifact, feeds: dict[int, Path]) -> None:
    with workers([artifact], feeds) as (worker,):
        os.kill(worker._pid, signal.SIGSEGV)
        with pytest.raises(NetworkError, match="crashed with SIGSEGV"):
            worker.calls(1, 0.01)


def test_what_a_worker_refuses_is_told_in_its_own_words(
    tmp_path: Path, artifact: Artifact, feeds: dict[int, Path]
) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(artifact.path.read_bytes()[:40])
    with (
        pytest.raises(Exception, match=r"wanted .*damaged\.onnx"),
        workers([replace(artifact, path=damaged)], feeds),
    ):
        pass
    with (
        stored_feeds({1: {"x": samples(1).astype(np.float64)}}) as wrong,
        pytest.raises(NetworkError, match="float64"),
        workers([artifact], wrong),
    ):
        pass


@LINUX
def test_workers_end_with_the_process_that_compares(artifact: Artifact, feeds: dict[int, Path]) -> None:
    """A stopped process that nobody wakes would stay for ever."""
    script = f"""
import os, signal
from pathlib import Path
from compress.backends.base import Artifact
from compress.timing.processes import Worker
build = Artifact(Path({str(artifact.path)!r}), "", 0, "onnxruntime", {artifact.options!r})
worker = Worker(build, {{1: {str(feeds[1])!r}}})
worker.wait()
print(worker._pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    number, deadline = int(done.stdout), time.monotonic() + 120
    while _alive(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(number)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_nothing_is_imported_from_the_working_directory(
    tmp_path: Path, artifact: Artifact, feeds: dict[int, Path]
) -> None:
    mark = tmp_path / "imported"
    for name in ("random", "numpy", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\nraise SystemExit")
    script = f"""
import sys; sys.path.pop(0)
from pathlib import Path
from compress.backends.base import Artifact
from compress.timing.processes import workers
artifact = Artifact(Path({str(artifact.path)!r}), "", 0, "onnxruntime", {artifact.options!r})
with workers([artifact], {{1: {str(feeds[1])!r}}}) as (worker,):
    print(len(worker.calls(1, 0.0, least=2)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "2", done.stderr
    assert not mark.exists()


def test_builds_take_turns_and_each_has_a_figure_a_round(artifact: Artifact, feeds: dict[int, Path]) -> None:
    with workers([artifact, artifact], feeds) as opened:
        turns = take_turns(opened, 1, 0.05)
        paced = take_turns(opened, 1, 0.0, period_s=0.02)
    assert turns.medians_ms.shape[1] == 2
    assert len(turns.medians_ms) >= 2
    assert turns.log_ratio(0, 1) == -turns.log_ratio(1, 0)
    assert all((calls > 0).all() for calls in turns.calls_ms)
    assert paced.medians_ms.shape == (1, 2)
