"""What lies in a directory, which series it makes, and where they moved."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from compress.bundle.profile_file import with_digest
from compress.errors import BundleError
from compress.records.profile import Accuracy, Interval, Profile
from compress.reports.trends import groups, row
from compress.trends import Series, read_recordings, series_of
from tests.reports.runs import candidates, written
from tests.trends.conftest import day


def keep(path: Path, profile: Profile) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(with_digest(profile)))
    return path


def found(directory: Path, figure: str) -> list[Series]:
    return [each for each in series_of(read_recordings(directory).entries) if each.figure == figure]


def test_profiles_are_put_in_the_order_of_time(month: Path) -> None:
    recordings = read_recordings(month)
    days = [each.when.day for each in recordings.entries if each.when is not None]
    assert days == list(range(1, 21))
    assert (recordings.untimed, recordings.others) == (0, 0)


def test_a_step_of_ten_percent_is_marked_where_it_was_made(month: Path) -> None:
    (series,) = found(month, "p50 at batch 1")
    (change,) = series.changes
    assert change.index == 10
    assert change.worse
    assert change.after / change.before == pytest.approx(1.1, abs=0.03)
    assert change.p is not None
    assert change.p <= 0.01


def test_size_needs_no_test(month: Path) -> None:
    (series,) = found(month, "size")
    assert [(change.index, change.p, change.worse) for change in series.changes] == [(15, None, True)]


def test_a_size_that_creeps_is_marked_once_it_has_moved_by_one_percent(tmp_path: Path) -> None:
    for number in range(1, 8):
        keep(tmp_path / f"{number}.json", day(number, artifact_bytes=1000 + 4 * number))
    (series,) = found(tmp_path, "size")
    assert [change.index for change in series.changes] == [3, 6]


def test_machines_data_targets_networks_and_estimates_are_not_mixed(tmp_path: Path) -> None:
    right = Accuracy("top-1", 1.0, Interval(0.9, 1.0, 0.95), 1, "1" * 64, True, True)
    base = day(1, accuracy=right, outcomes=(1.0,))
    estimated = tuple(replace(each, source="estimated") for each in base.latency)
    for number, changes in enumerate(
        (
            {},
            {"fingerprint": {"cpu": "another"}},
            {"accuracy": replace(right, data_sha256="2" * 64)},
            {"target": "jetson"},
            {"network": "another"},
            {"latency": estimated},
        )
    ):
        keep(tmp_path / f"{number}.json", replace(base, **changes))  # type: ignore[arg-type]
    assert sorted(len(each.points) for each in found(tmp_path, "p50 at batch 1")) == [1, 1, 1, 2]
    assert sorted(len(each.points) for each in found(tmp_path, "top-1")) == [1, 1, 1, 3]
    assert sorted(len(each.points) for each in found(tmp_path, "size")) == [1, 1, 4]
    assert len(found(tmp_path, "p50 at batch 1, estimated")) == 1


def test_accuracies_on_different_data_are_told_apart(tmp_path: Path) -> None:
    for number, data in enumerate("112", start=1):
        right = Accuracy("top-1", 1.0, Interval(0.9, 1.0, 0.95), 1, data * 64, True, True)
        keep(tmp_path / f"{number}.json", day(number, accuracy=right, outcomes=(1.0,)))
    series = series_of(read_recordings(tmp_path).entries)
    shown = [row(each)[0] for members in groups(series).values() for each in members]
    assert [name for name in shown if name.startswith("top-1")] == [
        "top-1, data 111111111111",
        "top-1, data 222222222222",
    ]
    (alone,) = groups([each for each in series if each.data != "2" * 12]).values()
    assert "top-1" in [row(each)[0] for each in alone]


@pytest.mark.parametrize(("higher_is_better", "worse"), [(True, True), (False, False)])
def test_which_direction_is_worse_follows_the_metric(
    tmp_path: Path, higher_is_better: bool, worse: bool
) -> None:
    for number in range(1, 13):
        outcomes = (0.9 if number <= 6 else 0.5,)
        ends = Interval(0, 1, 0.95)
        accuracy = Accuracy("score", outcomes[0], ends, 1, "1" * 64, False, higher_is_better)
        keep(tmp_path / f"{number}.json", day(number, accuracy=accuracy, outcomes=outcomes))
    (series,) = found(tmp_path, "score")
    assert [(change.index, change.worse) for change in series.changes] == [(6, worse)]


def test_bundles_are_read_by_their_manifest(tmp_path: Path) -> None:
    build = written(tmp_path, candidates())
    manifest = json.loads((build / "manifest.json").read_text())
    (recording,) = read_recordings(tmp_path).entries
    assert recording.path == build
    assert recording.network == Path(manifest["network"]["path"]).stem
    assert recording.when is not None
    assert recording.when.isoformat() == manifest["created"]


def test_what_has_no_time_and_no_network_is_told_by_its_name(tmp_path: Path) -> None:
    keep(tmp_path / "deep" / "net.b.json", day(1, network=None, recorded_at=None))
    keep(tmp_path / "deep" / "net.a.json", day(1, network=None, recorded_at=None))
    keep(tmp_path / "early.json", day(1))
    recordings = read_recordings(tmp_path)
    assert [each.path.name for each in recordings.entries] == ["net.a.json", "net.b.json", "early.json"]
    assert [each.network for each in recordings.entries] == ["net", "net", "net"]
    assert recordings.untimed == 2


def test_other_json_is_passed_over_and_counted(month: Path) -> None:
    (month / "gate.json").write_text('{"schema": 1, "verdict": "pass"}')
    (month / "list.json").write_text("[1, 2]")
    (month / "settings.json").write_text("{ // no JSON at all")
    (month / ".hidden").mkdir()
    (month / ".hidden" / "broken.json").write_text('{"artifact_sha256"')
    recordings = read_recordings(month)
    assert (len(recordings.entries), recordings.others) == (20, 3)


def test_a_profile_cut_short_is_refused(month: Path) -> None:
    path = month / "97.json"
    path.write_text(path.read_text()[:-50])
    with pytest.raises(BundleError, match=r"97\.json"):
        read_recordings(month)


def test_a_changed_bundle_is_refused(tmp_path: Path) -> None:
    build = written(tmp_path, candidates())
    profile = build / "profile.json"
    profile.write_text(profile.read_text().replace('"p50_ms": ', '"p50_ms": 9', 1))
    with pytest.raises(BundleError, match="sha256"):
        read_recordings(tmp_path)
    shutil.rmtree(build)
    with pytest.raises(BundleError, match="profiles below"):
        read_recordings(tmp_path)


def test_a_time_that_is_none_is_refused(tmp_path: Path) -> None:
    keep(tmp_path / "p.json", day(1, recorded_at="yesterday"))
    with pytest.raises(BundleError, match="'yesterday'"):
        read_recordings(tmp_path)
