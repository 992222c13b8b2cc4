"""Files written whole; what a killed run left beside one is deleted by the next, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from compress.core.own_directories import own_directory
from compress.core.replacing import replaced_whole, scratch_beside, temporary_directory
from compress.errors import OutputError

#: Begins to write a file, says so, and waits.
_WRITES = """
import sys, time
from pathlib import Path
from compress.core.replacing import replaced_whole
with replaced_whole(Path(sys.argv[1])) as written:
    written.write_text("half")
    print("begun", flush=True)
    time.sleep(600)
"""


#: Puts something large into a temporary file, each in its own way, says so, and waits.
_HOLDS = {
    "weights of a graph": """
import sys, time
import numpy as np
import onnx
from compress.onnx_graph.weights import spooled
large = onnx.numpy_helper.from_array(np.ones(1 << 15, np.float32), "w")
graph = onnx.helper.make_graph([], "g", [], [], [large])
with spooled(onnx.helper.make_model(graph)):
    print("begun", flush=True)
    time.sleep(600)
""",
    "weights that last": """
import time
from compress.onnx_graph.weights import lasting_folder
(lasting_folder() / "w").write_bytes(bytes(1 << 16))
print("begun", flush=True)
time.sleep(600)
""",
    "activations": """
import time
import numpy as np
from compress.quantization.shelf import Shelf
shelf = Shelf(room=0)
kept = shelf.put(np.ones(1 << 15))
print("begun", flush=True)
time.sleep(600)
""",
}


def _begun(path: Path, program: str = _WRITES) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(path.parent)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    return process


def _scratch(place: Path) -> list[Path]:
    return sorted(place.glob(".compress-*"))


def _write(path: Path, text: str) -> None:
    with replaced_whole(path) as written:
        written.write_text(text)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_run_left_is_deleted_by_the_next(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "report.md"
    path.write_text("before")
    with _begun(path) as process:
        process.send_signal(number)
    assert len(_scratch(tmp_path)) == 1
    assert path.read_text() == "before"
    _write(tmp_path / "another.md", "whole")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["another.md", "report.md"]


@pytest.mark.parametrize("holds", _HOLDS)
def test_large_temporary_files_of_a_killed_run_are_deleted_by_the_next(
    tmp_path: Path, holds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _begun(tmp_path / "unused", _HOLDS[holds]) as process:
        process.send_signal(signal.SIGKILL)
    (theirs,) = _scratch(tmp_path)
    assert sum(each.stat().st_size for each in theirs.iterdir()) >= 1 << 16
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_directory() as ours:
        assert _scratch(tmp_path) == [ours]
    assert not _scratch(tmp_path)


def test_what_a_living_run_writes_stays(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    with _begun(path) as process:
        try:
            (theirs,) = _scratch(tmp_path)
            _write(path, "whole")
            assert _scratch(tmp_path) == [theirs]
            assert (theirs / "report.md").read_text() == "half"
        finally:
            process.kill()
    assert path.read_text() == "whole"


def test_one_within_another_stays(tmp_path: Path) -> None:
    with scratch_beside(tmp_path / "a") as outer:
        (outer / "kept").write_text("x")
        _write(tmp_path / "b", "whole")
        assert (outer / "kept").read_text() == "x"
    assert not _scratch(tmp_path)


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / ".compress-theirs").mkdir()
    (tmp_path / ".compress-theirs" / "kept").write_text("x")
    (tmp_path / ".compress-file").write_text("x")
    away = own_directory(tmp_path / "away")
    (tmp_path / ".compress-link").symlink_to(away, target_is_directory=True)
    before = sorted(tmp_path.rglob("*"))
    _write(tmp_path / "a", "whole")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "a"])


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError), replaced_whole(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError, match="No such file"), replaced_whole(tmp_path / "missing" / "a"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_directory_that_cannot_be_listed_can_be_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o300)
    _write(tmp_path / "a", "whole")
    tmp_path.chmod(0o700)
    assert (tmp_path / "a").read_text() == "whole"
