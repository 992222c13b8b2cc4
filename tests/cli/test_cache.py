"""``compress cache``: lists and deletes what compress made, and nothing else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from compress.cli import main
from compress.core.own_directories import locked, own_directory


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("compress.hosts.lock.PATH", str(tmp_path / "board.lock"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def written(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def partial(path: Path, size: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    written(own_directory(path) / "run.json", size)
    return path


def listed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    assert main(["cache", *arguments, "--json"]) == code
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["kept"]
    return found


def test_nothing_is_kept_at_first(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == "nothing is kept\n"
    assert not (place / "state").exists()


def test_everything_is_listed_with_its_size_and_removed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = place / "cache" / "compress"
    written(ours / "engines" / "abc" / "build-0" / "model.engine", 3000)
    written(ours / "timing-10.3-8.7-0.cache", 200)
    written(ours / "torch-tensorrt" / "abc.pt2", 500)
    partial(place / "work" / "deep" / "build.partial")
    found = listed(capsys)
    assert [each["kind"] for each in found] == ["engine", "timing cache", "program", "partial", "key"]
    assert [each["bytes"] for each in found[:3]] == [3000, 200, 500]
    assert found[3]["bytes"] > 1000
    assert main(["cache"]) == 0
    assert "engine           3 kB  " in capsys.readouterr().out
    assert [each["removed"] for each in listed(capsys, "--remove")] == [True, True, True, True, False]
    assert [each["kind"] for each in listed(capsys)] == ["key"]


def test_what_is_not_ours_is_neither_listed_nor_removed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = [
        written(place / "work" / "video.partial" / "part-1", 10),
        written(place / "cache" / "compress" / "notes.txt", 10),
        written(place / "cache" / "other" / "engines" / "a", 10),
        written(place / "elsewhere" / "precious", 10),
    ]
    (place / "cache" / "compress" / "engines").mkdir()
    (place / "cache" / "compress" / "engines" / "link").symlink_to(place / "elsewhere")
    own_directory(place / "work" / "build.staging")  # may hold a bundle that stepped aside
    assert [each["kind"] for each in listed(capsys, "--remove")] == ["key"]
    assert all(path.exists() for path in theirs)
    assert (place / "work" / "build.staging").exists()


def test_a_copied_mark_is_no_mark(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = partial(place / "work" / "a.partial")
    copy = place / "work" / "b.partial"
    written(copy / ".compress", 0).write_bytes((ours / ".compress").read_bytes())
    assert [Path(each["path"]).name for each in listed(capsys)[:-1]] == ["a.partial"]


def test_results_of_a_run_that_goes_on_are_left(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    going = partial(place / "work" / "build.partial")
    lock = locked(going)
    try:
        assert main(["cache", "--remove"]) == 1
    finally:
        os.close(lock)
    assert "build.partial is left: locked by another compress" in capsys.readouterr().err
    assert (going / "run.json").exists()
    assert main(["cache", "--remove"]) == 0
    assert not going.exists()


def test_engines_that_are_in_use_are_left(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = written(place / "cache" / "compress" / "engines" / "abc" / "model.engine", 10)
    written(place / "board.lock" / "beat", 0).write_text(str(int(time.time())))
    assert main(["cache", "--remove"]) == 1
    assert "a run builds or measures engines" in capsys.readouterr().err
    assert engine.exists()
    (place / "board.lock" / "beat").write_text(str(int(time.time()) - 3600))
    assert main(["cache", "--remove"]) == 0
    assert not engine.exists()


def test_directories_that_are_named_are_looked_in(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = partial(place / "other" / "student.pt2.partial")
    assert [each["kind"] for each in listed(capsys)] == ["key"]
    for named in (there, place / "other"):
        assert [each["path"] for each in listed(capsys, str(named))][:1] == [str(there)]
    both = listed(capsys, str(there), str(place / "other"))
    assert [each["kind"] for each in both] == ["partial", "key"]
    assert main(["cache", str(place / "nowhere")]) == 2
    assert "a directory to look in" in capsys.readouterr().err
