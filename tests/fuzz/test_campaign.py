"""The campaign runs every reader, and finds what is planted in one."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from compress.core.child_process import Limits
from fuzz import corpus, mutations
from fuzz.__main__ import fuzz
from fuzz.campaign import Found, run
from fuzz.readers import READERS
from tests.fuzz import planted


@pytest.mark.parametrize("name", READERS)
def test_every_reader_reads_its_corpus_and_refuses_the_rest(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    found = run(reader, seconds=100, most=len(reader.corpus()) + 3, keep=tmp_path)
    assert found.good, found
    assert found.read
    assert not list(tmp_path.iterdir())


_SMALL = Limits(1, 1 << 30)


def _planted(
    name: str,
    keep: Path,
    most: int = 2,
) -> Found:
    reader = planted.READERS[name]
    return run(reader, seconds=60, most=most, keep=keep, limits=_SMALL, known="tests.fuzz.planted:READERS")


def test_reading_and_refusing_are_good(tmp_path: Path) -> None:
    found = _planted("_reads", tmp_path, most=40)
    assert found.good
    assert 0 < found.read < found.inputs == 40


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("_fails", "crashes", "KeyError"),
        ("_crashes", "crashes", "SIGSEGV"),
        ("_hangs", "hangs", "more than 1 s"),
        ("_eats", "memory", "MemoryError"),
    ],
)
def test_what_is_planted_is_found_and_kept(name: str, kind: str, told: str, tmp_path: Path) -> None:
    found = _planted(name, tmp_path)
    assert not found.good
    ((what, path),) = getattr(found, kind).items()
    assert told in what
    assert found.times[what] == 2
    assert path.read_bytes() in (b"x", b"abc")


def test_the_same_seed_gives_the_same_inputs(tmp_path: Path) -> None:
    kept = [sorted(_planted("_fails", tmp_path / at, most=1).crashes.values())[0].name for at in ("a", "b")]
    assert kept[0] == kept[1]


def test_readers_run_side_by_side_and_are_told_in_order(tmp_path: Path) -> None:
    arguments = ["recipe", "policy", "target", "--inputs", "4", "--seconds", "100", "--processes", "2"]
    done = CliRunner().invoke(fuzz, [*arguments, "--keep", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert [line.split()[:2] for line in done.output.splitlines()[1:]] == [
        ["recipe", "4"],
        ["policy", "4"],
        ["target", "4"],
    ]


@pytest.mark.parametrize("name", ["manifest.json", "profile.json", "candidates.jsonl", "recipe.toml"])
def test_a_damaged_file_of_a_bundle_has_its_own_hash(name: str) -> None:
    """So that what is inside is read, and not refused for its sha256 alone."""
    mutation = mutations.of_bundle(name, lambda corpus, chance: corpus[0] + b"\n")
    (whole,) = corpus.bundles().values()
    before, after = corpus.unzipped(whole), corpus.unzipped(mutation([whole], random.Random(0)))
    assert after[name] == before[name] + b"\n"
    sums = dict(line.split("  ")[::-1] for line in after["SHA256SUMS"].decode().splitlines())
    assert all(hashlib.sha256(after[each]).hexdigest() == sha256 for each, sha256 in sums.items())
    recorded = json.loads(after["manifest.json"])["files"]
    assert name == "manifest.json" or recorded[name] == sums[name]
