from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import UsageError
from compress.gate import GatePolicy, load_policy
from compress.gate.policy import CHECKS


def policy(directory: Path, text: str) -> GatePolicy:
    path = directory / "gate.toml"
    path.write_text(text)
    return load_policy(path)


def test_keys_that_are_absent_keep_their_defaults(tmp_path: Path) -> None:
    read = policy(tmp_path, 'max_drop_points = 0.5\nlooks = [30, 60]\nchecks = ["accuracy", "p99"]')
    assert read == GatePolicy(max_drop_points=0.5, looks=(30, 60), checks=("accuracy", "p99"))
    assert policy(tmp_path, "") == GatePolicy()


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


def test_there_has_to_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        load_policy(tmp_path / "nowhere.toml")
