"""Widths whose prediction is held against whole calls: made-up networks, whose calls cost what a function says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from compress.pruning.latency_table import LatencyTable
from compress.pruning.network_latency import NetworkLatency
from compress.pruning.timed_layers import Axis, CountedOperator
from compress.pruning.whole_calls import calibrated, widths_by_whole_calls
from compress.pruning.widths import OutOfReachError, Widths, out_of_reach

LAYERS = NetworkLatency(0.1, LatencyTable({}, "int8", "measured"), ())


class Chooser:
    """One layer of 100 units: its table says fixed + (1 - fixed) · share kept, and 8 units are the fewest."""

    def __init__(self, share: float, fixed: float) -> None:
        self.share, self.fixed, self.asked = share, fixed, 0

    def __call__(self, latency: NetworkLatency) -> Widths:
        self.asked += 1
        predicted = [(kept, self.predicted(kept, latency)) for kept in range(8, 101)]
        fit = [(kept, share) for kept, share in predicted if share <= self.share]
        if not fit:
            raise out_of_reach(self.share, predicted[0][1], widths(*predicted[0]))
        return widths(*fit[-1])

    def predicted(self, kept: int, latency: NetworkLatency) -> float:
        return 1 - latency.slope * (1 - self.fixed) * (1 - kept / 100)


def widths(kept: int, share: float) -> Widths:
    return Widths({"a": np.arange(100 - kept)} if kept < 100 else {}, share, {})


def call(fixed: float) -> Callable[[Mapping[str, object]], float]:
    """A whole call of which a share does not shrink."""
    return lambda units: fixed + (1 - fixed) * (100 - len(units["a"])) / 100  # type: ignore[arg-type]


def kept(found: Widths) -> int:
    return 100 - len(found.units["a"])


def test_a_table_that_is_too_careful_does_not_fail_what_whole_calls_reach() -> None:
    """Seen at calls of 0.1 ms: half of the latency was refused at a predicted 0.58, and 0.7 came out at 0.34."""
    choose = Chooser(0.5, fixed=0.55)
    with pytest.raises(OutOfReachError, match="found 0\\.59 at the fastest"):
        choose(LAYERS)
    found, latency, measured = widths_by_whole_calls(choose, LAYERS, 0.5, call(0.1))
    assert measured == pytest.approx(0.5, abs=0.025)
    assert kept(found) == pytest.approx(44, abs=3)
    assert latency.slope == pytest.approx(0.9 / 0.45)
    assert choose.asked == 3


def test_a_table_that_promises_too_much_is_held_to_whole_calls() -> None:
    found, latency, measured = widths_by_whole_calls(Chooser(0.5, 0.0), LAYERS, 0.5, call(0.3))
    assert measured == pytest.approx(0.5, abs=0.025)
    assert latency.slope == pytest.approx(0.7)
    assert kept(found) == pytest.approx(28, abs=3)


def test_a_right_prediction_is_timed_once() -> None:
    timed: list[object] = []

    def whole(units: Mapping[str, object]) -> float:
        timed.append(units)
        return call(0.2)(units)

    found, latency, measured = widths_by_whole_calls(Chooser(0.5, 0.2), LAYERS, 0.5, whole)
    assert len(timed) == 1
    assert latency.slope == 1
    assert measured == pytest.approx(found.share, abs=0.01)


def test_what_whole_calls_do_not_reach_is_refused_by_what_they_took() -> None:
    with pytest.raises(OutOfReachError, match=r"found 0\.72 at the fastest"):
        widths_by_whole_calls(Chooser(0.5, 0.55), LAYERS, 0.5, call(0.7))


def test_little_that_is_saved_is_not_timed() -> None:
    """A start of two builds differs by a few percent: it would correct a prediction by noise."""
    _, latency, measured = widths_by_whole_calls(Chooser(0.95, 0.2), LAYERS, 0.95, lambda _: 1 / 0)
    assert (latency, measured) == (LAYERS, None)
    assert calibrated(Chooser(0.95, 0.2), LAYERS, lambda _: 1 / 0) is LAYERS


def test_without_whole_calls_the_prediction_decides() -> None:
    found, latency, measured = widths_by_whole_calls(Chooser(0.5, 0.2), LAYERS, 0.5, lambda _: None)
    assert (found.share, latency, measured) == (pytest.approx(0.5, abs=0.01), LAYERS, None)
    with pytest.raises(OutOfReachError):
        widths_by_whole_calls(Chooser(0.5, 0.55), LAYERS, 0.5, lambda _: None)


def test_a_call_that_saves_nothing_ends_the_search() -> None:
    with pytest.raises(OutOfReachError, match=r"found 0\.9[89] at the fastest"):
        widths_by_whole_calls(Chooser(0.5, 0.0), LAYERS, 0.5, lambda _: 1.0)


def test_the_slope_makes_a_prediction_right() -> None:
    axis = Axis(10, ((("a",), 10),))
    layers = replace(LAYERS, operators=(CountedOperator(((axis,),), 1),))
    assert layers.share({"a": 0.4}) == pytest.approx(0.4)
    right = layers.calibrated(0.4, 0.7)
    assert right.share({"a": 0.4}) == pytest.approx(0.7)
    assert right.share({}) == 1
    assert right.calibrated(0.7, 0.55).share({"a": 0.4}) == pytest.approx(0.55)
    assert right.share({"a": 0.4}, layers.operators) == pytest.approx(
        0.2
    )  # a part, without what is in no layer
    assert layers.calibrated(0.4, 0.1).share({"a": 0.2}) > 0


def test_a_search_inside_a_margin_is_calibrated_once() -> None:
    choose = Chooser(0.5, 0.55)
    latency = calibrated(choose, LAYERS, call(0.1))
    assert latency.slope == pytest.approx(2.0)
    assert choose.asked == 1
    assert calibrated(choose, LAYERS, lambda _: None) is LAYERS
