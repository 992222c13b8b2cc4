"""Readers of other distributions beside ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compress.data import open_data
from compress.errors import DataError
from tests.distributions import installed

SOURCE = """
import numpy as np
from compress.data.arrays import ArraySplit
from compress.data.readers import DataReader

class Rows(DataReader):
    def reads(self, path, start):
        return start.startswith(b"rows") or start.startswith(b"{") or (path.is_dir() and (path / "rows").exists())

    def open(self, path, image_options):
        text = path.read_text() if path.is_file() else ""
        if "wrong" in text:
            1 / 0
        if "nothing" in text:
            return None
        return ArraySplit.from_arrays({"x": np.ones((3, 2), np.float32)}, str(path))

class Careless(DataReader):
    def reads(self, path, start):
        raise SystemExit(0)

    def open(self, path, image_options):
        return None
"""
POINTS = {"compress.readers": {"rows": "acme_readers:Rows"}}


def test_it_reads_what_ours_do_not_and_what_ours_would_take_last(tmp_path: Path) -> None:
    with installed(tmp_path / "site", "acme", POINTS, acme_readers=SOURCE):
        (tmp_path / "text").write_text("rows")
        (tmp_path / "json").write_text(json.dumps({}))
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "rows").touch()
        for name in ("text", "json", "folder"):
            assert len(open_data(tmp_path / name)) == 3
    with pytest.raises(DataError, match="a file of another kind"):
        open_data(tmp_path / "text")


def test_ours_are_asked_first_for_what_they_know(tmp_path: Path) -> None:
    np.savez(tmp_path / "val.npz", x=np.ones((5, 2), np.float32))
    with installed(
        tmp_path / "site", "acme", {"compress.readers": {"bad": "acme_readers:Careless"}}, acme_readers=SOURCE
    ):
        assert len(open_data(tmp_path / "val.npz")) == 5


@pytest.mark.parametrize(
    "text, told", [("rows wrong", "ZeroDivisionError"), ("rows nothing", "a NoneType and no Split")]
)
def test_one_that_fails_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "val").write_text(text)
    with (
        installed(tmp_path / "site", "acme", POINTS, acme_readers=SOURCE),
        pytest.raises(
            DataError, match=rf"the data reader 'rows' of acme 1.0; found .*{told}.*uninstall acme"
        ),
    ):
        open_data(tmp_path / "val")


def test_one_that_ends_the_process_does_not(tmp_path: Path) -> None:
    (tmp_path / "val").write_text("rows")
    points = {"compress.readers": {"bad": "acme_readers:Careless"}}
    with (
        installed(tmp_path / "site", "acme", points, acme_readers=SOURCE),
        pytest.raises(DataError, match=r"the data reader 'bad' of acme 1.0; found .*SystemExit"),
    ):
        open_data(tmp_path / "val")


def test_two_that_take_one_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "val").write_text("rows")
    points = {"compress.readers": {"other-rows": "acme_readers:Rows"}}
    with (
        installed(tmp_path / "a", "acme", POINTS, acme_readers=SOURCE),
        installed(tmp_path / "b", "other", points, acme_readers=SOURCE),
        pytest.raises(DataError, match=r"several: 'other-rows' of other 1.0 and 'rows' of acme 1.0"),
    ):
        open_data(tmp_path / "val")
