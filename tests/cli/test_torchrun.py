from __future__ import annotations

import pytest

from compress.cli import torchrun
from compress.cli.torchrun import left_to_the_first
from compress.core.ranks import is_first
from compress.errors import UnavailableError


@pytest.mark.parametrize(("rank", "first"), [(None, True), ("0", True), ("1", False), ("12", False)])
def test_who_is_first(monkeypatch, rank, first) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert is_first() is first


def test_an_error_is_told_once_the_first_had_its_time(monkeypatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(torchrun.time, "sleep", waited.append)
    with pytest.raises(UnavailableError), left_to_the_first():
        raise UnavailableError("two processes", "one", "start both")
    assert waited == [20.0]
    with left_to_the_first():
        pass
    assert len(waited) == 1
