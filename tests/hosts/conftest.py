"""The stand-in board of the tests of hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hosts.standin_board import StandInBoard, start


@pytest.fixture(scope="module")
def running_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInBoard]:
    board = start(tmp_path_factory.mktemp("board"))
    yield board
    board.daemon.terminate()
    board.daemon.wait()


@pytest.fixture
def board(running_board: StandInBoard, monkeypatch: pytest.MonkeyPatch) -> StandInBoard:
    """The stand-in board, playing TensorRT 10.3 and no fault; ``ssh`` knows it as ``board``."""
    monkeypatch.setenv("COMPRESS_SSH", running_board.ssh)
    running_board.become_jetson()
    running_board.admit()
    running_board.release("10.3")
    running_board.fault()
    running_board.free_memory(5120)
    (running_board.play / "power").unlink(missing_ok=True)
    return running_board
