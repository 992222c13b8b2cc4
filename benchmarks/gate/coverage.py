"""Rates at which the bounds that decide hold, by simulation: those of a drop, of a mean, and of a ratio of times.

    python -m benchmarks run coverage               # all of it, some minutes
    python -m benchmarks run coverage --only drops  # or ratios
    python -m benchmarks run coverage --trials 500

**drops**: the upper 95 % bound of a drop, of metrics whose samples are worth anything from 0 to 1, over a grid of
samples, shares of samples that change, and how much those lose: little and alike, much and seldom, or all. The true
drop is known, and counted is how often the bound is below it: at most 5 % is asked for. Beside it stands the
studentised bootstrap, which compress took before. The last column is the right-or-wrong metric (Tango).

**ratios**: the interval of a ratio of times from two to six starts, where measuring stops as soon as it is decided.
Starts vary by a normal or a heavy-tailed law, by 0.3 to 10 %. Counted is how often the true ratio lies outside.

What the gate decides is simulated by ``python -m benchmarks run gate_statistics``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compress.statistics import paired_mean_difference_bounds, tango_bounds
from compress.statistics.bounded_mean import bounded_mean_bounds
from compress.statistics.ratios import log_ratio_bounds
from compress.timing.contest import LEAST_STARTS, MOST_STARTS, PRECISE

Values = NDArray[np.float64]

SAMPLES = (12, 48, 100, 300, 1000)
SHARES = (0.002, 0.005, 0.02, 0.05, 0.2)

#: What a sample that changes loses, ``(count, random) → (count,)``, and the mean of it.
LOSSES: dict[str, tuple[Callable[[int, np.random.Generator], Values], float]] = {
    "all": (lambda count, _: np.ones(count), 1.0),
    "little": (lambda count, random: random.uniform(0, 0.2, count), 0.1),
    "tail": (lambda count, random: random.beta(0.2, 1.8, count), 0.1),
}
#: Studentised bootstrap is slow: trials of it, at the most.
_MOST_BOOTSTRAPS = 200


def main() -> int:
    parts = {"drops": drops, "ratios": ratios}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=parts, nargs="*", default=list(parts))
    parser.add_argument("--trials", type=int, default=1000, help="simulated evaluations of each cell")
    options = parser.parse_args()
    for name in options.only:
        parts[name](options.trials)
    return 0


def drops(trials: int) -> None:
    """Return the rate at which the true drop is above its upper 95 % bound, in percent."""
    print(f"drops: misses of the upper 95 % bound in percent, {trials:,} simulated evaluations each")
    print(
        f"{'samples':>8} {'changed':>8} {'loss':>8} {'bound':>8} {'bootstrap before':>17} {'right/wrong':>12}"
    )
    worst = 0.0
    for n in SAMPLES:
        for share in SHARES:
            for name in LOSSES:
                missed, before, counted = _drop_cell(n, share, name, trials)
                worst = max(worst, missed)
                told = "" if counted is None else f"{100 * counted:12.1f}"
                print(
                    f"{n:8} {100 * share:7.1f}% {name:>8} {100 * missed:8.1f} {100 * before:17.1f} {told}",
                    flush=True,
                )
    print(
        f"worst cell: {100 * worst:.1f} % (5 % asked for; {trials:,} trials show 5 % as up to {_noise(trials):.1f} %)"
    )


def _drop_cell(n: int, share: float, name: str, trials: int) -> tuple[float, float, float | None]:
    random = np.random.default_rng([n, round(1e4 * share), len(name)])
    draw, mean = LOSSES[name]
    missed = before = counted = 0
    bootstraps = min(trials, _MOST_BOOTSTRAPS)
    for trial in range(trials):
        changed = random.random(n) < share
        losses = np.zeros(n)
        losses[changed] = draw(int(changed.sum()), random)
        missed += bounded_mean_bounds(losses, -1.0, 1.0, seed=trial).upper < share * mean
        if trial < bootstraps:
            before += paired_mean_difference_bounds(np.ones(n), 1 - losses, seed=trial).upper < share * mean
        counted += tango_bounds(int(changed.sum()), 0, n, 0.05).upper < share
    return missed / trials, before / bootstraps, counted / trials if name == "all" else None


def _noise(trials: int) -> float:
    """The share, in percent, that a true 5 % is seen as at the most, in 99 of 100 cells."""
    return float(100 * (0.05 + 2.33 * np.sqrt(0.05 * 0.95 / trials)))


def ratios(trials: int) -> None:
    """Return the rate at which the true ratio lies outside its interval, in percent, and the number of starts taken."""
    print(
        f"ratios: misses of the 95 % interval in percent (mean starts), {trials:,} simulated comparisons each"
    )
    deviations = (0.003, 0.01, 0.03, 0.1)
    print(f"{'law':>10} {'ratio':>6} " + "".join(f"{f'{100 * each:g} %':>14}" for each in deviations))
    for law in ("normal", "heavy"):
        for ratio in (1.0, 0.97, 0.9, 0.6):
            cells = [_ratio_cell(law, ratio, deviation, trials) for deviation in deviations]
            told = "".join(f"{f'{100 * missed:.1f} ({starts:.1f})':>14}" for missed, starts in cells)
            print(f"{law:>10} {ratio:6.2f} {told}", flush=True)


def _ratio_cell(law: str, ratio: float, deviation: float, trials: int) -> tuple[float, float]:
    random = np.random.default_rng([len(law), round(100 * ratio), round(1e4 * deviation)])
    missed = starts = 0
    for _ in range(trials):
        noise = (
            random.standard_normal(MOST_STARTS)
            if law == "normal"
            else random.standard_t(3, MOST_STARTS) / 3**0.5
        )
        seen = np.log(ratio) + deviation * noise
        taken = LEAST_STARTS
        while taken < MOST_STARTS and not _decided(seen[:taken]):
            taken += 1
        low, high = log_ratio_bounds(seen[:taken].tolist())
        missed += not low <= np.log(ratio) <= high
        starts += taken
    return missed / trials, starts / trials


def _decided(seen: Values) -> bool:
    """Whether no further start is taken: the build is slower than fp32, or faster by a ratio that is precise.

    The rule is that of :class:`compress.timing.contest.Contest`.
    """
    low, high = log_ratio_bounds(seen.tolist())
    return low > 0 or (high < 0 and high - float(seen.mean()) < np.log(PRECISE))


if __name__ == "__main__":
    sys.exit(main())
