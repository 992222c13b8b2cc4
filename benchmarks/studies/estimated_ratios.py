"""Ratios of two builds by estimate, held against the published latencies of such pairs, and what they would ship.

    python -m benchmarks run estimated_ratios

A pair is one network on one device at one batch size in two precisions; "same" is two networks of one architecture in
one precision whose operations differ by a factor of at most 2, as a pruned build's and its original's do. Errors are of
coefficients fitted without the network, the device, or the architecture of the pair. The interval of a kind of pair
comes from the last; how often it holds is counted, for each network, with the interval that the other networks give.

A choice is wrong where the build that is estimated as faster was measured as no faster. "By 5 %" decides where the
estimates are 5 % apart; "by interval" where the whole interval of the ratio is on one side of 1, and leaves the others
to the board. Against fp32 the first rule decides: it was wrong of none of these pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import results
from benchmarks.data.published.points import Point, layers_of, points

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

#: The narrower precision first.
KINDS = (("int8", "fp16"), ("fp16", "fp32"), ("int8", "fp32"))
SAME = "same"
#: Share of the fitted pairs between whose errors an interval lies; of other networks' pairs it holds fewer.
SHARE = 0.9
#: What is held out of the fit for the interval: the pair's device stays, as most of what is wrong in both cancels out.
HELD_OUT = "architecture"
#: Factor of the operations up to which one network stands for a pruned build of the other.
_MOST_REMOVED = 2.0
#: Distance from 1 within which an estimated ratio decided nothing before.
_TIE = 0.05


@dataclass(frozen=True)
class Pairs:
    """Pairs of one kind.

    Attributes:
        first: Index of each pair's first point, ``(n,)``.
        second: Index of its second point, ``(n,)``.
        measured: Logarithm of the measured ratio of their times, ``(n,)``.
        names: Network of each pair, ``(n,)``: of its first point.
    """

    first: Integers
    second: Integers
    measured: Array
    names: NDArray[np.str_]

    def errors(self, of_points: Array) -> Array:
        """Return the error of each estimated ratio, as a logarithm, from those of the points."""
        errors: Array = of_points[self.first] - of_points[self.second]
        return errors


def pairs(used: Sequence[Point]) -> dict[str, Pairs]:
    """Return the pairs of published points, by kind: ``int8/fp16``, ``fp16/fp32``, ``int8/fp32`` and ``same``."""
    kinds = [*(f"{narrow}/{wide}" for narrow, wide in KINDS), SAME]
    found: dict[str, list[tuple[int, int]]] = {kind: [] for kind in kinds}
    for settings in _grouped(
        used, lambda point: (point.device, point.target.name, point.network, point.batch)
    ):
        for narrow, wide in KINDS:
            found[f"{narrow}/{wide}"] += [
                (first, second)
                for first in settings
                for second in settings
                if (used[first].precision, used[second].precision) == (narrow, wide)
                and used[first].source == used[second].source
            ][:1]
    for relatives in _grouped(
        used,
        lambda point: (
            point.device,
            point.target.name,
            point.architecture,
            point.batch,
            point.precision,
            point.source,
        ),
    ):
        found[SAME] += [
            (first, second)
            for position, first in enumerate(relatives)
            for second in relatives[position + 1 :]
            if used[first].same_network != used[second].same_network
            and abs(np.log(_macs(used[first]) / _macs(used[second]))) <= np.log(_MOST_REMOVED)
        ]
    found[SAME] += [
        (second, first) for first, second in found[SAME]
    ]  # which of them is the smaller is arbitrary
    return {kind: _as_pairs(used, indices) for kind, indices in found.items()}


def ratio_table(used: Sequence[Point], errors: Mapping[str, Array]) -> dict[str, Any]:
    """Return the interval of each kind of pair and how it was found, as ``efficiency.toml`` holds them.

    Args:
        used: Published points.
        errors: Error of each point as a logarithm, by what was held out with it.
    """
    table: dict[str, Any] = {}
    for kind, members in pairs(used).items():
        held_out = members.errors(errors[HELD_OUT])
        table[kind] = {
            "pairs": len(members.first),
            "interval": [_rounded(end) for end in np.exp(_ends(held_out, members.names))],
            "median_error": {
                name: _rounded(float(np.median(np.abs(np.expm1(members.errors(errors[name]))))))
                for name in ("network", "architecture", "architecture_and_device")
            },
            "inside": _rounded(float(_inside(held_out, members.names).mean())),
        }
    return table


def shipped(members: Pairs, errors: Array) -> dict[str, int]:
    """Return how many pairs each rule decides, and how many of these decisions are wrong.

    Args:
        members: Pairs of one kind.
        errors: Error of each point, as a logarithm.
    """
    held_out = members.errors(errors)
    estimated = held_out + members.measured
    before = np.abs(estimated) >= -np.log(1 - _TIE)
    now = np.zeros(len(estimated), dtype=bool)
    for name in set(members.names.tolist()):
        own = members.names == name
        low, high = _ends(held_out[~own], members.names[~own])
        now[own] = (estimated[own] + high < 0) | (estimated[own] + low > 0)
    wrong = np.sign(estimated) != np.sign(members.measured)
    return {
        "pairs": len(estimated),
        "by 5 %": int(before.sum()),
        "wrong by 5 %": int((before & wrong).sum()),
        "by interval": int(now.sum()),
        "wrong by interval": int((now & wrong).sum()),
    }


def _macs(point: Point) -> int:
    return sum(layer.macs for layer in layers_of(point))


def _grouped(used: Sequence[Point], key: Any) -> Iterator[list[int]]:
    groups: dict[Any, list[int]] = defaultdict(list)
    for index, point in enumerate(used):
        groups[key(point)].append(index)
    yield from groups.values()


def _as_pairs(used: Sequence[Point], indices: Sequence[tuple[int, int]]) -> Pairs:
    first, second = np.array(indices, dtype=np.int64).T
    log_ms = np.log([point.ms for point in used])
    names = np.array([used[index].same_network for index in first])
    return Pairs(first, second, log_ms[first] - log_ms[second], names)


def _ends(errors: Array, names: NDArray[np.str_]) -> tuple[float, float]:
    """Return what is to be added to an estimated logarithm: weighted quantiles of measured over estimated."""
    counts = {name: int((names == name).sum()) for name in set(names.tolist())}
    weight = np.array([counts[name] ** -0.5 for name in names.tolist()])
    order = np.argsort(-errors)
    below = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
    low, high = np.interp([(1 - SHARE) / 2, (1 + SHARE) / 2], below, -errors[order])
    return float(low), float(high)


def _inside(errors: Array, names: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return for each pair whether it is inside the interval that all other networks give."""
    inside = np.zeros(len(errors), dtype=bool)
    for name in set(names.tolist()):
        own = names == name
        low, high = _ends(errors[~own], names[~own])
        inside[own] = (-errors[own] >= low) & (-errors[own] <= high)
    return inside


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def main() -> None:
    """Print the table."""
    from benchmarks.studies.fit_estimator import Design, held_out_errors

    used = points()
    design = Design(used)
    errors = held_out_errors(design, design.fit(np.ones(len(used), dtype=bool)))
    errors["device"] = design.held_out(
        design.fit(np.ones(len(used), dtype=bool)), lambda point: (point.target.name,)
    )
    table = ratio_table(used, errors)
    print("kind        pairs  error held out by network / device / architecture  interval      holds")
    for kind, members in pairs(used).items():
        shown = [
            f"{100 * float(np.median(np.abs(np.expm1(members.errors(errors[name]))))):.0f} %"
            for name in ("network", "device", HELD_OUT)
        ]
        low, high = table[kind]["interval"]
        print(
            f"{kind:11} {len(members.first):5}  {' / '.join(shown):49} {low:.2f} to {high:.2f}   "
            f"{100 * table[kind]['inside']:.0f} %"
        )
    print("\nkind        pairs  decided by 5 % (wrong)  by interval (wrong)")
    rows = []
    for kind, members in pairs(used).items():
        counted = shipped(members, errors[HELD_OUT])
        rows.append({"kind": kind, **counted})
        print(
            f"{kind:11} {counted['pairs']:5}  {counted['by 5 %']:14} ({counted['wrong by 5 %']})     "
            f"{counted['by interval']:12} ({counted['wrong by interval']})"
        )
    results.record("ratios", rows)


if __name__ == "__main__":
    main()
