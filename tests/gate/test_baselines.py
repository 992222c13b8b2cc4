"""What may be compared, and everything that is refused: with real networks, data and sessions."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.bundle.profile_file import digest, load_recorded, with_digest
from compress.cli import main
from compress.data.evaluation import MeasuredSamples, left_out_note
from compress.data.task import load_task
from compress.errors import BundleError, DataError
from compress.gate import Check, GatePolicy, Subject, Verdict, gate, load_subject, overall
from compress.gate.groups import load_task_and_groups
from compress.gate.policy import CHECKS
from compress.records.profile import Profile
from tests.graphs import samples

#: Wide margins for time, and few rounds: what is tested here is not whether this machine is quiet.
EASY = GatePolicy(max_slowdown_percent=1000, looks=(5,), max_slice_drop_points=20)


def gated(
    room: Path, candidate: str, baseline: str, data: str | None = "val.npz", **fields: Any
) -> list[Check]:
    sides = [load_subject(room / side) for side in (candidate, baseline)]
    task, groups = (None, None) if data is None else load_task_and_groups(str(room / data), subjects=sides)
    return gate(*sides, task=task, groups=groups, policy=replace(EASY, **fields))


def verdicts(checks: list[Check]) -> dict[str, str]:
    return {check.name: str(check.verdict) for check in checks}


def write_profile(path: Path, profile: Profile, **changes: Any) -> Path:
    path.write_text(json.dumps(with_digest(replace(profile, **changes))))
    return path


def write_resealed(path: Path, data: dict[str, Any]) -> None:
    """Changed by whoever knows how the hash is taken, so that nothing but the content itself tells."""
    data.pop("sha256")
    path.write_text(json.dumps({**data, "sha256": digest(data)}))


def test_two_onnx_files(room: Path) -> None:
    passed = {"accuracy": "pass", "slices": "pass", "latency": "pass", "size": "pass"}
    assert verdicts(gated(room, "main.onnx", "main.onnx")) == passed
    assert verdicts(gated(room, "broken.onnx", "main.onnx"))["accuracy"] == "fail"
    assert verdicts(gated(room, "wide.onnx", "main.onnx"))["size"] == "fail"


def test_every_check_is_made_and_only_those_of_the_policy(room: Path) -> None:
    checks = gated(room, "main.onnx", "main.onnx", checks=CHECKS)
    assert [check.name for check in checks] == list(CHECKS)
    found = verdicts(checks)
    assert found.pop("energy") == "skipped"
    assert found.pop("coverage") == "pass"
    assert found.pop("memory") in ("pass", "inconclusive")
    for check in checks:
        if check.name in (
            "latency",
            "p99",
        ):  # how long calls take decides; that they were timed is what counts here
            assert found.pop(check.name) != "skipped"
            assert check.figures["low"] <= check.figures["ratio"] <= check.figures["high"]
    assert set(found.values()) == {"pass"}
    assert [check.name for check in gated(room, "main.onnx", "main.onnx", checks=("size",))] == ["size"]


def test_groups_of_the_npz_are_the_slices_and_not_an_input(room: Path) -> None:
    checks = gated(room, "broken.onnx", "main.onnx", "grouped.npz", checks=("slices",))
    assert [row["name"] for row in checks[0].figures["slices"]] == ["day", "night"]
    assert checks[0].verdict is Verdict.FAIL


def test_groups_follow_the_samples_that_are_evaluated(room: Path, tmp_path: Path) -> None:
    with np.load(room / "val.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    np.save(tmp_path / "groups.npy", y)  # so that every group must be the label of its sample
    apart = load_task(str(room / "val.npz"), calibration_samples=100, seed=3).evaluation
    for measured, count in ((None, len(x)), (MeasuredSamples(apart.sha256, 100, 3), len(apart))):
        subjects = [Subject("build", None, None, measured=measured)]
        task, groups = load_task_and_groups(
            str(room / "val.npz"), groups=tmp_path / "groups.npy", subjects=subjects
        )
        assert len(task.evaluation) == count
        assert (left_out_note(task) is None) is (measured is None)
        assert task.evaluation.labels is not None
        np.testing.assert_array_equal(groups, task.evaluation.labels)


@pytest.mark.parametrize(
    "groups", [np.zeros(3, int), np.zeros((800, 2), int), np.zeros(800), np.array([None] * 800)]
)
def test_groups_that_fit_no_sample_are_refused(room: Path, tmp_path: Path, groups: np.ndarray) -> None:
    np.save(tmp_path / "groups.npy", groups, allow_pickle=True)
    with pytest.raises(DataError):
        load_task_and_groups(str(room / "val.npz"), groups=tmp_path / "groups.npy")


def test_recorded_profile_is_paired_by_its_outcomes(room: Path) -> None:
    checks = gated(room, "main.onnx", "main.json")
    assert verdicts(checks)["accuracy"] == "pass"
    assert verdicts(checks)["slices"] == "pass"
    assert "not paired" in next(check.detail for check in checks if check.name == "latency")
    assert verdicts(gated(room, "broken.onnx", "main.json"))["accuracy"] == "fail"


def test_recorded_profile_of_other_data_is_refused(room: Path) -> None:
    with pytest.raises(BundleError, match="recorded with top-1 on data"):
        gated(room, "main.onnx", "main.json", "other.npz")


def test_recorded_profile_of_another_metric_is_refused(room: Path, tmp_path: Path) -> None:
    profile = load_recorded(room / "main.json")
    assert profile.accuracy is not None
    accuracy = replace(profile.accuracy, metric="top-2")
    with pytest.raises(BundleError, match="top-2"):
        gated(room, "main.onnx", str(write_profile(tmp_path / "p.json", profile, accuracy=accuracy)))


@pytest.mark.parametrize(("key", "value"), [("governor", "powersave"), ("cpu", "another processor")])
def test_latency_of_another_machine_or_power_mode_is_not_compared(
    room: Path, tmp_path: Path, key: str, value: str
) -> None:
    profile = load_recorded(room / "main.json")
    other = write_profile(tmp_path / "p.json", profile, fingerprint={**profile.fingerprint, key: value})
    checks = gated(room, "main.onnx", str(other))
    latency = next(check for check in checks if check.name == "latency")
    assert latency.verdict is Verdict.SKIPPED
    assert f"{key} {value}" in latency.detail
    assert overall(checks) is Verdict.INCONCLUSIVE


def test_estimated_latency_is_not_compared(room: Path, tmp_path: Path) -> None:
    profile = load_recorded(room / "main.json")
    estimated = replace(profile.latency[0], source="estimated")
    checks = gated(room, "main.onnx", str(write_profile(tmp_path / "p.json", profile, latency=(estimated,))))
    assert verdicts(checks)["latency"] == "skipped"


def test_latency_at_another_batch_is_not_compared(room: Path) -> None:
    with pytest.raises(BundleError):  # nothing ran it on data, so nothing was recorded of it
        gated(room, "fixed.onnx", "main.json", None)
    assert verdicts(gated(room, "fixed.onnx", "main.json"))["latency"] == "skipped"


def test_checks_that_need_to_run_the_baseline_are_skipped_with_a_profile(room: Path) -> None:
    found = verdicts(
        gated(
            room, "main.onnx", "main.json", checks=("calibration", "corruptions", "p99", "memory", "coverage")
        )
    )
    assert set(found.values()) == {"skipped"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"outcomes": "1', '"outcomes": "0', "another content"),
        ('"sha256": "', '"sha256": "0', "another content"),
        ('"schema": 1', '"schema": 99', "another content"),
        ('"p50_ms": ', '"p50_ms": 1', "another content"),
    ],
)
def test_profile_that_was_changed_is_refused(
    room: Path, tmp_path: Path, old: str, new: str, told: str
) -> None:
    text = (room / "main.json").read_text()
    assert old in text
    (tmp_path / "p.json").write_text(text.replace(old, new, 1))
    with pytest.raises(BundleError, match=told):
        load_subject(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"outcomes": ()}, "outcomes of"),
        ({"outcomes": (1.0, 1.0)}, "outcomes of"),
        ({"schema": 99}, "schema 99"),
        ({"accuracy": "good"}, "a profile written by"),
        ({"nonsense": 1}, "a profile written by"),
    ],
)
def test_profile_that_contradicts_itself_is_refused(
    room: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    data = json.loads((room / "main.json").read_text())
    write_resealed(tmp_path / "p.json", {**data, **json.loads(json.dumps(changes))})
    with pytest.raises(BundleError, match=told):
        load_subject(tmp_path / "p.json")


def test_profile_that_lost_its_hash_is_refused(room: Path, tmp_path: Path) -> None:
    data = json.loads((room / "main.json").read_text())
    del data["sha256"]
    (tmp_path / "p.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match="a profile with its sha256; found none"):
        load_subject(tmp_path / "p.json")


def test_mean_that_is_not_of_its_outcomes_is_refused(room: Path, tmp_path: Path) -> None:
    data = json.loads((room / "main.json").read_text())
    data["accuracy"]["mean"] = 0.5
    write_resealed(tmp_path / "p.json", data)
    with pytest.raises(BundleError, match="outcomes with the mean"):
        load_subject(tmp_path / "p.json")


def recorded_pair(room: Path, **changes: Any) -> tuple[Subject, Subject]:
    """Two builds with recorded outcomes, as bundles have them; the baseline's profile is changed."""
    subject = load_subject(room / "main.onnx")
    profile = load_recorded(room / "main.json")
    return replace(subject, profile=profile), replace(subject, profile=replace(profile, **changes))


def test_recorded_outcomes_are_compared_without_data(room: Path) -> None:
    found = verdicts(gate(*recorded_pair(room), policy=EASY))
    assert found == {"accuracy": "pass", "slices": "skipped", "latency": "pass", "size": "pass"}


def test_recorded_outcomes_of_other_data_are_refused(room: Path) -> None:
    accuracy = load_recorded(room / "main.json").accuracy
    assert accuracy is not None
    with pytest.raises(BundleError, match="give --data"):
        gate(*recorded_pair(room, accuracy=replace(accuracy, data_sha256="0" * 64)), policy=EASY)


def test_outcomes_without_a_sample_pass_nothing(room: Path) -> None:
    candidate, baseline = recorded_pair(room, outcomes=())
    with pytest.raises(DataError, match="at least one"):
        gate(candidate, baseline, policy=EASY)
    with pytest.raises(DataError, match="at least one"):
        gate(baseline, baseline, policy=EASY)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": samples(0), "y": np.zeros(0, np.int64)}, "samples"),
        ({"x": samples(1), "y": np.zeros(1, np.int64)}, "at least 2 evaluation samples"),
        ({"x": samples(40), "y": np.arange(40)}, "labels from 0 to 3"),
        ({"x": samples(40)[:, :2], "y": np.arange(40) % 4}, "x: float32"),
    ],
)
def test_data_that_decides_nothing_is_usage(
    room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, np.ndarray], told: str
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    path = str(room / "main.onnx")
    assert main(["gate", path, "--baseline", path, "--data", str(tmp_path / "data.npz")]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("part", "other"), [("inputs", {"name": "image"}), ("outputs", {"shape": ["batch", 5]})]
)
def test_recorded_profile_of_another_network_is_refused(
    room: Path, tmp_path: Path, part: str, other: dict[str, Any]
) -> None:
    with load_subject(room / "main.onnx").open() as session:
        specs = {
            name: tuple(spec.to_dict() for spec in getattr(session, name)) for name in ("inputs", "outputs")
        }
    profile = replace(load_recorded(room / "main.json"), **specs)  # type: ignore[arg-type]
    assert gated(room, "main.onnx", str(write_profile(tmp_path / "p.json", profile)))
    changed = write_profile(tmp_path / "p.json", profile, **{part: ({**specs[part][0], **other},)})
    with pytest.raises(BundleError, match=f"a baseline with {part}"):
        gated(room, "main.onnx", str(changed))


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package's energy counter, as the kernel shows it, of a processor that draws one watt."""
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0")
    (zone / "max_energy_range_uj").write_text(str(10**12))
    (zone / "energy_uj").write_text("0")
    done = threading.Event()

    def count() -> None:
        while not done.wait(0.001):
            (zone / "next").write_text(str(time.monotonic_ns() // 1000))
            (zone / "next").replace(zone / "energy_uj")

    monkeypatch.setattr("compress.profiling.energy.POWERCAP", tmp_path)
    thread = threading.Thread(target=count)
    thread.start()
    yield
    done.set()
    thread.join()


@pytest.mark.usefixtures("counter")
def test_energy_of_both_is_measured_in_turns(room: Path) -> None:
    wide = {"checks": ("energy",), "max_energy_growth_percent": 10_000.0}
    (check,) = gated(room, "main.onnx", "main.onnx", **wide)
    assert check.verdict is Verdict.PASS
    assert [len(check.figures[name]) for name in ("candidate_mj", "baseline_mj")] == [5, 5]
    (check,) = gated(room, "main.onnx", "main.json", **wide)
    assert check.verdict is Verdict.SKIPPED


def test_metric_of_agreement_needs_a_baseline_that_runs(room: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.load(room / "val.npz")["x"])
    with pytest.raises(BundleError, match="agreement"):
        gated(room, "main.onnx", "main.json", str(tmp_path / "x.npz"))
    assert verdicts(gated(room, "main.onnx", "main.onnx", str(tmp_path / "x.npz")))["accuracy"] == "pass"


@pytest.mark.parametrize(
    ("candidate", "baseline", "told"),
    [
        ("main.onnx", "five_classes.onnx", "scores: float32"),
        ("main.onnx", "fixed.onnx", "x: float32"),
        ("main.json", "main.onnx", "a profile"),
        ("main.onnx", "nowhere", "nothing at"),
        ("nowhere", "main.onnx", "nothing at"),
        ("main.onnx", "empty", "an empty file"),
        ("main.onnx", "val.npz", "an ONNX file"),
        ("main.onnx", "broken.json", "a profile written by"),
        ("main.onnx", ".", "manifest.json"),
    ],
)
def test_what_cannot_be_compared_is_usage(
    room: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    candidate: str,
    baseline: str,
    told: str,
) -> None:
    monkeypatch.chdir(room)
    (room / "empty").touch()
    (room / "broken.json").write_text("{")
    assert main(["gate", candidate, "--baseline", baseline, "--data", "val.npz"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
