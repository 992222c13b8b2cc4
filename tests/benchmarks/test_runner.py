"""Every benchmark is found by the one runner, and says what it measures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from benchmarks.__main__ import HERE, benchmarks, main


def test_every_script_is_listed_with_a_sentence():
    scripts = {
        path.stem
        for path in HERE.glob("*.py")
        if '__name__ == "__main__"' in path.read_text() and path.stem != "__main__"
    }
    packages = {path.parent.name for path in HERE.glob("*/__main__.py")}
    assert scripts | packages <= set(benchmarks())
    assert all(len(told.split()) > 2 for told in benchmarks().values())


def test_an_unknown_name_gets_the_nearest():
    result = CliRunner().invoke(main, ["run", "quantisation"])
    assert result.exit_code == 2
    assert "did you mean quantization" in result.output


def test_a_benchmark_gets_its_own_arguments():
    command = [sys.executable, "-m", "benchmarks", "run", "gate_statistics", "--help"]
    done = subprocess.run(command, cwd=Path(HERE).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--only" in done.stdout
