from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from compress.quantization.entropy import EntropyObserver, divergence, level_edges, thresholds
from compress.quantization.grid import Range, activation_grid
from compress.quantization.histogram import Histogram
from compress.quantization.observers import (
    MinMaxObserver,
    MovingAverageObserver,
    MseObserver,
    PercentileObserver,
    new_observer,
)
from compress.quantization.settings import METHODS, Settings
from compress.target.target import TENSORRT_FLAVOUR, QuantizationFlavour

U8S8 = QuantizationFlavour("uint8", "int8", False, True, False, True)

finite = npst.arrays(
    np.float32, st.integers(1, 200), elements=st.floats(-(2.0**99), 2.0**99, width=32, allow_nan=False)
)


@st.composite
def activations(draw, smallest: int = 5_000) -> np.ndarray:
    """Values as networks make them: of many scales, with and without zeros, tails and skew."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.integers(smallest, 2 * smallest))
    values = {
        "normal": lambda: random.standard_normal(size),
        "laplace": lambda: random.laplace(size=size),
        "heavy": lambda: random.standard_t(3, size),
        "uniform": lambda: random.uniform(-1, 2, size),
    }[draw(st.sampled_from(["normal", "laplace", "heavy", "uniform"]))]()
    if draw(st.booleans()):
        values = np.maximum(values, 0)
    return (values * 10.0 ** draw(st.integers(-4, 4))).astype(np.float32)


def observed(observer, *batches):
    for batch in batches:
        observer.observe(np.asarray(batch, np.float32))
    return observer


def normal(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def error(values: np.ndarray, found: Range, flavour: QuantizationFlavour) -> float:
    return float(np.square(activation_grid(found, flavour).round(values) - values).mean())


class TestHistogram:
    @given(values=finite)
    def test_bins_hold_every_value_and_nothing_else(self, values):
        bins = observed(Histogram(), values).bins()
        assert bins.counts.sum() == values.size
        assert np.all(bins.low <= bins.high)
        assert np.all(bins.high[:-1] <= bins.low[1:])
        # Each value is in a bin, or among the subnormal numbers that count as 0.
        for value in values.astype(np.float64):
            assert np.any((bins.low <= value) & (value <= bins.high)) or abs(value) < 1e-38

    @given(values=finite)
    def test_bins_are_narrow(self, values):
        bins = observed(Histogram(), values).bins()
        size = np.maximum(np.abs(bins.low), np.abs(bins.high))
        assert np.all(bins.high - bins.low <= size / 100 + 1e-37)

    def test_neither_order_nor_batch_size_matters(self):
        values = normal(1000)
        one = observed(Histogram(), values).bins()
        many = observed(Histogram(), *np.array_split(values[::-1], 7)).bins()
        np.testing.assert_array_equal(one.counts, many.counts)
        np.testing.assert_array_equal(one.low, many.low)

    def test_an_outlier_costs_the_other_values_no_resolution(self):
        values = normal(1000)
        with_outlier = observed(PercentileObserver(99), values, [1e4]).range()
        without = observed(PercentileObserver(99), values).range()
        assert with_outlier.high == pytest.approx(without.high, rel=0.1)


class TestMinMax:
    def test_everything_seen(self):
        assert observed(MinMaxObserver(), [1, 2], [-4, 0]).range() == Range(-4, 2)


class TestMovingAverage:
    def test_the_first_batch_sets_it_and_the_next_ones_pull(self):
        observer = observed(MovingAverageObserver(momentum=0.75), [0, 4], [-8, 8])
        assert observer.range() == Range(-2, 5)


class TestPercentile:
    def test_the_percentiles_of_a_normal_distribution(self):
        found = observed(PercentileObserver(99), *np.array_split(normal(200_000), 10)).range()
        assert found.low == pytest.approx(-2.576, abs=0.03)  # the 0.5th percentile
        assert found.high == pytest.approx(2.576, abs=0.03)

    def test_zeros_of_a_relu_stay_the_lower_end(self):
        found = observed(PercentileObserver(99.9), np.maximum(normal(10_000), 0)).range()
        assert found.low == 0
        assert 3 < found.high < 4

    def test_all_of_the_values_are_the_values_seen(self):
        values = normal(100)
        found = observed(PercentileObserver(100), values).range()
        assert found == Range(float(values.min()), float(values.max()))

    @given(values=finite, percentile=st.floats(51, 100))
    def test_never_outside_of_what_was_seen(self, values, percentile):
        found = observed(PercentileObserver(percentile), values).range()
        assert values.min() <= found.low <= found.high <= values.max()

    @given(values=activations(), percentile=st.sampled_from([90, 99, 99.9]))
    @settings(max_examples=25, deadline=None)
    def test_the_percentiles_of_the_values_themselves(self, values, percentile):
        found = observed(PercentileObserver(percentile), *np.array_split(values, 3)).range()
        cut = (100 - percentile) / 2
        # As wide as a bin and as the two order statistics around the percentile: which of them counts is convention.
        for end, share in ((found.low, cut), (found.high, 100 - cut)):
            nearest = [
                np.percentile(values.astype(np.float64), share, method=method)
                for method in ("lower", "higher")
            ]
            slack = 0.01 * abs(end)
            assert nearest[0] - slack <= end <= nearest[1] + slack


class TestMse:
    @pytest.mark.parametrize("flavour", [U8S8, TENSORRT_FLAVOUR], ids=["u8", "symmetric"])
    @pytest.mark.parametrize("outlier", [0, 8, 100])
    def test_the_error_is_never_above_that_of_min_max(self, flavour, outlier):
        values = np.concatenate([normal(20_000), np.float32([outlier])])
        best = observed(MseObserver(flavour), values).range()
        everything = observed(MinMaxObserver(), values).range()
        assert error(values, best, flavour) <= error(values, everything, flavour)

    @pytest.mark.parametrize("outlier", [100, -100])
    def test_one_value_in_a_million_is_clipped(self, outlier):
        values = np.concatenate([normal(1_000_000), np.float32([outlier])])
        best = observed(MseObserver(U8S8), values).range()
        assert 30 < max(best.high, -best.low) < 60
        everything = Range(float(values.min()), float(values.max()))
        assert error(values, best, U8S8) < 0.6 * error(values, everything, U8S8)

    def test_close_to_the_best_of_an_exhaustive_search(self):
        values = np.abs(np.random.default_rng(1).standard_t(4, 20_000)).astype(np.float32)
        best = error(values, observed(MseObserver(U8S8), values).range(), U8S8)
        searched = min(error(values, Range(0, high), U8S8) for high in np.linspace(1, values.max(), 400))
        assert best <= 1.05 * searched

    @given(values=activations(), flavour=st.sampled_from([U8S8, TENSORRT_FLAVOUR]))
    @settings(max_examples=25, deadline=None)
    def test_the_histogram_knows_the_error_of_the_values_themselves(self, values, flavour):
        best = observed(MseObserver(flavour), *np.array_split(values, 3)).range()
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        searched = min(
            error(values, Range(share * low, share * high), flavour) for share in np.geomspace(0.05, 1, 60)
        )
        assert error(values, best, flavour) <= 1.05 * searched


class TestEntropy:
    @given(values=activations(smallest=100_000), flavour=st.sampled_from([U8S8, TENSORRT_FLAVOUR]))
    @settings(max_examples=10, deadline=None)
    def test_close_to_the_least_divergence_of_the_values_themselves(self, values, flavour):
        observer = observed(EntropyObserver(flavour), *np.array_split(values, 3))
        found = observer.range()
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        candidates = [Range(max(low, -end), min(high, end)) for end in thresholds(observer.bins())]
        least = min(exact_divergence(values, candidate, flavour) for candidate in candidates)
        assert exact_divergence(values, found, flavour) <= least + 0.02

    def test_a_wide_tail_is_clipped_and_a_flat_distribution_is_not(self):
        random = np.random.default_rng(0)
        tail = random.standard_t(3, 200_000).astype(np.float32)
        assert observed(EntropyObserver(U8S8), tail).range().high < 0.6 * tail.max()
        flat = random.uniform(-1, 1, 200_000).astype(np.float32)
        assert observed(EntropyObserver(U8S8), flat).range().high == pytest.approx(1, rel=0.01)

    def test_zeros_of_a_relu_change_nothing(self):
        values = np.abs(normal(20_000))
        zeros = np.zeros(200_000, np.float32)
        assert observed(EntropyObserver(U8S8), values, zeros).range() == pytest.approx(
            observed(EntropyObserver(U8S8), values).range()
        )


def exact_divergence(values: np.ndarray, candidate: Range, flavour: QuantizationFlavour) -> float:
    """D(P ‖ Q) of the values themselves, in 8 bins of equal width to each level of the grid."""
    levels = level_edges(candidate, flavour)
    edges = np.linspace(levels[0], levels[-1], 8 * (len(levels) - 1) + 1)
    values = values[values != 0].astype(np.float64)
    counts = np.histogram(values, edges)[0].astype(np.float64)
    clipped = float((values < edges[0]).sum()), float((values > edges[-1]).sum())
    return divergence(counts, np.diff(edges), np.arange(len(counts)) // 8, clipped)


class TestOutlier:
    """One value 10⁴ times its neighbours, in 64 batches of 1,000."""

    values = np.stack([normal(1000, seed) for seed in range(64)])
    values[30, 7] = 1e4

    def found(self, method: str, flavour: QuantizationFlavour) -> Range:
        return observed(new_observer(Settings(method=method), flavour), *self.values).range()

    @pytest.mark.parametrize("flavour", [U8S8, TENSORRT_FLAVOUR], ids=["u8", "symmetric"])
    @pytest.mark.parametrize("method", ["percentile", "entropy"])
    def test_is_clipped(self, method, flavour):
        found = self.found(method, flavour)
        assert 3 < found.high < 6
        assert -6 < found.low < -3

    @pytest.mark.parametrize("flavour", [U8S8, TENSORRT_FLAVOUR], ids=["u8", "symmetric"])
    @pytest.mark.parametrize("method", ["min-max", "mse"])
    def test_is_kept_by_the_methods_that_weigh_it_so(self, method, flavour):
        # Its square outweighs all the others' together; that is what these two methods mean.
        assert self.found(method, flavour).high == 1e4

    def test_is_clipped_for_the_least_error_once_the_others_outweigh_it(self):
        values = np.concatenate([normal(1 << 20), np.float32([500])])
        found = observed(MseObserver(U8S8), values).range()
        assert found.high < 300
        wide = Range(float(values.min()), 500.0)
        assert error(values, found, U8S8) < error(values, wide, U8S8)

    def test_fades_from_a_moving_average(self):
        assert self.found("moving-average", U8S8).high == pytest.approx(1e4 * 0.1 * 0.9**33, rel=0.2)


class TestEveryMethod:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("constant", [0.0, 3.0, -3.0, 1e-45, 1e38])
    def test_a_constant_tensor_has_a_usable_range(self, method, constant):
        found = observed(new_observer(Settings(method=method), U8S8), np.full(10, constant)).range()
        grid = activation_grid(found, U8S8)
        assert grid.round(np.array([constant])) == pytest.approx(constant, rel=0.01, abs=1e-17)

    @pytest.mark.parametrize("method", METHODS)
    def test_what_is_kept_does_not_grow(self, method):
        observer = new_observer(Settings(method=method), U8S8)
        observer.observe(normal(1000))
        before = kept(observer)
        for seed in range(20):
            observer.observe(normal(100_000, seed))
        assert kept(observer) == before
        assert kept(observer) < 1 << 20


def kept(observer: object) -> int:
    """Bytes of arrays and numbers that an observer holds on to."""
    return sum(
        np.asarray(value).nbytes
        for value in vars(observer).values()
        if not isinstance(value, QuantizationFlavour)
    )
