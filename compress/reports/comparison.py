"""Builds side by side: their figures, and what keeps two of them from being compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compress.bundle.bundle import load_bundle
from compress.bundle.profile_file import load_recorded
from compress.errors import BundleError, UsageError
from compress.records.profile import Latency, Profile
from compress.reports.figures import (
    accuracy_figure,
    digits,
    drop_figure,
    drop_unit,
    latency_figure,
    size_text,
)
from compress.reports.run import CANDIDATES, run_of


@dataclass(frozen=True)
class Comparison:
    """Figures of several builds.

    Attributes:
        names: Name of each build, as the user gave it.
        rows: Name of each figure, and its value for each build; a dash where a build has none.
        notes: Reasons that keep figures of two builds from being compared, a sentence each; empty where nothing does.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the dict that ``compress compare --json`` prints."""
        return {
            "schema": 1,
            "builds": list(self.names),
            "figures": {name: list(values) for name, values in self.rows},
            "notes": list(self.notes),
        }


def compare(builds: Sequence[str | Path]) -> Comparison:
    """Read builds and put their figures side by side.

    Args:
        builds: Bundles, or profiles that ``compress profile --out`` wrote; two at least.

    Raises:
        UsageError: There are fewer than two.
        BundleError: One is neither, or is damaged.
    """
    if len(builds) < 2:
        raise UsageError("two builds or more to compare", str(len(builds)), "name them: A B")
    names = tuple(str(build) for build in builds)
    profiles = [_profile(Path(build)) for build in builds]
    rows = [
        ("recipe", [profile.recipe for profile in profiles]),
        ("target", [profile.target for profile in profiles]),
        ("back end", [profile.backend for profile in profiles]),
        *_accuracy(profiles),
        *_latency(profiles),
        ("size", [size_text(profile.artifact_bytes) for profile in profiles]),
        (
            "peak memory",
            [
                _or_dash(profile.peak_memory_mb, lambda figure: f"{digits(figure)} MiB")
                for profile in profiles
            ],
        ),
        (
            "energy of a call",
            [_or_dash(profile.energy_mj, lambda figure: f"{digits(figure)} mJ") for profile in profiles],
        ),
        ("power", [_or_dash(profile.power_w, lambda watts: f"{digits(watts)} W") for profile in profiles]),
        ("recorded", [profile.recorded_at or "–" for profile in profiles]),
    ]
    nonempty = tuple((name, tuple(values)) for name, values in rows if set(values) != {"–"})
    return Comparison(names, nonempty, tuple(_notes(names, profiles)))


def _profile(path: Path) -> Profile:
    """Read the measurements of a build; times of a run are those that its own table shows beside the ratios."""
    if path.is_dir():
        bundle = load_bundle(path)
        if CANDIDATES not in bundle.manifest["files"]:
            return bundle.profile
        shipped = run_of(bundle).choice.candidate
        assert shipped is not None
        assert shipped.profile is not None
        return replace(bundle.profile, latency=shipped.profile.latency)
    if not path.is_file():
        raise BundleError("a bundle, or a profile (JSON)", f"nothing at {path}", "correct the path")
    if path.suffix == ".onnx":
        todo = f"measure it first: compress profile {path} --out {path.with_suffix('.json')}"
        raise BundleError("a bundle, or a profile (JSON)", f"a network, {path}", todo)
    return load_recorded(path)


def _accuracy(profiles: Sequence[Profile]) -> Iterator[tuple[str, list[str]]]:
    """Yield the accuracy and the drop of each metric: a point of one metric is none of another."""
    metrics = {profile.accuracy.metric for profile in profiles if profile.accuracy is not None}
    for metric in sorted(metrics):
        same = [
            profile.accuracy if profile.accuracy is not None and profile.accuracy.metric == metric else None
            for profile in profiles
        ]
        yield metric, [_or_dash(accuracy, lambda one: str(accuracy_figure(one))) for accuracy in same]
        drops = [None if accuracy is None else accuracy.drop for accuracy in same]
        yield (
            f"drop of {metric}, {drop_unit(drops)}",
            [_or_dash(drop, lambda one: str(drop_figure(one))) for drop in drops],
        )


def _latency(profiles: Sequence[Profile]) -> Iterator[tuple[str, list[str]]]:
    conditions = sorted(
        {(latency.batch, latency.period_ms or 0.0) for profile in profiles for latency in profile.latency}
    )
    for batch, period in conditions:
        paced = f", a call every {digits(period)} ms" if period else ""
        latencies = [
            next(
                (
                    latency
                    for latency in profile.latency
                    if (latency.batch, latency.period_ms or 0.0) == (batch, period)
                ),
                None,
            )
            for profile in profiles
        ]
        yield f"batch {batch}{paced}", [_or_dash(latency, _time) for latency in latencies]


def _time(latency: Latency) -> str:
    ratio = "" if latency.ratio is None else f", {latency.ratio:.2f}× fp32"
    estimated = " estimated" if latency.source == "estimated" else ""
    return f"{latency_figure(latency)}{ratio}{estimated}"


def _or_dash(value: Any, form: Callable[[Any], str]) -> str:
    return "–" if value is None else form(value)


def _notes(names: Sequence[str], profiles: Sequence[Profile]) -> Iterator[str]:
    """Yield what the first build and another one do not share."""
    first, *others = zip(names, profiles, strict=True)
    for name, profile in others:
        pair = f"{first[0]} and {name}"
        if None not in (first[1].network_sha256, profile.network_sha256) and (
            first[1].network_sha256 != profile.network_sha256
        ):
            yield f"{pair} are builds of different files of a network: {first[1].network} and {profile.network}"
        ours, theirs = first[1].accuracy, profile.accuracy
        if ours is not None and theirs is not None and ours.metric != theirs.metric:
            yield f"{pair} were judged by different metrics: {ours.metric} and {theirs.metric}"
        if ours is not None and theirs is not None and ours.data_sha256 != theirs.data_sha256:
            yield f"{pair} were judged on different data: their accuracies are not to be compared"
        if first[1].latency and profile.latency and (differing := _differing_options(first[1], profile)):
            yield f"{pair} were timed with different session options: {differing}"
        if first[1].target != profile.target:
            yield f"{pair} are for different targets: their times are not to be compared"
        elif _machine(first[1]) != _machine(profile):
            yield f"{pair} were timed on different machines: compress gate times two bundles in turns on one"


def _differing_options(one: Profile, other: Profile) -> str:
    """The session options that differ, with both values; empty where none does, or the back ends' own ones differ."""
    if one.backend != other.backend:
        return ""
    keys = sorted(
        key for key in {*one.options, *other.options} if one.options.get(key) != other.options.get(key)
    )
    return ", ".join(f"{key} {_option(one, key)} and {_option(other, key)}" for key in keys)


def _option(profile: Profile, key: str) -> str:
    value = profile.options.get(key)
    return "unset" if value is None else str(value)


def _machine(profile: Profile) -> str | None:
    from compress.machine.machine import fingerprint_id

    measured = bool(profile.latency) and profile.latency[0].source == "measured"
    return fingerprint_id(profile.fingerprint) if measured else None
