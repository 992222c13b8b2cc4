from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import DataError
from compress.students.scaling_law import Point, ScalingLaw, fit

SIZES = np.array([4_700.0, 10_500.0, 18_500.0, 41_000.0])
LARGER = 164_000.0


def points(errors: list[float], deviation: float = 0.005, sizes: np.ndarray = SIZES) -> list[Point]:
    return [Point(size, error, deviation) for size, error in zip(sizes, errors, strict=True)]


def exact(floor: float, first: float, exponent: float) -> list[Point]:
    """On the law, with the error above the floor at the smallest size."""
    return points([floor + first * (size / SIZES[0]) ** -exponent for size in SIZES])


def drawn(random: np.random.Generator, law, scatter: float, samples: int, runs: int) -> list[Point]:
    sizes = np.repeat(SIZES, runs)
    shares = np.clip(law(sizes) + random.normal(0, scatter, len(sizes)), 0, 1)
    return [
        Point.counted(size, int(wrong), samples)
        for size, wrong in zip(sizes, random.binomial(samples, shares), strict=True)
    ]


class TestFit:
    @settings(max_examples=30)
    @given(st.floats(0, 0.3), st.floats(0.05, 0.4), st.floats(0.1, 1.5))
    def test_a_law_without_noise_is_found_again(self, floor, first, exponent):
        law = fit(exact(floor, first, exponent))
        assert law.exponent == pytest.approx(exponent, rel=0.02)
        assert law.floor == pytest.approx(floor, abs=0.02)
        truth = floor + first * (LARGER / SIZES[0]) ** -exponent
        assert law(LARGER) == pytest.approx(truth, abs=0.003)
        assert law.scatter == 1

    @settings(max_examples=50)
    @given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
    def test_predictions_fall_with_size_and_stay_inside_their_bounds(self, errors):
        try:
            law = fit(points(sorted(errors, reverse=True)))
        except DataError:
            pytest.fail("errors that fall are refused")
        told = [law.predict(size) for size in np.geomspace(1e3, 1e7, 30)]
        for column in zip(*told, strict=True):
            assert all(later <= earlier + 1e-9 for earlier, later in pairwise(column))
        assert all(0 <= each.lower <= each.error + 1e-9 <= each.upper + 2e-9 <= 1 + 2e-9 for each in told)

    def test_the_bounds_are_those_of_every_law_that_fits(self):
        law = fit(points([0.30, 0.22, 0.18, 0.14]))
        lower, upper = law.bounds(LARGER)
        limit = 1.6449**2 + misfit(law, law.floor, law.factor, law.exponent)
        random, count = np.random.default_rng(0), 1_000_000
        exponents = np.exp(random.uniform(math.log(0.02), math.log(4), count))
        floors, firsts = random.uniform(0, 0.16, count), random.uniform(0.1, 0.35, count)
        factors = firsts * SIZES[0] ** exponents
        drawn_laws = floors + factors * LARGER**-exponents
        possible = drawn_laws[misfit(law, floors, factors, exponents) <= limit]
        assert len(possible) > 100
        assert lower - 1e-6 <= possible.min() < lower + 0.01
        assert upper - 0.01 < possible.max() <= upper + 1e-6

    @pytest.mark.parametrize(
        "floor, factor, exponent, scatter, runs",
        [
            (0.06, 4.0, 0.4, 0.0, 1),
            (0.06, 4.0, 0.4, 0.01, 2),
            (0.0, 1.0, 0.2, 0.0, 2),
            (0.1, 0.0, 0.4, 0.005, 2),
        ],
    )
    def test_ninety_of_a_hundred_intervals_hold_what_is_measured(
        self, floor, factor, exponent, scatter, runs
    ):
        def law(size):
            return floor + factor * size**-exponent

        random, samples, trials = np.random.default_rng(1), 4000, 300
        inside = told = above = 0
        for _ in range(trials):
            try:
                predicted = fit(drawn(random, law, scatter, samples, runs)).predict(LARGER)
            except DataError:
                continue  # A flat family looks as if it rose, now and then.
            share = np.clip(law(LARGER) + random.normal(0, scatter), 0, 1)
            found = random.binomial(samples, share) / samples
            told += 1
            inside += predicted.lower <= found <= predicted.upper
            above += found > predicted.upper
        assert told > 0.9 * trials
        assert inside / told > 0.86
        assert above / told < 0.09  # each side errs in 5 of 100

    def test_points_that_scatter_widen_the_bounds(self):
        calm, wild = ([0.20, 0.20, 0.15, 0.15, 0.13, 0.13], [0.17, 0.23, 0.12, 0.18, 0.16, 0.10])
        sizes = np.repeat(SIZES[:3], 2)
        widths = []
        for errors in (calm, wild):
            law = fit(points(errors, sizes=sizes))
            widths.append(law.predict(LARGER).upper - law.predict(LARGER).lower)
        assert law.scatter > 3
        assert widths[1] > 3 * widths[0]


def misfit(law: ScalingLaw, floor, factor, exponent):
    return sum(
        ((point.error - floor - factor * point.size**-exponent) / point.deviation) ** 2
        for point in law.points
    )


class TestWhatTellsLittle:
    def test_a_flat_family_is_told_flat(self):
        law = fit(points([0.1, 0.1, 0.1, 0.1]))
        predicted = law.predict(LARGER)
        assert predicted.error == pytest.approx(0.1, abs=1e-6)
        assert predicted.lower < 0.098
        assert 0.102 < predicted.upper < 0.13

    def test_three_points_leave_the_law_open(self):
        law = fit(exact(0.06, 0.2, 0.4)[:3])
        assert law.freedom == 0
        wide, narrow = law.predict(LARGER), fit(exact(0.06, 0.2, 0.4)).predict(LARGER)
        assert wide.upper - wide.lower > 1.3 * (narrow.upper - narrow.lower)

    def test_errors_that_rise_are_refused(self):
        with pytest.raises(DataError, match=r"errors that rise, from 10\.0% to 25\.0%; train longer"):
            fit(points([0.10, 0.15, 0.20, 0.25]))

    def test_a_rise_within_the_noise_is_not(self):
        assert fit(points([0.10, 0.101, 0.10, 0.102])).factor == pytest.approx(0, abs=1e-9)

    def test_two_sizes_are_refused_however_often_they_were_trained(self):
        with pytest.raises(DataError, match="at least 3 sizes to fit a scaling law; found 2"):
            fit(points([0.3, 0.31, 0.2, 0.21], sizes=np.array([10.0, 10.0, 20.0, 20.0])))

    @pytest.mark.parametrize(
        "point", [Point(0, 0.1, 0.1), Point(5, 1.1, 0.1), Point(5, 0.1, 0), Point(5, math.nan, 1)]
    )
    def test_numbers_out_of_range_are_refused(self, point):
        with pytest.raises(DataError, match="correct it"):
            fit([*exact(0.1, 0.2, 0.4), point])

    def test_no_error_among_few_samples_is_not_certain(self):
        assert Point.counted(10, 0, 100).deviation > 0.005


def test_json():
    told = json.loads(json.dumps(fit(exact(0.1, 0.2, 0.4)).to_dict()))
    assert told["exponent"] == pytest.approx(0.4, rel=0.02)
    assert told["points"][0]["size"] == SIZES[0]
    assert told["floor_bounds"][0] <= told["floor"] <= told["floor_bounds"][1]
