"""Durations of calls, and their summary.

Every percentile has its interval from order statistics, and is given only on as many calls as MLPerf LoadGen asks of a
run that is judged by it: 64 for p90, 662 for p99. Garbage is not collected while calls are timed, as in :mod:`timeit`:
that would be this process's garbage, and in no deployment's p99. Builds are timed by :mod:`compress.timing`, each in
a process of its own.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.core.tensor_spec import BATCH, fixed_batch
from compress.errors import DataError
from compress.profiling.noise import drift
from compress.profiling.steady_state import warm_up
from compress.records.profile import Interval, Latency, WarmUp
from compress.statistics.quantiles import quantile_interval

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.core.tensor_spec import TensorSpec
    from compress.data import Batch
    from compress.data.task import Task

Feeds = Mapping[str, "np.ndarray[Any, Any]"]
Times = np.ndarray[Any, np.dtype[np.float64]]

#: Two-sided level of every interval printed here.
LEVEL = 0.95

#: Calls without which a percentile is not told: with as many, LoadGen's early stopping bounds it at 99 % confidence.
LEAST_CALLS = {90: 64, 99: 662}

#: Samples whose shapes are looked at, to find the commonest.
_LOOKED_AT = 256


@dataclass(frozen=True)
class Budget:
    """Time budget of a measurement.

    Attributes:
        seconds: Approximate wall time for one batch size, in seconds.
        least: Smallest number of timed calls, whatever time they take, where calls are made in this process.
        most: Largest number of timed calls.
        warm_up_seconds: Longest wall time of warm-up, in seconds; it ends earlier when the times are steady.
    """

    seconds: float = 2.0
    least: int = 30
    most: int = 1000
    warm_up_seconds: float = 1.0


def timed(call: Callable[[], float], budget: Budget) -> tuple[Times, WarmUp]:
    """Time calls back to back, after warm-up.

    Args:
        call: Function that makes one call and returns its duration in milliseconds.
        budget: Time budget of the measurement.

    Returns:
        Milliseconds in order, ``(n,)``, and the warm-up.
    """
    times: list[float] = []
    with no_collection():
        spent = warm_up(call, budget.warm_up_seconds)
        _repeat(lambda: times.append(call()), budget)
    return np.array(times), spent


def timer(run: Callable[[], object]) -> Callable[[], float]:
    """Return a call that returns its duration in milliseconds, with only ``run`` between two clock readings."""
    clock = time.perf_counter_ns

    def call() -> float:
        start = clock()
        run()
        return (clock() - start) / 1e6

    return call


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect no garbage inside the block."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


#: Shapes of inputs, each with the input's name; empty names are those of the inputs in order.
GivenShapes = Sequence[tuple[str, Sequence[int]]]


def sample_feeds(
    session: Session, task: Task | None, batch: int = 1, shapes: GivenShapes = ()
) -> dict[str, np.ndarray[Any, Any]]:
    """Return one batch to time a session: real samples where there are any, else seeded noise (ones for integers).

    A batch holds samples of one shape. Where the data has samples of several shapes, as sequences of different lengths,
    the shape that most of the first samples have is taken, and its samples are repeated where there are too few.

    Args:
        session: Session, whose inputs define the batch.
        task: Task whose first evaluation samples are taken, as times may depend on values; single calls with their
            states. None takes noise.
        batch: Number of samples, where the network takes any number.
        shapes: Shapes of inputs with open axes: of the noise, or of the samples that are taken where any has them; an
            open batch takes ``batch`` all the same.

    Raises:
        DataError: There is no data, and an axis besides the batch is open, so that its size is unknown; or a shape does
            not fit its input.
    """
    fixed = fixed_batch(session.inputs) or batch
    if task is None:
        return _noise(session.inputs, batch, shapes)
    task = task.calls
    rows = _of_shapes(task, fixed, _by_name(session.inputs, shapes)) if shapes else np.empty(0, np.int64)
    if not len(rows):
        rows = _alike(task, fixed)
    return next(iter(task.evaluation.take(rows[np.arange(fixed) % len(rows)]).batches(fixed))).inputs


def _of_shapes(
    task: Task, most: int, shapes_wanted: Mapping[str, Sequence[int]]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the rows of the first samples of these shapes, ``(n,)``, at most so many."""
    rows: list[int] = []
    row = 0
    for part in task.evaluation.batches(max(most, _LOOKED_AT)):
        shapes = _sample_shapes(part)
        if all(
            shapes[name] == _without(shape, part.axes.get(name, 0)) for name, shape in shapes_wanted.items()
        ):
            rows.extend(range(row, row + len(part)))
        row += len(part)
        if len(rows) >= most:
            break
    return np.array(rows[:most], np.int64)


def _sample_shapes(batch: Batch) -> dict[str, tuple[int, ...]]:
    """Return the shape of each input without the axis that counts samples."""
    return {name: _without(array.shape, batch.axes.get(name, 0)) for name, array in batch.inputs.items()}


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _alike(task: Task, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the rows of the first samples of the most frequent shape, ``(n,)``, at most so many."""
    looked = np.arange(min(len(task.evaluation), max(most, _LOOKED_AT)))
    rows_by_shape: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    row = 0
    for part in task.evaluation.take(looked).batches(most):
        shape = tuple(_sample_shapes(part).values())
        rows_by_shape.setdefault(shape, []).extend(range(row, row + len(part)))
        row += len(part)
        if len(rows_by_shape[shape]) >= most and len(rows_by_shape) == 1:
            break
    return np.array(max(rows_by_shape.values(), key=len)[:most])


def _noise(
    inputs: Sequence[TensorSpec], batch: int, shapes_given: GivenShapes = ()
) -> dict[str, np.ndarray[Any, Any]]:
    shapes_by_name = _by_name(inputs, shapes_given)
    random = np.random.default_rng(0)
    feeds: dict[str, np.ndarray[Any, Any]] = {}
    for spec in inputs:
        shape: list[int | str] = [batch if size == BATCH else size for size in spec.with_batch(batch)]
        if spec.name in shapes_by_name:
            shape = [
                length if isinstance(length, int) else size
                for length, size in zip(shape, shapes_by_name[spec.name], strict=True)
            ]
        if any(isinstance(size, str) for size in shape):
            raise DataError(
                f"the size of every axis of {spec}, to time calls with",
                "an open axis and no data",
                f"give data (--data), or the shape: --shape {spec.name}=1x…",
            )
        sizes = [int(size) for size in shape]
        floating = np.issubdtype(np.dtype(spec.dtype), np.floating)
        feeds[spec.name] = (random.standard_normal(sizes) if floating else np.ones(sizes)).astype(spec.dtype)
    return feeds


def _by_name(inputs: Sequence[TensorSpec], shapes_given: GivenShapes) -> dict[str, Sequence[int]]:
    names = [spec.name for spec in inputs]
    if len(shapes_given) > len(names):
        raise DataError(
            f"shapes for {', '.join(names)}", str(len(shapes_given)), "give --shape once for each"
        )
    shapes_by_name: dict[str, Sequence[int]] = {}
    for spec, (name, shape) in zip(inputs, shapes_given, strict=False):
        specs_by_name = {input_spec.name: input_spec for input_spec in inputs}
        if name and name not in specs_by_name:
            raise DataError("the shape of an input", f"one for '{name}'", f"name one of: {', '.join(names)}")
        input_spec = specs_by_name[name] if name else spec
        counts = input_spec.batch_axis
        fits = len(shape) == len(input_spec.shape) and all(
            axis == counts or isinstance(length, str) or length == size
            for axis, (length, size) in enumerate(zip(input_spec.shape, shape, strict=False))
        )
        if not fits:
            raise DataError(
                f"a shape for {input_spec}", "x".join(map(str, shape)), "give one size for each axis"
            )
        shapes_by_name[input_spec.name] = shape
    return shapes_by_name


def shapes_of(feeds: Feeds) -> dict[str, list[int]]:
    """Return the shape of each input, by its name."""
    return {name: list(array.shape) for name, array in feeds.items()}


def summary(times: Times, batch: int, spent: WarmUp | None = None) -> Latency:
    """Summarize the calls of one batch size.

    Args:
        times: Time of each call in order, ``(n,)``, in milliseconds, at least one.
        batch: Number of samples in one call.
        spent: Calls and time that warm-up took.
    """
    low, high = _median_interval(times)
    p90, p90_interval = percentile(times, 90)
    p99, p99_interval = percentile(times, 99)
    return Latency(
        source="measured",
        batch=batch,
        p50_ms=float(np.median(times)),
        p90_ms=p90,
        p99_ms=p99,
        interval=Interval(low, high, LEVEL),
        throughput_per_s=1e3 * batch * len(times) / float(times.sum()),
        iterations=len(times),
        p90_interval=p90_interval,
        p99_interval=p99_interval,
        warm_up=spent,
        drift=drift(times),
    )


def percentile(times: Times, percent: int) -> tuple[float | None, Interval | None]:
    """Return a high percentile with its interval; neither where there are fewer calls than :data:`LEAST_CALLS`.

    Args:
        times: Times of the calls, ``(n,)``, in milliseconds.
        percent: Percentile, 90 or 99.
    """
    bounds = quantile_interval(times, percent / 100, LEVEL)
    if len(times) < LEAST_CALLS[percent] or bounds is None:
        return None, None
    return float(np.percentile(times, percent)), Interval(bounds.lower, bounds.upper, LEVEL)


def _repeat(measure: Callable[[], None], budget: Budget) -> None:
    deadline = time.perf_counter() + budget.seconds
    for count in range(budget.most):
        if count >= budget.least and time.perf_counter() > deadline:
            return
        measure()


def _median_interval(values: Times) -> tuple[float, float]:
    interval = quantile_interval(values, 0.5, LEVEL)
    # Fewer than six values bound no median at 95 %; the budget's floor keeps clear of that.
    return interval if interval is not None else (-math.inf, math.inf)
