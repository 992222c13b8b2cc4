"""What of an interrupted run's measurements still holds when other limits are asked for."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from compress.search.attempts import is_half_timed
from compress.search.limits import Limits
from tests.records import candidate


@pytest.mark.parametrize(
    ("ratio", "batch_sizes", "max_drop", "reports", "outdated"),
    [
        (0.5, 1, 10.0, {}, True),  # it lost to a build that is none any more
        (0.5, 1, 1.0, {}, False),
        (1.5, 1, 10.0, {}, False),  # slower all the same
        (0.5, 2, 10.0, {}, False),  # nothing is missing
        (0.5, 2, 10.0, {"timed_outside_of_margin": 1.0}, True),  # its only batch size, and no session options
        (0.5, 2, 1.0, {"timed_outside_of_margin": 1.0}, False),
    ],
)
def test_a_build_that_is_back_in_the_race_is_timed_anew(
    ratio, batch_sizes, max_drop, reports, outdated
) -> None:
    original, lost = candidate("fp32"), candidate("int8", drop=(5.0, 4.0, 6.0), ratio=ratio)
    assert original.profile is not None
    assert lost.profile is not None
    assert len(original.profile.latency) == 2
    cut = replace(lost.profile, latency=lost.profile.latency[:batch_sizes])
    lost = replace(lost, profile=cut, reports=reports)
    history = SimpleNamespace(candidates=[original, lost])
    assert is_half_timed(lost, history, Limits(max_drop=max_drop)) is outdated
    assert not is_half_timed(original, history, Limits(max_drop=max_drop))
