"""Metrics of a whole data set, as values for each sample: is the spread of two networks' difference the true one?

    python -m benchmarks run data_set_metrics  # all of it, some minutes
    python -m benchmarks run data_set_metrics --only map miou

Two simulated networks are evaluated on the same samples, many times on other ones. Printed are, for each metric and
number of samples,

    error       standard error of the difference by the samples' values, over the spread of the difference from
                evaluation to evaluation, which is the truth
    bootstrap   the same of a paired bootstrap over samples, which runs the metric anew for each resample
    held        share of evaluations whose 95 % upper bound of the drop, as `compress` tells it, is above the true drop
    bound       mean distance of that bound from the drop that was measured, over 1.645 standard errors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from compress.metrics import Metric, drop_points, load_metric
from compress.metrics.detections import Detections
from compress.metrics.mean_precision import match
from compress.profiling.accuracy import drop_of

Array = np.ndarray[Any, Any]
Rows = list[Any]

RESAMPLES = 100
_CLASSES = 4


def class_maps(random: np.random.Generator, metric: Metric, count: int) -> tuple[Rows, Rows]:
    """Maps of 12×12 pixels in blocks; the second network errs where the first does, and a little more."""
    labels = random.integers(0, _CLASSES, (count, 4, 4)).repeat(3, axis=1).repeat(3, axis=2)
    hard = random.uniform(0, 0.5, (count, 1, 1))
    first = _wrong(random, labels, random.uniform(size=labels.shape) < hard)
    second = _wrong(random, first, random.uniform(size=labels.shape) < 0.3 * hard)
    return _judged(metric, first, second, labels)


def class_scores(random: np.random.Generator, metric: Metric, count: int) -> tuple[Rows, Rows]:
    """Scores of one class a sample; some classes are rarer than others."""
    labels = random.choice(_CLASSES, count, p=[0.5, 0.3, 0.15, 0.05])
    return _noisy_scores(random, metric, np.eye(_CLASSES)[labels], labels)


def several_labels(random: np.random.Generator, metric: Metric, count: int) -> tuple[Rows, Rows]:
    """Scores of several labels at once, each in a quarter of the samples."""
    labels = (random.uniform(size=(count, _CLASSES)) < 0.25).astype(np.int64)
    return _noisy_scores(random, metric, labels, labels)


def numbers(random: np.random.Generator, metric: Metric, count: int) -> tuple[Rows, Rows]:
    """A number for each sample, with errors that have a skew."""
    wanted = random.normal(size=count)
    first = wanted + random.exponential(1, count)
    return _judged(metric, first, first + random.normal(0, 0.5, count), wanted)


def sequences(random: np.random.Generator, metric: Metric, count: int) -> tuple[Rows, Rows]:
    """Class numbers of 1 to 12 positions; some samples are harder than others."""
    positions = np.arange(12) < random.integers(1, 13, (count, 1))
    wanted = np.where(positions, random.integers(0, 9, (count, 12)), -1)
    hard = random.uniform(0, 0.4, (count, 1))
    first = _wrong(random, wanted, positions & (random.uniform(size=wanted.shape) < hard))
    second = _wrong(random, first, positions & (random.uniform(size=wanted.shape) < 0.3 * hard))
    return _judged(metric, first, second, wanted)


def boxes(random: np.random.Generator, metric: Metric, count: int) -> tuple[Rows, Rows]:
    """One to four objects of three classes, found with noise, lost, and invented."""
    rows: tuple[Rows, Rows] = [], []
    for _ in range(count):
        corner = random.uniform(0, 60, (int(random.integers(1, 5)), 2))
        sides = random.uniform(10, 40, corner.shape)
        objects = np.column_stack([corner, corner + sides, random.integers(0, 3, len(corner))])
        seed = int(random.integers(1 << 30))
        for part, noise in zip(rows, (1.5, 1.8), strict=True):
            part.append(match(_found(np.random.default_rng(seed), objects, noise), objects))
    return rows


SIMULATED: dict[str, tuple[str, Callable[[np.random.Generator, Metric, int], tuple[Rows, Rows]]]] = {
    "miou": ("miou", class_maps),
    "f1": ("f1:threshold=0.5", several_labels),
    "f1-macro": ("f1-macro", class_scores),
    "auc": ("auc", class_scores),
    "spearman": ("spearman", numbers),
    "pearson": ("pearson", numbers),
    "wer": ("wer", sequences),
    "map": ("map", boxes),
}


def difference(metric: Metric, rows: tuple[Rows, Rows]) -> Array:
    """Return the advantage of the first network, as a value for each sample, float64 ``(n,)``."""
    return np.asarray(metric.values(rows[0]) - metric.values(rows[1]))


def standard_error(values: Array) -> float:
    """The standard error of the mean of the values, in their own unit."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def bootstrap_error(
    random: np.random.Generator, metric: Metric, rows: tuple[Rows, Rows], resamples: int = RESAMPLES
) -> float:
    """Spread of the difference when the samples are drawn anew, the same for both networks."""
    count, drawn = len(rows[0]), []
    for _ in range(resamples):
        places = random.integers(0, count, count)
        figures = [metric.values([part[place] for place in places]).mean() for part in rows]
        drawn.append(figures[0] - figures[1])
    return float(np.std(drawn))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=SIMULATED, nargs="*", default=list(SIMULATED))
    parser.add_argument("--samples", type=int, nargs="*", default=[60, 300])
    parser.add_argument("--evaluations", type=int, default=300)
    arguments = parser.parse_args()
    print(
        f"{'metric':10} {'samples':>7} {'drop, %':>7} {'error':>6} {'bootstrap':>9} {'held':>5} {'bound':>5}"
    )
    for name in arguments.only:
        text, simulate = SIMULATED[name]
        metric, random = load_metric(text), np.random.default_rng(0)
        figures = [float(metric.values(rows).mean()) for rows in simulate(random, metric, 10_000)]
        true = drop_points(metric, *figures)
        for count in arguments.samples:
            evaluated = [simulate(random, metric, count) for _ in range(arguments.evaluations)]
            values = [difference(metric, rows) for rows in evaluated]
            spread = float(np.std([each.mean() for each in values]))
            error = float(np.mean([standard_error(each) for each in values])) / spread
            # The bootstrap is slow: ten evaluations tell what it says on average.
            drawn = (
                float(np.mean([bootstrap_error(random, metric, rows) for rows in evaluated[:10]])) / spread
            )
            held, distance = _bounds(metric, evaluated, true)
            told = f"{true:7.2f} {error:6.2f} {drawn:9.2f} {held:5.2f} {distance:5.2f}"
            print(f"{name:10} {count:7} {told}", flush=True)
    return 0


def _bounds(metric: Metric, evaluated: list[tuple[Rows, Rows]], true: float) -> tuple[float, float]:
    held, distances = [], []
    for rows in evaluated:
        original, build = (metric.values(part) for part in rows)
        drop = drop_of(build, original, metric)
        error = 100 * standard_error(original - build) / abs(original.mean())
        held.append(drop.interval.high >= true)
        distances.append((drop.interval.high - drop.points) / (1.645 * error))
    return float(np.mean(held)), float(np.mean(distances))


def _judged(metric: Metric, first: Array, second: Array, targets: Array) -> tuple[Rows, Rows]:
    return list(metric.per_sample([first], targets, None)), list(metric.per_sample([second], targets, None))


def _noisy_scores(
    random: np.random.Generator, metric: Metric, true: Array, labels: Array
) -> tuple[Rows, Rows]:
    first = true + random.normal(0, 0.7, true.shape)
    return _judged(metric, first, first + random.normal(0, 0.4, true.shape), labels)


def _wrong(random: np.random.Generator, values: Array, where: Array) -> Array:
    return np.where(where, random.integers(0, _CLASSES, values.shape), values)


def _found(random: np.random.Generator, objects: Array, noise: float) -> Detections:
    kept = random.uniform(size=len(objects)) < 0.9
    moved = objects[kept, :4] + random.normal(0, noise, (int(kept.sum()), 4))
    extra = random.uniform(0, 60, (int(random.integers(0, 4)), 2))
    everything = np.vstack([moved, np.hstack([extra, extra + 25])])
    scores = np.concatenate([random.uniform(0.3, 1, len(moved)), random.uniform(0, 0.7, len(extra))])
    labels = np.concatenate([objects[kept, 4], random.integers(0, 3, len(extra))]).astype(np.int64)
    order = np.argsort(-scores, kind="stable")
    return Detections(everything[order], scores[order], labels[order])


if __name__ == "__main__":
    sys.exit(main())
