"""Memory that is given back before builds are timed."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest

from compress.core.freed_memory import give_back


@pytest.mark.parametrize(("platform", "trimmed"), [("linux", [0]), ("darwin", [])])
def test_freed_memory_is_given_back_where_the_c_library_can(
    monkeypatch: pytest.MonkeyPatch, platform: str, trimmed: list[int]
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=asked.append))
    give_back()
    assert asked == trimmed


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    give_back()
