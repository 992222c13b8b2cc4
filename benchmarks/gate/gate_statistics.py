"""The statistics behind the gate, by simulation: errors at the margin, coverage of every printed interval, slices.

    python -m benchmarks run gate_statistics                  # all of it, some minutes
    python -m benchmarks run gate_statistics --only accuracy  # or coverage, rounds, slices

Nothing is measured here; `benchmarks/gate/verdicts.py` runs the gate itself on this machine.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from compress.gate import GatePolicy, Verdict, judge_latency, judge_slices
from compress.gate.accuracy import judge_accuracy
from compress.gate.calibration import Confidences, judge_calibration
from compress.metrics import load_metric
from compress.statistics import (
    Bounds,
    mean_interval,
    paired_mean_difference_bounds,
    quantile_interval,
    tango_bounds,
    wilson,
)

MARGIN, ALPHA = 0.01, 0.05


def main() -> int:
    parts = {"accuracy": accuracy, "coverage": coverage, "rounds": rounds, "slices": slices}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=parts, nargs="*", default=list(parts))
    for name in parser.parse_args().only:
        parts[name]()
    return 0


def accuracy(trials: int = 20_000) -> None:
    """A candidate that is worse by exactly the margin: how often does it pass, how often does it fail?"""
    print(f"accuracy: true drop = margin = 1 point, {trials:,} simulated evaluations each")
    random = np.random.default_rng(0)
    passed_in_all = 0
    cells = [(n, changed) for n in (300, 1_000, 3_000, 10_000) for changed in (0.02, 0.05, 0.10)]
    for n, changed in cells:
        lost, won = (changed + MARGIN) / 2, (changed - MARGIN) / 2
        counts = random.multinomial(n, [lost, won, 1 - changed], size=trials)
        bounds = {(b, c): tango_bounds(int(b), int(c), n, ALPHA) for b, c, _ in np.unique(counts, axis=0)}
        passed = sum(bounds[b, c].upper < MARGIN for b, c, _ in counts)
        failed = sum(bounds[b, c].lower > MARGIN for b, c, _ in counts)
        point = float(np.mean(counts[:, 0] - counts[:, 1] < MARGIN * n))
        passed_in_all += passed
        print(
            f"  {n:6} samples, {100 * changed:2.0f} % changed: false passes {100 * passed / trials:.2f} %, "
            f"fails {100 * failed / trials:.2f} %; a point estimate passes {100 * point:.0f} %"
        )
    print(f"  all: false passes {100 * passed_in_all / trials / len(cells):.2f} %\n")


def coverage() -> None:
    """Print the rate at which each interval holds the truth; 95 % should be 95 ± 1, and 90 % 90 ± 1."""
    print("coverage of printed intervals")
    random = np.random.default_rng(1)
    for n in (100, 1_000, 10_000):

        def share(n: int = n) -> bool:
            p = random.uniform(0.5, 1)
            low, high = wilson(int(random.binomial(n, p)), n)
            return bool(low <= p <= high)

        _covered(f"accuracy, churn (Wilson), {n} samples, shares of 0.5 to 1", 0.95, share, 20_000)
    for n in (1_000, 10_000):

        def drop(n: int = n) -> bool:
            changed = random.uniform(0.02, 0.1)
            true = random.uniform(-0.01, 0.01)
            b, c, _ = random.multinomial(n, [(changed + true) / 2, (changed - true) / 2, 1 - changed])
            low, high = tango_bounds(int(b), int(c), n, ALPHA)
            return bool(low <= true <= high)

        _covered(f"accuracy drop (Tango), {n} samples, 2 to 10 % changed", 0.90, drop, 20_000)
    for q, sizes in ((0.5, (30, 100, 400)), (0.9, (64, 400)), (0.99, (662, 2_000))):
        for n in sizes:

            def percentile(n: int = n, q: float = q) -> bool:
                # Latencies: a floor, and a tail to the right.
                bounds = quantile_interval(1 + np.exp(0.5 * random.standard_normal(n)), q)
                truth = 1 + math.exp(0.5 * NormalDist().inv_cdf(q))
                return bounds is not None and bounds.lower <= truth <= bounds.upper

            _covered(f"latency p{100 * q:.0f} (order statistics), {n} calls", 0.95, percentile, 5_000)
    for n in (100, 400):

        def ratio(n: int = n) -> bool:
            both = random.exponential(size=n)  # what both sides of a pair share
            ours, theirs = (1 + both + 0.1 * random.exponential(size=n) for _ in range(2))
            bounds = quantile_interval(np.log(ours / theirs), 0.5)
            return bounds is not None and bounds.lower <= 0 <= bounds.upper

        _covered(f"latency ratio (order statistics), {n} pairs", 0.95, ratio, 5_000)
    for n in (30, 100, 1_000):

        def mean(n: int = n) -> bool:
            return _holds(mean_interval(random.exponential(size=n), seed=int(random.integers(1 << 30))), 1.0)

        def difference(n: int = n) -> bool:
            theirs = random.exponential(size=n)
            ours = theirs + 0.1 * random.standard_normal(n) + 0.05
            seed = int(random.integers(1 << 30))
            return _holds(paired_mean_difference_bounds(ours, theirs, ALPHA, seed), 0.05)

        _covered(f"other metrics' mean (bootstrap-t), {n} samples", 0.95, mean, 3_000)
        _covered(f"other metrics' drop (bootstrap-t), {n} samples", 0.90, difference, 3_000)
    for rise in (0.01, 0.04):

        def calibration(rise: float = rise) -> bool:
            low, high = _calibration_bounds(random, 1_000, rise)
            return low <= 100 * rise <= high

        _covered(
            f"rise of calibration error by {100 * rise:.0f}, 1000 samples (at least)", 0.90, calibration, 400
        )
    print()


def _holds(bounds: Bounds, truth: float) -> bool:
    return bounds.lower <= truth <= bounds.upper


def _covered(name: str, level: float, trial: Callable[[], bool], trials: int) -> None:
    share = sum(trial() for _ in range(trials)) / trials
    error = 1.96 * math.sqrt(level * (1 - level) / trials)
    print(
        f"  {name:66} {100 * level:.0f} % means {100 * share:.1f} (simulation ±{100 * error:.1f})", flush=True
    )


def _calibration_bounds(random: np.random.Generator, n: int, rise: float) -> tuple[float, float]:
    """Return the bounds for a baseline whose confidences hold, and a candidate as often right and too confident."""
    confidence = random.uniform(0.5, 0.95, n)
    right = (random.uniform(size=n) < confidence).astype(np.float64)
    candidate, baseline = Confidences(confidence + rise, right), Confidences(confidence, right)
    figures = judge_calibration(candidate, baseline, GatePolicy()).figures
    return float(str(figures["low_points"])), float(str(figures["high_points"]))


def rounds(trials: int = 4_000) -> None:
    """The sequential test of latency under noise that is the machine's, and under moods that are a session's."""
    print(f"latency: rounds, default policy, {trials:,} simulated gates each")
    random = np.random.default_rng(3)
    noises: dict[str, Callable[[], float]] = {
        "2 % noise": lambda: random.normal(0, 0.02),
        "4 % noise, heavy tails": lambda: 0.03 * random.standard_t(3),
        "half the sessions a quarter slower": lambda: random.choice([-0.25, 0, 0, 0.25]),
    }
    for name, noise in noises.items():
        for slower in (0.0, 0.02, 0.05, 0.10):
            verdicts = [
                judge_latency(lambda number: {1: math.log1p(slower) + noise()}, GatePolicy()).verdict  # noqa: B023
                for _ in range(trials)
            ]
            shares = [100 * verdicts.count(each) / trials for each in (Verdict.FAIL, Verdict.PASS)]
            print(
                f"  {name:36} true {100 * slower:+3.0f} %: fail {shares[0]:6.2f} %, pass {shares[1]:6.2f} %"
            )
    print()


def slices() -> None:
    """One class of ten loses 15 points, and top-1 hardly tells."""
    print("a class that collapses: 10,000 samples of ten classes, class 7 loses 15 points")
    random = np.random.default_rng(4)
    metric = load_metric("top-1")
    classes = np.repeat(np.arange(10), 1_000)
    baseline = (random.uniform(size=10_000) < 0.93).astype(np.float64)
    candidate = baseline.copy()
    candidate[random.choice(np.flatnonzero((classes == 7) & (baseline == 1)), 150, replace=False)] = 0
    candidate[random.choice(np.flatnonzero((classes != 7) & (baseline == 0)), 110, replace=False)] = 1
    policy = GatePolicy()
    for check in (
        judge_accuracy(candidate, baseline, metric, policy),
        judge_slices(candidate, baseline, metric, classes, policy),
    ):
        print(f"  {check.name}: {check.verdict}: {check.detail}")


if __name__ == "__main__":
    sys.exit(main())
