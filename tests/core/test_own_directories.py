"""Directories beside a user's: taken and deleted only where this user's compress made them."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from compress.core.own_directories import MARK, is_own, kept_until_done, own_directory, remove_own
from compress.errors import OutputError


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_one_that_was_made_is_taken_again_and_deleted(tmp_path: Path) -> None:
    place = own_directory(tmp_path / "deep" / "run.partial")
    (place / "kept").write_text("x")
    assert own_directory(place) == place
    assert (place / "kept").exists()
    remove_own(place)
    assert not place.exists()


def test_an_empty_one_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert is_own(own_directory(tmp_path / "run"))


def somebodys(place: Path) -> None:
    place.mkdir()
    (place / "mine").write_text("mine")


def with_a_mark_of_its_own(place: Path) -> None:
    somebodys(place)
    (place / MARK).write_text("0" * 64)


def copied(place: Path) -> None:
    other = own_directory(place.with_name("other"))
    (other / "mine").write_text("mine")
    shutil.copytree(other, place)


def a_link(place: Path) -> None:
    place.symlink_to(own_directory(place.with_name("other")), target_is_directory=True)


def with_a_linked_mark(place: Path) -> None:
    somebodys(place)
    shutil.move(own_directory(place.with_name("other")) / MARK, place.with_name("mark"))
    (place / MARK).symlink_to(place.with_name("mark"))


def a_file(place: Path) -> None:
    place.write_text("mine")


@pytest.mark.parametrize(
    "made", [somebodys, with_a_mark_of_its_own, copied, a_link, with_a_linked_mark, a_file]
)
def test_what_compress_did_not_make_is_neither_taken_nor_deleted(made: object, tmp_path: Path) -> None:
    place = tmp_path / "run.partial"
    made(place)  # type: ignore[operator]
    before = sorted(place.rglob("*")) if place.is_dir() else place.read_text()
    with pytest.raises(OutputError, match="which it did not make; move it away, or choose another --out"):
        own_directory(place)
    remove_own(place)
    assert (sorted(place.rglob("*")) if place.is_dir() else place.read_text()) == before


def test_a_mark_holds_for_its_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = own_directory(tmp_path / "run")
    (place / "kept").write_text("x")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    assert not is_own(place)
    monkeypatch.setattr(os, "geteuid", lambda: place.stat().st_uid + 1)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert not is_own(place)


def test_the_key_is_read_by_nobody_else(tmp_path: Path, state: Path) -> None:
    own_directory(tmp_path / "run")
    key = state / "compress" / "key"
    assert key.stat().st_mode & 0o077 == 0
    assert len(key.read_bytes()) == 32


def test_without_a_place_for_a_key_a_run_still_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    place = own_directory(tmp_path / "run")
    (place / "kept").write_text("x")
    assert own_directory(place) == place


def test_nothing_is_left_of_one_in_which_nothing_was_kept(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), kept_until_done(tmp_path / "run"):
        raise KeyboardInterrupt
    assert not (tmp_path / "run").exists()
    with contextlib.suppress(KeyboardInterrupt), kept_until_done(tmp_path / "run") as place:
        (place / "kept").write_text("x")
        raise KeyboardInterrupt
    assert (tmp_path / "run" / "kept").exists()
