from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from compress.errors import RecipeError
from compress.network.network import load_network
from compress.pruning import NetworkLatency, choose_widths, find_channels, magnitude
from compress.pruning.latency_table import LatencyTable
from compress.pruning.staircase import points, staircase, widths
from compress.pruning.timed_layers import TimedLayer, timed_layers
from compress.pruning.widths import OutOfReachError


class Chain(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Conv2d(3, 64, 3, padding=1)
        self.two = torch.nn.Conv2d(64, 32, 3, padding=1)
        self.three = torch.nn.Conv2d(32, 48, 3, padding=1)
        self.head = torch.nn.Linear(48, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.three(self.two(self.one(x).relu()).relu()).relu().mean((2, 3)))


def blocks(shape, inputs: int, outputs: int) -> float:
    """Milliseconds of a kernel that works on whole blocks of 16 outputs."""
    return shape.weights(inputs, 16 * -(-outputs // 16)) / 1e3 + 0.1


@pytest.fixture(scope="module")
def channels():
    torch.manual_seed(0)
    example = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    network = load_network(Chain().eval(), example={"x": example})
    return find_channels(network.graph, [torch.from_numpy(example)])


@pytest.fixture(scope="module")
def latency(channels):
    operators = timed_layers(channels)
    stairs = {}
    for each in operators:
        shape = each.shape
        grid = widths(shape.inputs), widths(shape.outputs)
        times = {point: blocks(shape, *point) for point in points(*grid, tied=False)}
        stairs[shape] = staircase(*grid, times, tied=False)
    return NetworkLatency(10.0, LatencyTable(stairs, "fp32", "measured"), operators)


def left(channels, found) -> dict[str, int]:
    return {group.name: len(group) - len(found.units.get(group.name, ())) for group in channels.groups}


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5, 0.3])
def test_the_budget_is_kept_at_steps_alone(channels, latency, share) -> None:
    scores = magnitude(channels)
    found = choose_widths(channels, scores, latency, share)
    assert 0.6 * share < found.share <= share
    counts = left(channels, found)
    assert found.share == pytest.approx(
        latency.share({group.name: counts[group.name] / len(group) for group in channels.groups})
    )
    for name, steps in found.steps.items():
        assert counts[name] in steps
    for group in channels.groups:  # the least important go
        gone = set(found.units.get(group.name, np.zeros(0, int)).tolist())
        assert gone == set(np.argsort(scores[group.name], kind="stable")[: len(gone)].tolist())


@pytest.mark.parametrize("share", [0.7, 0.5, 0.35])
def test_hardly_more_could_be_kept(channels, latency, share) -> None:
    scores = magnitude(channels)
    found = choose_widths(channels, scores, latency, share)

    def kept(counts) -> float:
        return sum(
            np.sort(scores[group.name])[len(group) - counts[group.name] :].sum() for group in channels.groups
        )

    best = 0.0
    names = [group.name for group in channels.groups]
    sizes = [range(8, len(group) + 1, 4) for group in channels.groups]
    for counts in product(*sizes):
        shares = {
            group.name: count / len(group) for group, count in zip(channels.groups, counts, strict=True)
        }
        if latency.share(shares) <= share:
            best = max(best, kept(dict(zip(names, counts, strict=True))))
    assert kept(left(channels, found)) >= 0.93 * best


@pytest.mark.parametrize("share", [hundredths / 100 for hundredths in range(30, 95, 5)])
def test_no_step_more_fits_into_the_budget(channels, latency, share) -> None:
    found = choose_widths(channels, magnitude(channels), latency, share)
    counts = left(channels, found)
    for group in channels.groups:
        wider = next((size for size in found.steps[group.name] if size > counts[group.name]), None)
        if wider is not None:
            changed = {each.name: counts[each.name] / len(each) for each in channels.groups}
            assert latency.share({**changed, group.name: wider / len(group)}) > share


def test_layers_that_get_faster_only_where_both_sides_shrink_are_narrowed_together(channels) -> None:
    def ms(shape, point) -> float:  # fast where inputs and outputs are few; small layers always are
        return 1.0 if shape.inputs * shape.outputs < 1000 or max(point) <= 16 else 10.0

    operators = timed_layers(channels)
    stairs = {}
    for shape in {each.shape for each in operators}:
        grid = widths(shape.inputs), widths(shape.outputs)
        times = {point: ms(shape, point) for point in points(*grid, tied=False)}
        stairs[shape] = staircase(*grid, times, tied=False)
    stuck = NetworkLatency(10.0, LatencyTable(stairs, "int8", "measured"), operators)
    alone = [stuck.share({group.name: 0.1}) for group in channels.groups]
    assert min(alone) == pytest.approx(1)
    found = choose_widths(channels, magnitude(channels), stuck, 0.8)
    assert found.share <= 0.8


def test_layers_that_are_kept_stay(channels, latency) -> None:
    found = choose_widths(channels, magnitude(channels), latency, 0.6, keep=["two"])
    assert left(channels, found)["two"] == 32
    assert found.share <= 0.6


def test_a_budget_out_of_reach_is_told_with_what_is_in_reach(channels, latency) -> None:
    with pytest.raises(OutOfReachError, match=r"found 0\.0[0-9] at the fastest widths found"):
        choose_widths(channels, magnitude(channels), latency, 0.001)
    for share, keep in ((0, []), (0.5, ["tow"])):
        with pytest.raises(RecipeError, match=r"share of the latency|did you mean two") as wrong:
            choose_widths(channels, magnitude(channels), latency, share, keep=keep)
        assert not isinstance(wrong.value, OutOfReachError)


def test_a_layer_without_an_entry_counts_by_its_arithmetic(channels, latency) -> None:
    timed = [each for each in latency.operators if isinstance(each, TimedLayer)]
    missing = next(each for each in timed if each.name == "two")
    rest = {shape: stairs for shape, stairs in latency.table.staircases.items() if shape != missing.shape}
    found = NetworkLatency(10.0, LatencyTable(rest, "fp32", "measured"), latency.operators)
    assert found.share({}) == pytest.approx(1)
    assert found.to_dict()["counted_by_macs"] == 1
    timed_ms = sum(stairs.full_ms for stairs in rest.values())
    timed_macs = sum(each.macs({}) for each in timed if each is not missing)
    expected = missing.macs({}) / (missing.macs({}) + timed_macs)
    assert found.share({}, [missing]) == pytest.approx(expected)
    assert timed_ms > 0


def test_full_widths_take_the_whole_latency(latency) -> None:
    assert latency.share({}) == pytest.approx(1)
    assert latency.to_dict()["whole_ms"] == 10.0
