"""Fit the roofline's efficiencies on published latencies, and hold them against points they were not fitted to.

    python -m benchmarks run fit_estimator          # prints the figures
    python -m benchmarks run fit_estimator --write  # and writes compress/profiling/efficiency.toml

The model is :mod:`compress.profiling.roofline`'s; its coefficients are the exponentials of what is fitted:

* an efficiency for each class of operators and precision, and of the memory for each class, shared by all devices;
* a launch time for each GPU generation;
* a factor on the time of each device: clocks and power budgets that its data sheet does not tell.

Fitted is the logarithm of the latency, by Gauss-Newton steps on a pseudo-Huber loss (Charbonnier et al. 1997) with
Gaussian priors, so that a generation or device with few points stays near the others. A network's points on one
device weigh as much as the square root of their number: 32 batch sizes are not 32 networks.

Held out are, in turn, every network; every architecture with all its relatives; and every architecture together
with every device. The interval is taken from the second, and for a target that was never measured from the third:
the network of a user is none of these. Its coverage is counted, for each architecture, with the interval that the
others' errors give; the quantiles are moved outwards until nine points of ten are inside in every device family.
Ratios of two builds have intervals of their own (:mod:`benchmarks.studies.estimated_ratios`).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from benchmarks.data.published.points import Point, layers_of, left_out, points
from benchmarks.studies.estimated_ratios import ratio_table
from compress.profiling.efficiency import KINDS, PRECISIONS, PRIOR
from compress.profiling.roofline import peak

WRITTEN = Path(__file__).parents[2] / "compress" / "profiling" / "efficiency.toml"

#: Share of points that the interval shall hold.
LEVEL = 0.9

#: Error, as a logarithm, from which on a point counts less than its square.
_ROBUST_FROM = 0.15

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Names = NDArray[np.str_]


@dataclass(frozen=True)
class Coefficient:
    """Something to fit: the logarithm starts at ``prior`` and is held there with this standard deviation."""

    kind: str
    key: str
    prior: float
    deviation: float


class Design:
    """The points as arrays over their layers, equal layers of a network counted once.

    Args:
        used: Published points.
    """

    def __init__(self, used: Sequence[Point]) -> None:
        self.points = used
        self.log_ms = np.log([point.ms for point in used])
        self.coefficients: list[Coefficient] = []
        positions: dict[tuple[str, str], int] = {}

        def position(kind: str, key: str, prior: float, deviation: float) -> int:
            if (kind, key) not in positions:
                positions[kind, key] = len(self.coefficients)
                self.coefficients.append(Coefficient(kind, key, float(np.log(prior)), deviation))
            return positions[kind, key]

        rows, indices, devices = [], [], []
        for index, point in enumerate(used):
            counted: Counter[tuple[float, float, str, str]] = Counter()
            for layer in layers_of(point):
                precision, rate = peak(layer.precision, point.target)
                memory_ms = layer.bytes / point.target.bandwidth_gb_s / 1e6
                counted[2 * layer.macs / rate / 1e9, memory_ms, KINDS[layer.kind], precision] += 1
            generation = point.target.compute_capability or ""
            launch = position("launch", "", PRIOR["launch"], 1.0)
            faster = position("launch", generation, 1.0, 1.0)
            for (compute, memory, kind, precision), count in counted.items():
                arithmetic = launch  # of no consequence without MACs
                if compute:
                    arithmetic = position("compute", f"{kind} {precision}", PRIOR[kind], 1.0)
                bandwidth = position("bandwidth", kind, PRIOR["bandwidth"], 0.7)
                rows.append((index, count, compute, memory))
                indices.append((arithmetic, bandwidth, launch, faster))
            devices.append(position("time", point.target.name, 1.0, 0.5))
        columns = np.array(rows, dtype=np.float64).T
        self.point, (self.count, self.compute, self.memory) = columns[0].astype(np.int64), columns[1:]
        self.index: Integers = np.array(indices, dtype=np.int64).T
        self.device: Integers = np.array(devices, dtype=np.int64)
        self.prior = np.array([each.prior for each in self.coefficients])
        self.deviation = np.array([each.deviation for each in self.coefficients])
        together = Counter((point.network, point.target.name) for point in used)
        self.weight = np.array([together[point.network, point.target.name] ** -1.0 for point in used])

    def estimate(self, fitted: Array) -> tuple[Array, Array]:
        """Logarithms of the estimated milliseconds [points], and their derivatives [points, coefficients]."""
        arithmetic, bandwidth, launch, faster = self.index
        compute = self.compute * np.exp(-fitted[arithmetic])
        memory = self.memory * np.exp(-fitted[bandwidth])
        start = np.exp(fitted[launch] + fitted[faster])
        size, width = len(self.points), len(fitted)
        total = np.bincount(self.point, self.count * (np.maximum(compute, memory) + start), size)
        share, bound = self.count / total[self.point], compute >= memory
        flat = np.zeros(size * width)
        for column, slope in (
            (arithmetic, -compute * bound),
            (bandwidth, -memory * ~bound),
            (launch, start),
            (faster, start),
        ):
            flat += np.bincount(self.point * width + column, share * slope, size * width)
        slopes = flat.reshape(size, width)
        slopes[np.arange(size), self.device] += 1
        return np.log(total) + fitted[self.device], slopes

    def fit(self, kept: NDArray[np.bool_], start: Array | None = None, steps: int = 25) -> Array:
        """Coefficients fitted on the points that are kept."""
        fitted = self.prior.copy() if start is None else start.copy()
        for _ in range(steps):
            estimated, slopes = self.estimate(fitted)
            error, slopes = (estimated - self.log_ms)[kept], slopes[kept]
            weight = self.weight[kept] / np.sqrt(1 + (error / _ROBUST_FROM) ** 2) / _ROBUST_FROM**2
            curvature = slopes.T @ (slopes * weight[:, None]) + np.diag(self.deviation**-2)
            gradient = slopes.T @ (weight * error) + (fitted - self.prior) * self.deviation**-2
            step = np.clip(-np.linalg.solve(curvature, gradient), -0.5, 0.5)
            fitted += step
            if np.abs(step).max() < 1e-3:
                break
        return fitted

    def held_out(self, start: Array, group: Callable[[Point], tuple[str, ...]]) -> Array:
        """Error of each point, as a logarithm, from the points that share nothing with it.

        Args:
            start: Starting point of each fit.
            group: Points that are held out with a point: all points with which it has an entry in common.
        """
        names = [group(point) for point in self.points]
        errors = np.zeros(len(self.points))
        for name in sorted(set(names)):
            tested = np.array([other == name for other in names])
            near = np.array([any(a == b for a, b in zip(other, name, strict=True)) for other in names])
            fitted = self.fit(~near, start, steps=8)
            errors[tested] = (self.estimate(fitted)[0] - self.log_ms)[tested]
        return errors


def run() -> dict[str, Any]:
    """The fit and its figures, as ``efficiency.toml`` holds them; no date."""
    design = Design(points())
    fitted = design.fit(np.ones(len(design.points), dtype=bool))
    errors = held_out_errors(design, fitted)
    families = np.array([point.target.family for point in design.points])
    names = np.array([point.architecture for point in design.points])
    table: dict[str, Any] = {"points": len(design.points), "left_out": left_out()}
    table |= _coefficients(design, fitted)
    measured, unmeasured = errors["architecture"], errors["architecture_and_device"]
    shares = [_share(each, names, families) for each in (measured, unmeasured)]
    table["interval"] = {
        "level": LEVEL,
        "quantile_shares": shares,
        "measured": _interval(measured, names, shares[0]),
        "unmeasured": _interval(unmeasured, names, shares[1]),
    }
    table["ratio"] = ratio_table(design.points, errors)
    inside = {
        "network": _inside(errors["network"], measured, names, shares[0]),
        "architecture": _inside(measured, measured, names, shares[0]),
        "architecture_and_device": _inside(unmeasured, unmeasured, names, shares[1]),
    }
    for family in sorted(set(families)):
        of = families == family
        here = [point for point, within in zip(design.points, of, strict=True) if within]
        table.setdefault("validation", {})[family] = {
            "points": len(here),
            "networks": len({point.same_network for point in here}),
            "devices": len({point.target.name for point in here}),
            "median_error": {name: _rounded(np.median(_relative(each[of]))) for name, each in errors.items()},
            "inside": {name: _rounded(each[of].mean()) for name, each in inside.items()},
        }
    return table


def held_out_errors(design: Design, fitted: Array) -> dict[str, Array]:
    """Return the error of each point, as a logarithm, by what was held out with it."""
    return {
        "fitted": design.estimate(fitted)[0] - design.log_ms,
        "network": design.held_out(fitted, lambda point: (point.same_network,)),
        "architecture": design.held_out(fitted, lambda point: (point.architecture,)),
        "architecture_and_device": design.held_out(
            fitted, lambda point: (point.architecture, point.target.name)
        ),
    }


def _coefficients(design: Design, fitted: Array) -> dict[str, Any]:
    compute: dict[str, dict[str, float]] = {}
    bandwidth: dict[str, float] = {}
    launch: dict[str, float] = {}
    times: dict[str, float] = {}
    general = 0.0
    for coefficient, value in zip(design.coefficients, np.exp(fitted), strict=True):
        match coefficient.kind:
            case "compute":
                kind, _, precision = coefficient.key.rpartition(" ")
                compute.setdefault(kind, {})[precision] = _rounded(value)
            case "bandwidth":
                bandwidth[coefficient.key] = _rounded(value)
            case "time":
                times[coefficient.key] = _rounded(value)
            case "launch" if not coefficient.key:
                general = 1e3 * float(value)
            case "launch":
                launch[coefficient.key] = _rounded(general * value)
    return {
        "compute": {
            kind: {name: compute[kind][name] for name in PRECISIONS if name in compute[kind]}
            for kind in sorted(compute)
        },
        "bandwidth": dict(sorted(bandwidth.items())),
        "launch_us": dict(sorted(launch.items())),
        "time_factor": dict(sorted(times.items())),
    }


def _interval(errors: Array, names: Names, share: float) -> list[float]:
    """Factors on an estimate between which the latency is expected: weighted quantiles of measured over estimated."""
    ratios, weight = np.exp(-errors), _weights(names)
    order = np.argsort(ratios)
    below = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
    return [_rounded(np.interp(end, below, ratios[order])) for end in ((1 - share) / 2, (1 + share) / 2)]


def _inside(errors: Array, calibration: Array, names: Names, share: float) -> NDArray[np.bool_]:
    """Return for each point whether it is inside the interval that all other architectures' errors give."""
    inside = np.zeros(len(errors), dtype=bool)
    for name in set(names):
        own = names == name
        low, high = _interval(calibration[~own], names[~own], share)
        ratios = np.exp(-errors[own])
        inside[own] = (ratios >= low) & (ratios <= high)
    return inside


def _share(errors: Array, names: Names, families: Names) -> float:
    """Between which quantiles the interval must lie to hold its level: wider, since few architectures are known."""
    for share in np.arange(LEVEL, 1.0, 0.01):
        inside = _inside(errors, errors, names, share)
        if all(inside[families == family].mean() >= LEVEL for family in set(families)):
            break
    return _rounded(share)


def _weights(names: Names) -> Array:
    """An architecture counts as the square root of its points."""
    counts = Counter(names.tolist())
    return np.array([counts[name] ** -0.5 for name in names.tolist()])


def _relative(errors: Array) -> Array:
    return np.abs(np.expm1(errors))


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def main() -> None:
    """Fit, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {WRITTEN.name}")
    arguments = parser.parse_args()
    table = run()
    text = tomli_w.dumps({"date": date.today().isoformat(), **table})
    print(text)
    if arguments.write:
        heading = "# Written by benchmarks/studies/fit_estimator.py, which says what they are; do not edit by hand.\n"
        WRITTEN.write_text(heading + text, encoding="utf-8")


if __name__ == "__main__":
    main()
