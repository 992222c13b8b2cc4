from __future__ import annotations

import numpy as np
import pytest

from compress.errors import RecipeError
from compress.pruning import Channels, choose
from compress.pruning.selection import part_of
from tests.networks import NETWORKS, ResidualCNN, TwoInputs
from tests.networks import build as build_simple
from tests.pruning.test_groups import channels_of


@pytest.fixture(scope="module")
def channels() -> Channels:
    return channels_of(build_simple(ResidualCNN), *NETWORKS[ResidualCNN].values())


@pytest.fixture
def scores(channels: Channels) -> dict[str, np.ndarray]:
    """All of the first group above all of the second, and so on."""
    return {
        group.name: 100.0 * (len(channels.groups) - number) + np.arange(len(group))[::-1]
        for number, group in enumerate(channels.groups)
    }


def left(channels: Channels, units) -> list[int]:
    return [len(group) - len(units.get(group.name, ())) for group in channels.groups]


def test_all_units_compete(channels, scores) -> None:
    units = choose(channels, scores, 0.25)  # 12 of 48, all from the last group
    assert left(channels, units) == [8, 8, 16, 4]
    assert units["layers.1.conv2"].tolist() == list(range(4, 16))


def test_what_a_group_has_to_keep_is_taken_from_the_next(channels, scores) -> None:
    assert left(channels, choose(channels, scores, 0.5)) == [8, 8, 6, 2]


def test_every_layer_loses_its_share(channels, scores) -> None:
    units = choose(channels, scores, 0.25, per_layer=True)
    assert left(channels, units) == [6, 6, 12, 12]
    assert units["stem"].tolist() == [6, 7]


@pytest.mark.parametrize("share", [hundredths / 100 for hundredths in range(100)])
def test_a_part_is_what_the_share_says(share) -> None:
    assert part_of(100, share) == round(100 * share)  # 0.29 * 100 is below 29 in floats
    assert part_of(20, 1 - (1 - 0.1)) == 2
    assert part_of(3, 0.99) == 2


def test_both_ways_round_alike(channels, scores) -> None:
    share = 0.25 - 1e-12
    assert left(channels, choose(channels, scores, share, per_layer=True)) == [6, 6, 12, 12]
    assert left(channels, choose(channels, scores, share)) == [8, 8, 16, 4]


def test_nothing_goes_at_zero(channels, scores) -> None:
    assert choose(channels, scores, 0) == {}


def test_something_stays_at_any_ratio(channels, scores) -> None:
    assert min(left(channels, choose(channels, scores, 0.99))) >= 1


def test_widths_stay_multiples(channels, scores) -> None:
    assert left(channels, choose(channels, scores, 0.4, per_layer=True, multiple=4)) == [8, 8, 12, 12]


def test_kept_layers_keep_their_outputs(channels, scores) -> None:
    units = choose(channels, scores, 0.5, per_layer=True, keep=["layers.0.conv2"])
    assert left(channels, units) == [8, 4, 8, 8]  # conv2 gives to the residual sum, with the stem


def test_a_block_keeps_all_its_layers(channels, scores) -> None:
    units = choose(channels, scores, 0.5, per_layer=True, keep=["layers.1"])
    assert left(channels, units) == [4, 4, 16, 16]


def test_an_embedding_gives_its_columns() -> None:
    channels = channels_of(build_simple(TwoInputs), *NETWORKS[TwoInputs].values())
    scores = {group.name: np.arange(8.0) for group in channels.groups}
    assert choose(channels, scores, 0.5, keep=["embedding"]) == {}


def test_groups_without_scores_are_kept(channels, scores) -> None:
    del scores["layers.1.conv2"]
    assert left(channels, choose(channels, scores, 0.5))[3] == 16


def test_an_unknown_layer_is_refused_with_a_suggestion(channels, scores) -> None:
    with pytest.raises(RecipeError, match=r"did you mean .*layers.0.conv2"):
        choose(channels, scores, 0.5, keep=["layers.0.conv"])


@pytest.mark.parametrize("ratio", [-0.1, 1.0, float("nan")])
def test_a_ratio_out_of_range_is_refused(channels, scores, ratio: float) -> None:
    with pytest.raises(RecipeError, match="a ratio in"):
        choose(channels, scores, ratio)
