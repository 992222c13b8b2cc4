"""Report formats of other distributions on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.cli import main
from tests.distributions import installed
from tests.reports.runs import written

SOURCE = """
def names(run):
    return ",".join(entry.recipe.name for entry in run.candidates)

def raw(run):
    return b"\\x00\\x01"

def failing(run):
    return 1 / 0

def number(run):
    return 3
"""
POINTS = {
    "compress.reports": {name: f"acme_formats:{name}" for name in ("names", "raw", "failing", "number")}
}


def test_each_is_written_beside_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build, text, raw, svg = written(tmp_path), tmp_path / "a", tmp_path / "b", tmp_path / "c.svg"
    arguments = ["--format", "names", str(text), "--format", "raw", str(raw), "--svg", str(svg), "--json"]
    with installed(tmp_path / "site", "acme", POINTS, acme_formats=SOURCE):
        assert main(["report", str(build), *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == {"names": str(text), "raw": str(raw), "svg": str(svg)}
    assert text.read_text().startswith("fp32,")
    assert raw.read_bytes() == b"\x00\x01"


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--format", "failing", "out"], "the report format 'failing' of acme 1.0; found ZeroDivisionError"),
        (["--format", "number", "out"], "the report format 'number' of acme 1.0; found a int"),
        (["--format", "name", "out"], "did you mean names or number?"),
        (["--format", "names", "out", "--format", "names", "other"], "each format of a report once"),
        (["--format", "html", "out", "--html", "other"], "each format of a report once"),
        (["--format", "names", "out", "--format", "raw", "out"], "a file of its own"),
    ],
)
def test_what_cannot_be_written_is_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    build = written(tmp_path)
    monkeypatch.chdir(tmp_path)
    with installed(tmp_path / "site", "acme", POINTS, acme_formats=SOURCE):
        assert main(["report", str(build), *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
