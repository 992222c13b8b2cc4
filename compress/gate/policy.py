"""The policy of a gate: its checks and their margins, in Python, or as ``gate.toml``.

checks = ["accuracy", "latency", "size", "slices", "churn"]
max_drop_points = 0.5
max_slowdown_percent = 3.0
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

from compress.core.toml_schema import Field, List, Number, Text, check, read_toml
from compress.errors import UsageError

#: Every check there is, in the order in which they are made.
CHECKS = (
    "accuracy",
    "slices",
    "churn",
    "calibration",
    "corruptions",
    "latency",
    "p99",
    "size",
    "memory",
    "energy",
    "coverage",
)

_MOST = 10_000


@dataclass(frozen=True)
class GatePolicy:
    """The checks that a candidate is put to, and the margins it is held to.

    Attributes:
        max_drop_points: Accuracy drop allowed, in absolute points.
        max_slowdown_percent: Rise of the median latency allowed, in percent.
        max_drift_percent: Drift of this machine's own medians from day to day, in percent; widens the bounds of a
            latency against a recorded profile, which cannot be paired.
        alpha: One-sided error probability of each check, in (0, 0.5).
        looks: Numbers of rounds after which latency is judged; ``alpha`` is split evenly across them.
        checks: Names of the checks that are made.
        max_slice_drop_points: Accuracy drop allowed in each slice, in points.
        slice_correction: Method to share the error among slices: "holm" or "bonferroni".
        undecided_slices: Whether a slice too small to decide is only named ("report") or makes the gate
            "inconclusive".
        repeated_samples: Whether samples with the same inputs and targets count "once", or "each" of them, as where
            they are draws of their own and no copies.
        max_churn_percent: Share of samples whose outcome may change, in percent.
        max_calibration_rise_points: Rise of the expected calibration error allowed, in percentage points.
        max_corruption_drop_points: Accuracy drop allowed under each corruption of the inputs, in points.
        max_p99_slowdown_percent: Rise of the p99 latency allowed, in percent.
        max_size_growth_percent: Growth of the artifact's bytes allowed, in percent.
        max_memory_growth_percent: Growth of the peak memory allowed, in percent.
        max_energy_growth_percent: Growth of the energy of a call allowed, in percent.
        max_coverage_fall_points: Fall of the share of multiply-accumulates in int8 allowed, in percentage points.

    Raises:
        UsageError: A field is of the wrong type or out of its range.
    """

    max_drop_points: float = 1.0
    max_slowdown_percent: float = 2.0
    max_drift_percent: float = 50.0
    alpha: float = 0.05
    looks: tuple[int, ...] = (7, 10, 16, 30)
    checks: tuple[str, ...] = ("accuracy", "slices", "latency", "size")
    max_slice_drop_points: float = 5.0
    slice_correction: str = "holm"
    undecided_slices: str = "report"
    repeated_samples: str = "once"
    max_churn_percent: float = 5.0
    max_calibration_rise_points: float = 2.0
    max_corruption_drop_points: float = 3.0
    max_p99_slowdown_percent: float = 10.0
    max_size_growth_percent: float = 5.0
    max_memory_growth_percent: float = 10.0
    max_energy_growth_percent: float = 5.0
    max_coverage_fall_points: float = 1.0

    def __post_init__(self) -> None:
        check(vars(self), _FIELDS, "the policy", UsageError)
        if any(later <= earlier for earlier, later in pairwise(self.looks)):
            raise UsageError(
                "looks that rise", str(list(self.looks)), "give numbers of rounds in rising order"
            )

    def to_dict(self) -> dict[str, object]:
        """Return a dict that JSON can hold."""
        return {
            field.name: list(value) if isinstance(value := getattr(self, field.name), tuple) else value
            for field in fields(self)
        }


def load_policy(path: Path) -> GatePolicy:
    """Read ``gate.toml``; keys that are absent keep their defaults.

    Raises:
        UsageError: The file cannot be read, has an unknown key, or a value of the wrong type or out of range.
    """
    return GatePolicy(**check(read_toml(path, UsageError), _FIELDS, str(path), UsageError))


def policy_of(given: GatePolicy | str | os.PathLike[str] | None) -> GatePolicy:
    """Return the policy that a caller gave.

    Args:
        given: The policy, or the path of its file; None stands for the default policy, and an empty path does not.

    Raises:
        UsageError: The path is empty, or the file cannot be used.
    """
    if given is None:
        return GatePolicy()
    if isinstance(given, GatePolicy):
        return given
    if not os.fspath(given):
        raise UsageError(
            "the path of a policy file",
            "an empty one",
            "name the file, or leave the policy out for the default one",
        )
    return load_policy(Path(given))


_FIELDS: Mapping[str, Field] = {
    "checks": List(Text(CHECKS), shortest=1, longest=len(CHECKS)),
    "alpha": Number("", 1e-6, 0.49),
    "looks": List(Number("rounds", 1, 10_000, whole=True), shortest=1, longest=20),
    "max_drop_points": Number("points", 0, _MOST),
    "max_slice_drop_points": Number("points", 0, _MOST),
    "slice_correction": Text(("holm", "bonferroni")),
    "undecided_slices": Text(("report", "inconclusive")),
    "repeated_samples": Text(("once", "each")),
    "max_churn_percent": Number("percent", 0, 100),
    "max_calibration_rise_points": Number("points", 0, 100),
    "max_corruption_drop_points": Number("points", 0, _MOST),
    "max_slowdown_percent": Number("percent", 0, _MOST),
    "max_drift_percent": Number("percent", 0, _MOST),
    "max_p99_slowdown_percent": Number("percent", 0, _MOST),
    "max_size_growth_percent": Number("percent", 0, _MOST),
    "max_memory_growth_percent": Number("percent", 0, _MOST),
    "max_energy_growth_percent": Number("percent", 0, _MOST),
    "max_coverage_fall_points": Number("points", 0, 100),
}
