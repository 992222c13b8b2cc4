"""Every benchmark is found by the one runner, and says what it measures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import HERE, benchmarks, main, told


def test_every_script_is_listed_with_a_sentence():
    runnable = [
        path
        for path in HERE.rglob("*.py")
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    ]
    packages = {path.parent for path in runnable if path.name == "__main__.py"} - {HERE}
    single = {path.stem for path in runnable if path.parent not in packages and path.parent != HERE}
    listed = benchmarks()
    assert {name.rpartition(".")[2] for name in listed} == single | {package.name for package in packages}
    assert len(set(listed.values())) == len(listed) == len(single) + len(packages)  # no two have one name
    assert all(len(told(module).split()) > 2 for module in listed.values())


def test_a_benchmark_is_listed_below_its_folder():
    lines = CliRunner().invoke(main, ["list"]).output.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["data:", "gate:", "networks:", "studies:"]
    assert (
        lines.index("gate:")
        < lines.index(next(line for line in lines if line.startswith("  verdicts ")))
        < (lines.index("networks:"))
    )


def test_an_unknown_name_gets_the_nearest():
    result = CliRunner().invoke(main, ["run", "quantisation"])
    assert result.exit_code == 2
    assert "did you mean quantization" in result.output


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of results, and a benchmark ``rows`` that hands over the tables of its arguments: NAME or NAME=ROW."""
    (tmp_path / "benchmark_of_rows.py").write_text(
        "import sys\n"
        "from benchmarks import results\n"
        "for argument in sys.argv[1:]:\n"
        "    name, _, row = argument.partition('=')\n"
        "    if not name.startswith('-'):\n"
        "        results.record(name, [{'row': row}] if row else [])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("benchmarks.results.RESULTS", tmp_path / "results")
    monkeypatch.setattr("benchmarks.__main__.benchmarks", lambda: {"rows": "benchmark_of_rows"})
    monkeypatch.setattr("benchmarks.__main__.records", lambda module: True)
    return tmp_path / "results" / "rows.json"


def test_what_was_measured_is_recorded(recorder: Path):
    result = CliRunner().invoke(main, ["run", "--record", "rows", "builds=fp32"])
    assert result.exit_code == 0, result.output
    assert json.loads(recorder.read_text())["tables"] == {"builds": [{"row": "fp32"}]}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--record", "rows"], 1, "no rows for any table"),
        (["--record", "rows", "builds=fp32", "layers"], 1, "no rows for layers"),
        (["--record", "rows", "--help"], 0, ""),
        (["--record", "rows", "-h", "builds=fp32"], 0, ""),
        (["rows", "--record", "builds=fp32"], 2, "--record stands before rows"),
        (["rows", "builds=fp32"], 0, ""),
    ],
)
def test_without_rows_nothing_is_recorded(recorder: Path, arguments: list[str], code: int, told: str):
    """The file of an earlier run is left as it is."""
    recorder.parent.mkdir()
    recorder.write_text("earlier")
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == code
    assert told in result.output
    assert recorder.read_text() == "earlier"


def test_a_benchmark_gets_its_own_arguments():
    command = [sys.executable, "-m", "benchmarks", "run", "gate_statistics", "--help"]
    done = subprocess.run(command, cwd=Path(HERE).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--only" in done.stdout
