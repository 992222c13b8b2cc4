"""What the user may give as data, and what is said about the rest."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from compress.data import open_data
from compress.errors import DataError

X, Y = np.arange(24, dtype=np.float32).reshape(8, 3), np.arange(8)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "opening_data.py"
    sys.modules.pop("opening_data", None)


_PREFIX = "import numpy as np\nX, Y = np.arange(24, dtype=np.float32).reshape(8, 3), np.arange(8)\n"


@pytest.mark.parametrize(
    "body",
    [
        "def data():\n    return X, Y",
        "def data():\n    return {'x': X, 'y': Y}",
        "def data():\n    return [(X[:5], Y[:5]), (X[5:], Y[5:])]",
        "def data():\n    yield X[:5], Y[:5]\n    yield X[5:], Y[5:]",
        "data = [(X[:5], Y[:5]), (X[5:], Y[5:])]",
        "def data():\n    np.savez('saved.npz', x=X, y=Y)\n    return 'saved.npz'",
        "from compress.data import open_data\ndef data():\n    return open_data((X, Y))",
    ],
)
def test_a_reference_gives_data_of_any_kind(module: Path, body: str) -> None:
    module.write_text(_PREFIX + body)
    split = open_data("opening_data:data")
    assert split.sha256 == open_data((X, Y)).sha256


def test_a_pair_may_hold_several_inputs() -> None:
    split = open_data(({"ids": X, "mask": X}, Y))
    assert set(next(split.batches(2)).inputs) == {"ids", "mask"}
    assert split.labels is not None


def test_a_data_set_of_single_samples_is_told() -> None:
    class Dataset:
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> object:
            return X[index], Y[index]

    with pytest.raises(DataError, match="Dataset as the data given, a data set of single samples; wrap it"):
        open_data(Dataset())
    with pytest.raises(DataError, match="found int as the data given; give"):
        open_data(3)


@pytest.mark.parametrize("content, found", [(b"", "an empty file"), (b"hello", "a file of another kind")])
def test_another_kind_of_file_is_told(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "val.bin").write_bytes(content)
    with pytest.raises(DataError, match=f"found {found}, {tmp_path}"):
        open_data(tmp_path / "val.bin")


def test_the_reference_is_recorded(module: Path) -> None:
    module.write_text(_PREFIX + "def data():\n    return X, Y")
    assert open_data("opening_data:data").origin["reference"] == "opening_data:data"


@pytest.mark.parametrize(
    "body, message",
    [
        ("def data(path):\n    return path", "TypeError: .*missing 1 required positional argument"),
        ("def data():\n    raise OSError('no disk')", "OSError: no disk"),
        (
            "from compress.errors import DataError\ndef data():\n    raise DataError('a', 'b', 'c')",
            "^wanted a; found b; c$",
        ),
        ("def data():\n    return None", "found NoneType as opening_data:data"),
        ("def data():\n    return 3", "found int as opening_data:data"),
        ("def data():\n    return X, Y, X", "found tuple as opening_data:data"),
        ("def other():\n    return X, Y", "no 'data' in opening_data"),
    ],
)
def test_a_reference_that_gives_none_is_told(module: Path, body: str, message: str) -> None:
    module.write_text(_PREFIX + body)
    with pytest.raises(DataError, match=message):
        open_data("opening_data:data")


def test_a_file_whose_name_looks_like_a_reference_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Path("val:data").open("wb") as file:
        np.savez(file, x=X)
    assert len(open_data("val:data")) == 8


def test_a_missing_file_gets_the_nearest_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "validation.npz", x=X)
    with pytest.raises(DataError, match=r"nothing at .*did you mean validation\.npz\?"):
        open_data(tmp_path / "validatoin.npz")
    with pytest.raises(DataError, match=r"a folder of images .*, or package\.module:callable"):
        open_data(tmp_path / "nowhere" / "at-all")


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000])
def test_a_path_that_cannot_be_is_told(path: str) -> None:
    with pytest.raises(DataError):
        open_data(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        open_data(tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    path = tmp_path / "val.npz"
    np.savez(path, x=X)
    path.chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        open_data(path)
