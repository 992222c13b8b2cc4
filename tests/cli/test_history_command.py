from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from compress.cli import main
from compress.records.schemas import schema_text
from tests.trends.conftest import month

__all__ = ["month"]


def test_trend_and_change_points_are_shown(month: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", str(month), "--markdown", str(month / "trend.md")]) == 0
    lines = capsys.readouterr().out.splitlines()
    trend = next(line for line in lines if line.startswith("p50 at batch 1 "))
    bars = next(part for part in trend.split() if "│" in part)
    before, after = bars.split("│")
    assert (len(before), len(after)) == (10, 10)
    assert sorted(before)[5] < sorted(after)[5]  # bars rise in the order of their code points
    assert any("net on cpu: p50 at batch 1 +" in line and "of 2026-10-11 12:00 UTC" in line for line in lines)
    assert any("net on cpu: size +5.0 %, worse: 1 kB to 1.05 kB" in line for line in lines)
    assert max(map(len, lines[:8])) <= 80
    assert bars in (month / "trend.md").read_text()


def test_json_tells_every_point(month: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", str(month), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    schema = json.loads(schema_text("history"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(told)
    assert (told["schema"], told["profiles"], told["untimed"]) == (1, 20, 0)
    series = next(each for each in told["series"] if each["figure"] == "p50 at batch 1")
    assert [point["recorded_at"][8:10] for point in series["points"]] == [
        f"{day:02d}" for day in range(1, 21)
    ]
    assert [change["index"] for change in series["changes"]] == [10]
    assert series["points"][0]["low"] < series["points"][0]["value"] < series["points"][0]["high"]


def test_few_profiles_decide_nothing_and_it_is_said(month: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted(month.iterdir())[9:]:
        path.unlink()
    assert main(["history", str(month)]) == 0
    out = capsys.readouterr().out
    assert "too few" in out
    assert "fewer than 10 points" in out


def test_wrong_input_is_one_line(month: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (month / "empty").mkdir()
    (month / "other").mkdir()
    (month / "other" / "settings.json").write_text("{}")
    tampered = month / "tampered" / "p.json"
    tampered.parent.mkdir()
    tampered.write_text((month / "97.json").read_text().replace('"p50_ms": ', '"p50_ms": 1', 1))
    for directory, told in (
        ("empty", "found none"),
        ("other", "1 JSON files of other kinds"),
        ("tampered", "a profile with sha256"),
        ("nowhere", "nothing at"),
        ("97.json", "a file"),
    ):
        assert main(["history", str(month / directory)]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1


def test_needs_no_torch(month: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = sys.modules['onnxruntime'] = None\n"
        f"from compress.cli import main; sys.exit(main(['history', {str(month)!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
