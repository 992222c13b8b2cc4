from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import compress
from compress.cli import main
from compress.errors import UsageError
from compress.gate import GatePolicy, load_policy
from compress.gate.policy import CHECKS, policy_of


def policy(directory: Path, text: str) -> GatePolicy:
    path = directory / "gate.toml"
    path.write_text(text)
    return load_policy(path)


def test_keys_that_are_absent_keep_their_defaults(tmp_path: Path) -> None:
    read = policy(tmp_path, 'max_drop_points = 0.5\nlooks = [30, 60]\nchecks = ["accuracy", "p99"]')
    assert read == GatePolicy(max_drop_points=0.5, looks=(30, 60), checks=("accuracy", "p99"))
    assert policy(tmp_path, "") == GatePolicy()


def test_the_default_margins_are_those_that_the_documentation_tells() -> None:
    assert GatePolicy().to_dict() == {
        "max_drop_points": 1.0,
        "max_slowdown_percent": 2.0,
        "max_drift_percent": 50.0,
        "alpha": 0.05,
        "looks": [7, 10, 16, 30],
        "checks": ["accuracy", "slices", "latency", "size"],
        "max_slice_drop_points": 5.0,
        "slice_correction": "holm",
        "undecided_slices": "report",
        "repeated_samples": "once",
        "max_churn_percent": 5.0,
        "max_calibration_rise_points": 2.0,
        "max_corruption_drop_points": 3.0,
        "max_p99_slowdown_percent": 10.0,
        "max_size_growth_percent": 5.0,
        "max_memory_growth_percent": 10.0,
        "max_energy_growth_percent": 5.0,
        "max_coverage_fall_points": 1.0,
    }


MARGINS = {
    "max_drop_points": 10_000,
    "max_slice_drop_points": 10_000,
    "max_churn_percent": 100,
    "max_calibration_rise_points": 100,
    "max_corruption_drop_points": 10_000,
    "max_slowdown_percent": 10_000,
    "max_drift_percent": 10_000,
    "max_p99_slowdown_percent": 10_000,
    "max_size_growth_percent": 10_000,
    "max_memory_growth_percent": 10_000,
    "max_energy_growth_percent": 10_000,
    "max_coverage_fall_points": 100,
}


@pytest.mark.parametrize("name", MARGINS)
def test_a_margin_is_from_nothing_to_its_largest_value(tmp_path: Path, name: str) -> None:
    for value in (0, MARGINS[name]):
        assert getattr(policy(tmp_path, f"{name} = {value}"), name) == value
    for value in (-0.01, MARGINS[name] + 0.01):
        with pytest.raises(UsageError, match=name):
            policy(tmp_path, f"{name} = {value}")


def test_rounds_and_errors_have_their_ranges(tmp_path: Path) -> None:
    many = list(range(1, 21))
    assert policy(tmp_path, f"looks = {many}").looks == tuple(many)
    assert policy(tmp_path, "looks = [10000]").looks == (10_000,)
    assert policy(tmp_path, "alpha = 0.49").alpha == 0.49
    assert policy(tmp_path, "alpha = 1e-6").alpha == 1e-6
    for text in (
        f"looks = {[*many, 21]}",
        "looks = [10001]",
        "looks = [1.5]",
        "alpha = 0.491",
        "alpha = 9e-7",
    ):
        with pytest.raises(UsageError, match=text.split()[0]):
            policy(tmp_path, text)


def test_a_policy_made_in_python_is_held_to_the_same_ranges() -> None:
    assert GatePolicy(max_drop_points=10_000).max_drop_points == 10_000
    for margin in (-0.1, 10_000.5, "2", True):
        with pytest.raises(UsageError, match="max_drop_points"):
            GatePolicy(max_drop_points=margin)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="looks that rise"):
        GatePolicy(looks=(7, 7))
    given = GatePolicy(alpha=0.01)
    with pytest.raises(dataclasses.FrozenInstanceError):
        given.alpha = 0.5  # type: ignore[misc]
    assert policy_of(given) is given


def test_every_field_can_be_written_in_a_file(tmp_path: Path) -> None:
    lines = []
    for name, value in GatePolicy(checks=CHECKS).to_dict().items():
        lines.append(f"{name} = {value if not isinstance(value, str) else repr(value)}")
    assert policy(tmp_path, "\n".join(lines)) == GatePolicy(checks=CHECKS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_drop_point = 1", "did you mean max_drop_points"),
        ("max_drop_points = -1", "max_drop_points"),
        ("max_slice_drop_points = -0.1", "max_slice_drop_points"),
        ("max_size_growth_percent = nan", "max_size_growth_percent"),
        ("max_slowdown_percent = '2'", "max_slowdown_percent"),
        ("alpha = 0.5", "alpha"),
        ("alpha = 0", "alpha"),
        ("looks = [100, 50]", "looks that rise"),
        ("looks = []", "looks"),
        ("looks = [0]", "looks"),
        ("checks = []", "checks"),
        ("checks = ['accuracy', 'latencies']", "checks"),
        ("slice_correction = 'none'", "slice_correction"),
        ("undecided_slices = 'pass'", "undecided_slices"),
        ("[accuracy]\nmax_drop_points = 1", "accuracy"),
        ("max_drop_points 1", "valid TOML"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        policy(tmp_path, text)


@pytest.mark.parametrize(
    ("given", "told"), [("", "the path of a policy file"), ("missing.toml", "missing.toml")]
)
def test_a_policy_that_is_no_file_does_not_become_the_default_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate.toml").write_text("max_drop_points = 0.1")
    assert policy_of(None) == GatePolicy()
    assert policy_of("gate.toml") == policy_of(Path("gate.toml")) == GatePolicy(max_drop_points=0.1)
    with pytest.raises(UsageError, match=told):
        policy_of(given)
    with pytest.raises(UsageError, match=told):
        compress.gate_build("build", baseline="main", policy=given)
    assert main(["gate", "build", "--baseline", "main", "--policy", given]) == 2
    assert told in capsys.readouterr().err


def test_there_has_to_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        load_policy(tmp_path / "nowhere.toml")
