"""The law of error over a network's size, fitted to small networks and applied to larger ones with its uncertainty.

    error(N) = E + A · N^-α        E ≥ 0, A ≥ 0, 0.02 ≤ α ≤ 4

N is the number of parameters: it is what the published laws are written in, it is known without running anything, and
within a family of widths multiply-accumulate operations are nearly proportional to it, which changes A alone.

The fit is weighted least squares. For a given α the law is linear in E and A, so α is searched on a grid and the rest
is solved; there is no starting value and no local minimum. Where the points scatter more than their own uncertainty
says (training has its luck, too), all are taken to be less certain by the same factor, Birge's ratio √(χ² / ν).

Bounds are those of the profile likelihood: the smallest and the largest prediction of all laws whose χ² is within q² of
the best, where q is the quantile of the normal distribution, or of Student's t where the scatter was estimated. So data
that do not tell α, such as a flat series, give wide bounds rather than false ones.

References: J. Hestness et al. 2017, 'Deep learning scaling is predictable, empirically', arXiv 1712.00409, for error
as a power law with a floor; J. Kaplan et al. 2020, arXiv 2001.08361, and J. Hoffmann et al. 2022, arXiv 2203.15556,
equation 2, for the form in parameters; R. T. Birge, 'The calculation of errors by the method of least squares',
Physical Review 40 (1932); D. J. Venzon, S. H. Moolgavkar, 'A method for computing profile-likelihood-based confidence
intervals', Applied Statistics 37 (1988).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError
from compress.statistics.bounds import Bounds, check_probability, normal_quantile
from compress.statistics.student_t import t_quantile

#: Smallest number of sizes that fits three unknowns.
LEAST_SIZES = 3

_EXPONENTS = np.geomspace(0.02, 4.0, 400)
_RISING = 0.01  # how often a family whose errors are all the same would be refused as rising

Array = NDArray[np.float64]


class Point(NamedTuple):
    """The error of one trained network.

    Attributes:
        size: Number of parameters N, > 0.
        error: Error as a share, ≥ 0.
        deviation: Standard error of ``error``, > 0.
    """

    size: float
    error: float
    deviation: float

    @classmethod
    def counted(cls, size: float, wrong: int, samples: int) -> Point:
        """Make a point from the number of wrong samples; its deviation is that of (k + 1) / (n + 2)."""
        share = (wrong + 1) / (samples + 2)
        return cls(size, wrong / samples, math.sqrt(share * (1 - share) / samples))


class Prediction(NamedTuple):
    """Prediction of the error of a newly trained network of some size.

    Attributes:
        error: Error that the law predicts.
        lower: Lower bound; each bound alone errs with probability (1 - level) / 2.
        upper: Upper bound, likewise.
    """

    error: float
    lower: float
    upper: float


@dataclass(frozen=True)
class ScalingLaw:
    """A fitted law; :func:`fit` makes one.

    Attributes:
        floor: Error E, below which no size goes.
        factor: Factor A.
        exponent: Exponent α; meaningless where A is 0.
        points: Points that it was fitted to.
        level: Coverage of all bounds, in (0, 1).
        scatter: Birge's ratio, ≥ 1: scatter of the points over their own uncertainty.
    """

    floor: float
    factor: float
    exponent: float
    points: tuple[Point, ...]
    level: float
    scatter: float

    def __call__(self, size: float) -> float:
        """Return the law's error at a size."""
        return float(self.floor + self.factor * size**-self.exponent)

    def bounds(self, size: float) -> Bounds:
        """Return the bounds of the law at a size, from 0 to 1; at infinity, of its floor."""
        lower, upper = _Sums(self.points).reach(size, self._limit())
        return Bounds(min(1.0, lower), min(1.0, upper))

    def predict(self, size: float) -> Prediction:
        """Predict the error of another network of this size, trained and judged as the points were.

        To the law's own uncertainty it adds that of one more point, taken from the largest size: errors fall with size,
        so this is not too small. Bounds are shares, from 0 to 1.
        """
        error, law = min(1.0, self(size)), self.bounds(size)
        largest = max(self.points, key=lambda point: point.size)
        alone = self._quantile() * self.scatter * largest.deviation
        return Prediction(
            error,
            max(0.0, error - math.hypot(error - law.lower, alone)),
            min(1.0, error + math.hypot(law.upper - error, alone)),
        )

    @property
    def freedom(self) -> int:
        """Number of points beyond the three that any law of this form fits; 0 means that its form is untested."""
        return len(self.points) - LEAST_SIZES

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        floor = self.bounds(math.inf)
        return {
            "floor": self.floor,
            "floor_bounds": list(floor),
            "factor": self.factor,
            "exponent": self.exponent,
            "level": self.level,
            "scatter": self.scatter,
            "points": [point._asdict() for point in self.points],
        }

    def _quantile(self) -> float:
        probability = (1 + self.level) / 2
        if self.scatter > 1:
            return t_quantile(probability, self.freedom)
        return normal_quantile(probability)

    def _limit(self) -> float:
        """Return the χ² up to which a law counts as possible."""
        best = sum(((point.error - self(point.size)) / point.deviation) ** 2 for point in self.points)
        return best + (self._quantile() * self.scatter) ** 2


def fit(points: Sequence[Point], level: float = 0.90) -> ScalingLaw:
    """Fit the law.

    Args:
        points: Points of at least three sizes; several points of one size tell how much training scatters.
        level: Coverage of the bounds, in (0, 1).

    Raises:
        DataError: There are fewer than three sizes, a number is out of its range, or errors rise with size.
        ValueError: ``level`` is out of its range.
    """
    check_probability("level", level)
    _check(points)
    sums = _Sums(points)
    floors, factors, misfits = sums.best()
    best = int(misfits.argmin())
    exponent = float(_EXPONENTS[best])
    freedom = len(points) - LEAST_SIZES
    scatter = math.sqrt(max(1.0, float(misfits[best]) / freedom)) if freedom else 1.0
    factor = float(factors[best]) * sums.reference**exponent
    return ScalingLaw(float(floors[best]), factor, exponent, tuple(points), level, scatter)


def _check(points: Sequence[Point]) -> None:
    for point in points:
        size, error, deviation = point
        if not (0 < size < math.inf and 0 <= error <= 1 and 0 < deviation < math.inf):
            raise DataError(
                "a size above 0, an error from 0 to 1 and its deviation above 0", f"{point}", "correct it"
            )
    sizes = len({point.size for point in points})
    if sizes < LEAST_SIZES:
        raise DataError(
            f"networks of at least {LEAST_SIZES} sizes to fit a scaling law", str(sizes), "train more widths"
        )
    slope, deviation = _slope(points)
    if slope > normal_quantile(1 - _RISING) * deviation:
        raise DataError(
            "errors that fall as networks grow",
            "errors that rise, from " + " to ".join(f"{_error_of(points, end):.1%}" for end in (min, max)),
            "train longer: the larger ones are not done; or at a lower learning rate",
        )


def _error_of(points: Sequence[Point], end: Any) -> float:
    """Return the error of the smallest or of the largest network."""
    chosen: Point = end(points, key=lambda point: point.size)
    return chosen.error


def _slope(points: Sequence[Point]) -> tuple[float, float]:
    """Return the slope of a line through error over log N, and its standard error, scatter included."""
    sizes, errors, deviations = (np.array(column) for column in zip(*points, strict=True))
    weights = deviations**-2.0
    x = np.log(sizes) - np.average(np.log(sizes), weights=weights)
    spread = float((weights * x**2).sum())
    slope = float((weights * x * errors).sum()) / spread
    misfit = float((weights * (errors - np.average(errors, weights=weights) - slope * x) ** 2).sum())
    return slope, math.sqrt(max(1.0, misfit / (len(points) - 2)) / spread)


class _Sums:
    """χ² of the laws E + A · (N / reference)^-α as a quadratic form in (E, A), for every α of the grid.

        χ² = total - 2 (b · θ) + θ · M θ,  θ = (E, A)

    Attributes:
        reference: Geometric mean of the sizes, which keeps M well-conditioned.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        sizes, errors, deviations = (
            np.array(column, dtype=np.float64) for column in zip(*points, strict=True)
        )
        self.reference = float(np.exp(np.log(sizes).mean()))
        weights = deviations**-2
        powers = (sizes / self.reference) ** -_EXPONENTS[:, None]  # (exponents, points)
        self._m00 = np.full(len(_EXPONENTS), weights.sum())
        self._m01, self._m11 = (powers * weights).sum(1), (powers**2 * weights).sum(1)
        self._b0 = np.full(len(_EXPONENTS), (weights * errors).sum())
        self._b1 = (powers * weights * errors).sum(1)
        self._total = float((weights * errors**2).sum())

    def best(self) -> tuple[Array, Array, Array]:
        """Return E ≥ 0, A ≥ 0 and χ² of the best law for every α."""
        zero = np.zeros(len(_EXPONENTS))
        inside = self._unconstrained()
        candidates = [(self._b0 / self._m00, zero), (zero, self._b1 / self._m11), inside]
        misfits = np.stack([self._misfit(*candidate) for candidate in candidates])
        misfits[2, (inside[0] < 0) | (inside[1] < 0)] = np.inf
        chosen = misfits.argmin(0), np.arange(len(_EXPONENTS))
        floors, factors = (np.stack(parts)[chosen] for parts in zip(*candidates, strict=True))
        return floors, factors, misfits[chosen]

    def reach(self, size: float, limit: float) -> tuple[float, float]:
        """Return the smallest and the largest E + A · (size / reference)^-α of all laws with χ² ≤ limit.

        For each α these laws are an ellipse in the plane of E and A, cut by E ≥ 0 and A ≥ 0; a linear function has
        its extremes where the ellipse does, or on the cuts.
        """
        power = np.zeros(len(_EXPONENTS)) if math.isinf(size) else (size / self.reference) ** -_EXPONENTS
        values = [
            *self._ellipse_extremes(power, limit),
            *self._axis_extremes(self._m00, self._b0, np.ones_like(power), limit),
            *self._axis_extremes(self._m11, self._b1, power, limit),
        ]
        reached = np.concatenate(values)
        return float(np.nanmin(reached)), float(np.nanmax(reached))

    def _ellipse_extremes(self, power: Array, limit: float) -> list[Array]:
        floors, factors = self._unconstrained()
        slack = limit - self._misfit(floors, factors)
        determinant = self._m00 * self._m11 - self._m01**2
        along0 = (self._m11 - self._m01 * power) / determinant  # M⁻¹ (1, power)
        along1 = (self._m00 * power - self._m01) / determinant
        with np.errstate(invalid="ignore"):
            step = np.sqrt(slack / (along0 + along1 * power))
        extremes = []
        for sign in (-1, 1):
            e, a = floors + sign * step * along0, factors + sign * step * along1
            extremes.append(np.where((e >= 0) & (a >= 0), e + a * power, np.nan))
        return extremes

    def _axis_extremes(self, m: Array, b: Array, unit: Array, limit: float) -> list[Array]:
        """Return the extremes where one of E and A is 0 and the other is t: total - 2bt + mt² ≤ limit, t ≥ 0."""
        with np.errstate(invalid="ignore"):
            root = np.sqrt(b**2 - m * (self._total - limit))
        upper = np.where(b + root >= 0, (b + root) / m, np.nan)
        lower = np.where(np.isnan(upper), np.nan, np.maximum(0.0, (b - root) / m))
        return [lower * unit, upper * unit]

    def _unconstrained(self) -> tuple[Array, Array]:
        determinant = self._m00 * self._m11 - self._m01**2
        return (
            (self._m11 * self._b0 - self._m01 * self._b1) / determinant,
            (self._m00 * self._b1 - self._m01 * self._b0) / determinant,
        )

    def _misfit(self, e: Array, a: Array) -> Array:
        misfit: Array = (
            self._total
            - 2 * (self._b0 * e + self._b1 * a)
            + self._m00 * e**2
            + 2 * self._m01 * e * a
            + self._m11 * a**2
        )
        return misfit
