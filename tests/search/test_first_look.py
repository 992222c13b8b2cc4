"""A look at a build's time before its accuracy."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from compress.recipe import Recipe
from compress.search.first_look import REPORT, FirstLook, is_outdated, rival_of
from compress.search.limits import Limits
from compress.search.run_directory import Candidate
from tests.records import candidate


def history(*, p50_ms: float = 100.0, best: float | None = None) -> SimpleNamespace:
    original = candidate("fp32")
    assert original.profile is not None
    latency = tuple(replace(each, p50_ms=p50_ms * each.batch) for each in original.profile.latency)
    found = [replace(original, profile=replace(original.profile, latency=latency))]
    if best is not None:
        found.append(candidate("int8", drop=(0.0, 0.0, 0.0), ratio=best))
    return SimpleNamespace(candidates=found)


def test_a_look_is_taken_where_judging_takes_longer() -> None:
    assert rival_of(history(), Limits(), calls=300) == 1.0  # 30 s of fp32
    assert rival_of(history(p50_ms=1.0), Limits(), calls=300) is None
    assert rival_of(history(), Limits(), calls=20) is None


def test_the_original_and_the_smallest_file_are_judged_without_a_look() -> None:
    assert rival_of(SimpleNamespace(candidates=[]), Limits(), calls=300) is None
    assert rival_of(history(), Limits(objective="size"), calls=300) is None


def test_the_rival_is_the_best_build_so_far() -> None:
    rival = rival_of(history(best=0.5), Limits(), calls=300)
    assert rival is not None
    assert 0.5 <= rival < 0.6  # the upper end of its interval


@pytest.mark.parametrize(
    ("ratio", "rival", "lost"), [(1.3, 1.0, True), (1.1, 1.0, False), (0.7, 0.5, True), (0.55, 0.5, False)]
)
def test_only_what_is_clearly_slower_has_lost(ratio: float, rival: float, lost: bool) -> None:
    look = FirstLook(ratio, rival)
    assert look.lost is lost
    assert f"{ratio:.2f}× the time of fp32" in look.reason
    assert ("fp32 in a first look" in look.reason) is (rival >= 1)


def test_a_candidate_is_tried_again_where_what_it_lost_to_is_no_rival_any_more() -> None:
    lost = Candidate(Recipe("slow"), passed_over="", reports={REPORT: {"ratio": 0.8, "rival": 0.4}})
    assert not is_outdated(lost, 0.4)
    assert is_outdated(lost, 1.0)
    assert is_outdated(lost, None)
    assert not is_outdated(Candidate(Recipe("failed"), failure="no kernel"), 1.0)
