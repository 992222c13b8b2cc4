"""Choices between candidates that tests make up."""

from __future__ import annotations

from dataclasses import replace

from compress.search.decision import choose
from compress.search.limits import Limits
from compress.search.run_directory import Candidate
from tests.records import candidate

FP32 = candidate("fp32", size=4000, p50_ms=4.0)
INSIDE = (0.0, 0.2, 0.5)


def names_and_verdicts(candidates: list[Candidate], **limits: object) -> tuple[str | None, dict[str, str]]:
    choice = choose(candidates, Limits(**limits))  # type: ignore[arg-type]
    return choice.candidate and choice.candidate.recipe.name, choice.verdicts


def estimated(name: str, *ratios: float) -> Candidate:
    entry = candidate(name, ratio=1.0, drop=INSIDE)
    assert entry.profile is not None
    latency = tuple(
        replace(figure, source="estimated", ratio=ratio, ratio_interval=None)
        for figure, ratio in zip(entry.profile.latency, ratios, strict=True)
    )
    return replace(entry, profile=replace(entry.profile, latency=latency))


def with_profile(entry: Candidate, **changes: object) -> Candidate:
    assert entry.profile is not None
    return replace(entry, profile=replace(entry.profile, **changes))  # type: ignore[arg-type]


def with_latency(entry: Candidate, index: int, **changes: object) -> Candidate:
    assert entry.profile is not None
    latency = [*entry.profile.latency]
    latency[index] = replace(latency[index], **changes)  # type: ignore[arg-type]
    return with_profile(entry, latency=tuple(latency))


def with_accuracy(entry: Candidate, **changes: object) -> Candidate:
    assert entry.profile is not None
    return with_profile(entry, accuracy=replace(entry.profile.accuracy, **changes))  # type: ignore[type-var]


def verdict(entry: Candidate, **limits: object) -> str:
    return names_and_verdicts([FP32, entry], **limits)[1][entry.recipe.name]
