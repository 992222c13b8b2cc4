"""Files that a person names are regular, and of a size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import compress
from compress.bundle.profile_file import load_recorded
from compress.core.bounded_reading import read_bytes
from compress.errors import CompressError, DataError
from compress.gate.groups import load_task_and_groups
from compress.gate.policy import load_policy
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe
from compress.trends.recordings import read_recordings
from tests.graphs import classifier, samples


@pytest.fixture(params=["pipe", "device"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What may be read for ever."""
    path = tmp_path / "endless.json"
    if request.param == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


def test_pipes_and_devices_are_no_files(endless: Path) -> None:
    with pytest.raises(OSError, match="no regular file"):
        read_bytes(endless)
    for read in (Recipe.from_file, load_policy, load_recorded):
        with pytest.raises(CompressError, match="no regular file"):
            read(endless)
    with pytest.raises(CompressError, match="no regular file"):
        read_recordings(endless.parent)
    with pytest.raises(DataError, match="no regular file"):
        load_task_and_groups({"x": samples(4)}, groups=endless)


def test_a_file_of_more_bytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert read_bytes(path, 3) == b"abc"
    with pytest.raises(OSError, match="larger"):
        read_bytes(path, 2)


def test_an_ascii_terminal_shows_names_that_are_no_text(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/m\xff.onnx")
    save_model(classifier(), Path(path))
    shown = subprocess.run(
        [sys.executable, "-m", "compress", "inspect", path],
        env={
            **os.environ,
            "PYTHONIOENCODING": "ascii",
            "PYTHONPATH": str(Path(compress.__file__).parents[1]),
        },
        capture_output=True,
        check=True,
    )
    assert rb"m\udcff.onnx" in shown.stdout
