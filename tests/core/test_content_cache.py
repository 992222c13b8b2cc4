"""The cache by content: own entries only, none used that is not whole, and none kept for ever."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compress.core import content_cache
from compress.core.content_cache import LAYER_TIMES, STEPS, ContentCache


class Notes(list[str]):
    """What the user is told."""


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def cache(tmp_path: Path, notes: Notes) -> ContentCache:
    return ContentCache(tmp_path / "cache", notes.append)


def entry(cache: ContentCache, **content: object) -> Path:
    found = cache.directory(STEPS, content)
    assert found is not None
    return found


def test_an_entry_is_found_again_by_all_that_went_into_it(cache: ContentCache, monkeypatch) -> None:
    first = entry(cache, network="a", seed=0)
    assert entry(cache, seed=0, network="a") == first
    assert entry(cache, network="a", seed=1) != first
    monkeypatch.setattr(content_cache, "versions", lambda: {"torch": "9"})
    assert entry(cache, network="a", seed=0) != first


def test_changed_code_of_compress_makes_everything_anew(cache: ContentCache, monkeypatch) -> None:
    first = entry(cache, network="a")
    monkeypatch.setattr(content_cache, "code_sha256", lambda: "other")
    assert entry(cache, network="a") != first


def test_others_can_neither_read_nor_write_an_entry(cache: ContentCache) -> None:
    old = os.umask(0)
    try:
        found = entry(cache, network="a")
        assert cache.directory(LAYER_TIMES) is not None
    finally:
        os.umask(old)
    for each in (found, found.parent, cache.root, cache.root / LAYER_TIMES):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700


def test_what_compress_did_not_make_is_left_and_not_used(cache: ContentCache, notes: Notes) -> None:
    found = entry(cache, network="a")
    (found / ".compress").write_text("somebody's\n")
    (found / "result.onnx").write_bytes(b"somebody's")
    assert cache.directory(STEPS, {"network": "a"}) is None
    assert cache.directory(STEPS, {"network": "a"}) is None
    assert (found / "result.onnx").read_bytes() == b"somebody's"
    assert len(notes) == 1
    assert "which it did not make" in notes[0]


def test_processes_that_make_an_entry_at_once_share_it(cache: ContentCache, notes: Notes) -> None:
    workers = 8
    for round_number in range(20):
        barrier = threading.Barrier(workers)

        def make(_: int, barrier: threading.Barrier = barrier, seed: int = round_number) -> Path | None:
            barrier.wait()
            return cache.directory(STEPS, {"seed": seed})

        with ThreadPoolExecutor(workers) as pool:
            made = set(pool.map(make, range(workers)))
        assert len(made) == 1
        assert None not in made
    assert not notes
    assert not list((cache.root / STEPS).glob(".new-*"))


def test_a_link_in_place_of_the_entries_is_not_followed(
    cache: ContentCache, tmp_path: Path, notes: Notes
) -> None:
    cache.root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (cache.root / STEPS).symlink_to(tmp_path / "elsewhere")
    assert cache.directory(STEPS, {"network": "a"}) is None
    assert not list((tmp_path / "elsewhere").iterdir())
    assert notes


def test_a_cache_that_cannot_be_written_is_told_of_and_not_used(tmp_path: Path, notes: Notes) -> None:
    (tmp_path / "file").write_text("")
    cache = ContentCache(tmp_path / "file", notes.append)
    assert cache.directory(STEPS, {}) is None
    assert len(notes) == 1


def aged(path: Path, days: float) -> Path:
    then = path.stat().st_mtime - days * 86_400
    os.utime(path, (then, then))
    return path


def test_what_nobody_used_for_long_goes(cache: ContentCache) -> None:
    old, new = aged(entry(cache, seed=0), 61), aged(entry(cache, seed=1), 59)
    cache.prune()
    assert (old.exists(), new.exists()) == (False, True)


def test_above_a_size_the_least_recently_used_go_first(cache: ContentCache) -> None:
    found = [aged(entry(cache, seed=number), 3 - number) for number in range(3)]
    for path in found:
        used = path.stat().st_mtime
        (path / "weights").write_bytes(bytes(100_000))
        os.utime(path, (used, used))
    aged(entry(cache, seed=0), 0)  # used again
    cache.prune(most_bytes=250_000)
    assert [path.exists() for path in found] == [True, False, True]


def test_what_was_used_within_an_hour_stays_whatever_its_size(cache: ContentCache) -> None:
    found = entry(cache, seed=0)
    (found / "weights").write_bytes(bytes(1000))
    cache.prune(most_bytes=10, longest_s=0)
    assert found.exists()


def test_another_directory_has_a_part_for_each_user(tmp_path: Path, notes: Notes) -> None:
    cache = ContentCache.of(tmp_path / "shared", notes.append)
    assert cache is not None
    assert cache.root == tmp_path / "shared" / f"user-{os.geteuid()}"
    assert ContentCache.of("off", notes.append) is None
