from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from compress.backends.base import Artifact
from compress.core.files import written_safely
from compress.errors import OutputError
from compress.onnx_graph.files import save_model, sha256_of
from compress.recipe import Recipe, Step
from compress.search.run_directory import Candidate, RunDirectory
from tests.graphs import classifier
from tests.records import profile, run_key

KEY = run_key()
RECIPE = Recipe("int8", (Step("quantize", {"method": "mse"}),))


def measured(history: RunDirectory, recipe: Recipe = RECIPE) -> Candidate:
    path = save_model(classifier(), history.directory_of(recipe) / "model.onnx")
    record = profile(recipe.name)
    return Candidate(
        recipe,
        type(record)(**{**vars(record), "artifact_sha256": sha256_of(path)}),
        str(path.relative_to(history.directory)),
        reports={"quantize": {"samples": 3}},
        seconds=1.5,
    )


def test_what_was_recorded_is_kept_for_the_next_run_and_counts_once_it_is_taken_over(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", KEY) as history:
        candidate = measured(history)
        history.record(candidate)
    with RunDirectory(tmp_path / "run", KEY) as again:
        assert (again.candidates, again.resumed) == ([], 0)
        assert again.kept(Recipe("int8")) is None
        found = again.kept(Recipe("another name", RECIPE.steps))
        assert found is not None
        assert found.profile is not None
        assert (found.recipe.name, found.profile.recipe) == ("another name", "another name")
        assert again.kept(RECIPE) == candidate
        again.take_over(candidate)
        assert (again.candidates, again.resumed) == ([candidate], 1)
        assert again.find(RECIPE) == candidate


def test_why_there_is_no_build_is_read_back(tmp_path: Path) -> None:
    failed = Candidate(RECIPE, failure="no such operator", reports={"quantize": {"nodes": 3}}, seconds=2.5)
    with RunDirectory(tmp_path / "run", KEY) as history:
        history.record(failed)
    with RunDirectory(tmp_path / "run", KEY) as again:
        assert again.kept(RECIPE) == failed


@pytest.mark.parametrize(
    "candidate",
    [
        Candidate(replace(RECIPE, origin="search"), failure="no such operator"),
        Candidate(replace(RECIPE, origin="user"), passed_over="the same file as fp32"),
        Candidate(Recipe("fp32", origin="network"), failure="failed: twice"),
    ],
)
def test_a_record_keeps_where_its_recipe_comes_from_and_what_became_of_it(candidate: Candidate) -> None:
    again = Candidate.from_dict(json.loads(json.dumps(candidate.to_dict())))
    assert again == candidate
    assert again.recipe.origin == candidate.recipe.origin


def test_records_of_earlier_versions_say_what_they_said() -> None:
    """They have no origin, and say in the reason's first word that a build failed."""
    entry = {"profile": None, "file": None, "reports": {}, "seconds": 0.0}
    failed = Candidate.from_dict(
        {**entry, "recipe": RECIPE.to_dict(), "rejected": "failed: no such operator"}
    )
    assert (failed.recipe.origin, failed.failure, failed.passed_over) == ("search", "no such operator", None)
    assert failed.rejected == "failed: no such operator"
    original = Candidate.from_dict({**entry, "recipe": Recipe("fp32").to_dict(), "rejected": "the same file"})
    assert (original.recipe.origin, original.failure, original.passed_over) == (
        "network",
        None,
        "the same file",
    )


def test_a_record_of_a_recipe_of_nobody_is_refused() -> None:
    data = {**Candidate(RECIPE, failure="no memory").to_dict(), "origin": "somebody"}
    with pytest.raises(ValueError, match="'origin' is 'somebody' and none of 'network', 'search', 'user'"):
        Candidate.from_dict(data)


def test_a_candidate_has_an_empty_directory_of_its_own(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", KEY) as history:
        first, other = history.directory_of(RECIPE), history.directory_of(Recipe("fp32"))
        (first / "stale.onnx").write_text("of a build that was killed")
        (other / "model.onnx").write_text("fp32")
        assert history.directory_of(RECIPE) == first == tmp_path / "run" / "candidates" / RECIPE.identity
        assert (list(first.iterdir()), len(list(other.iterdir()))) == ([], 1)


def test_what_is_recorded_is_a_candidate_of_this_run(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", KEY) as history:
        candidate = replace(measured(history), seconds=1.23456)
        history.record(candidate)
        assert history.candidates == [candidate]
        assert history.resumed == 0
    with RunDirectory(tmp_path / "run", KEY) as again:
        assert again.kept(RECIPE) == replace(candidate, seconds=1.235)


def test_a_run_whose_directory_is_gone_says_which(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", KEY) as history:
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(OutputError, match=str(tmp_path / "run")):
            history.record(Candidate(RECIPE, failure="no memory"))


def test_what_was_not_tried_is_not_found(tmp_path: Path) -> None:
    others = [Recipe("a", (Step("cast"),)), Recipe("b", (Step("qat"),))]
    with RunDirectory(tmp_path / "run", KEY) as history:
        assert history.find(RECIPE) is None
        for other in others:
            history.take_over(Candidate(other, failure="no memory"))
        assert history.find(RECIPE) is None
        assert history.resumed == len(history.candidates) == 2


def test_a_candidate_without_a_file_has_no_path(tmp_path: Path) -> None:
    with (
        RunDirectory(tmp_path / "run", KEY) as history,
        pytest.raises(ValueError, match="candidate 'int8' has no artifact"),
    ):
        history.path_of(Candidate(RECIPE, failure="no memory"))


def test_the_reference_at_each_batch_size_is_read_back(tmp_path: Path) -> None:
    reference = {
        1: Artifact(tmp_path / "größe.onnx", "0" * 64, 5, "onnxruntime", {"threads": 2}),
        32: Artifact(tmp_path / "b.onnx", "1" * 64, 6, "openvino", {}),
    }
    with RunDirectory(tmp_path / "run", KEY) as history:
        assert history.reference() == {}
        history.keep_reference(reference)
        assert history.reference() == reference
        (tmp_path / "run" / "reference.json").write_text("{")
        assert history.reference() == {}


def test_what_was_tried_again_replaces_what_was_recorded_before(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", KEY) as history:
        history.record(Candidate(RECIPE, passed_over="slower in a first look"))
    with RunDirectory(tmp_path / "run", KEY) as second:
        candidate = measured(second)
        second.record(candidate)
    with RunDirectory(tmp_path / "run", KEY) as third:
        assert third.kept(RECIPE) == candidate


def recorded_with_original(directory: Path) -> Candidate:
    with RunDirectory(directory, KEY) as history:
        original = measured(history, Recipe("fp32"))
        history.record(original)
        history.record(measured(history))
        path = history.path_of(original)
        history.keep_reference({1: Artifact(path, sha256_of(path), 1, "onnxruntime", {})})
    return original


def test_a_run_goes_on_where_the_original_is_as_it_was_measured(tmp_path: Path) -> None:
    recorded_with_original(tmp_path / "run")
    with RunDirectory(tmp_path / "run", KEY) as again:
        again.forget_without(Recipe("fp32"))
        assert again.kept(RECIPE) is not None
        assert again.path_of(again.kept(RECIPE)).is_file()
        assert again.outputs == tmp_path / "run" / "outputs"


@pytest.mark.parametrize("lost", ["file", "reference.json", "outside"])
def test_nothing_counts_as_measured_without_the_original_it_was_compared_with(
    tmp_path: Path, lost: str
) -> None:
    original = recorded_with_original(tmp_path / "run")
    if lost == "outside":  # ratios refer to the user's own file, which was moved
        other = Artifact(tmp_path / "moved.onnx", "0" * 64, 1, "onnxruntime", {})
        with RunDirectory(tmp_path / "run", KEY) as history:
            history.keep_reference({1: other})
    else:
        path = tmp_path / "run" / (str(original.file) if lost == "file" else lost)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content if lost == "file" else b"{")
    for _ in range(2):  # also not for the run after
        with RunDirectory(tmp_path / "run", KEY) as again:
            again.forget_without(Recipe("fp32"))
            assert again.kept(RECIPE) is None
            assert not (tmp_path / "run" / "candidates").exists()  # the builds themselves go too
            again.record(Candidate(Recipe("fp32"), failure="no memory"))


def test_another_key_starts_anew(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", KEY) as history:
        history.record(measured(history))
    with RunDirectory(tmp_path / "run", run_key(network="def")) as again:
        assert again.kept(RECIPE) is None
        assert not (tmp_path / "run" / "candidates").exists()


def test_line_cut_short_by_a_kill_is_measured_again(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", KEY) as history:
        history.record(measured(history))
        history.record(Candidate(Recipe("other", (Step("cast"),)), failure="no memory"))
    path = tmp_path / "run" / "history.jsonl"
    path.write_text(path.read_text()[:-20])
    with RunDirectory(tmp_path / "run", KEY) as again:
        assert again.kept(RECIPE) is not None
        again.record(Candidate(Recipe("other", (Step("cast"),)), failure="no memory"))
    with RunDirectory(tmp_path / "run", KEY) as third:
        assert third.kept(Recipe("other", (Step("cast"),))) is not None
        assert third.kept(RECIPE) is not None


def test_every_damaged_record_is_counted_and_the_others_stay(tmp_path: Path) -> None:
    recipes = [Recipe(name, (Step(name),)) for name in ("a", "b", "c", "d")]
    with RunDirectory(tmp_path / "run", KEY) as history:
        for recipe in recipes:
            history.record(Candidate(recipe, failure="no memory"))
    path = tmp_path / "run" / "history.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0].replace(b"failed", b"passed"), lines[1], b"{}\n", lines[3]]))
    for damaged in (2, 0):
        with RunDirectory(tmp_path / "run", KEY) as again:
            assert again.damaged == damaged
            assert [again.kept(recipe) is None for recipe in recipes] == [True, False, True, False]


def test_artifact_that_changed_is_measured_again(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", KEY) as history:
        candidate = measured(history)
        history.record(candidate)
    assert candidate.file is not None
    (tmp_path / "run" / candidate.file).write_bytes(b"something else")
    with RunDirectory(tmp_path / "run", KEY) as again:
        assert again.kept(RECIPE) is None


def test_second_run_is_kept_out(tmp_path: Path) -> None:
    with (
        RunDirectory(tmp_path / "run", KEY),
        pytest.raises(OutputError, match="another compress"),
        RunDirectory(tmp_path / "run", KEY),
    ):
        pass


def test_what_to_do_about_a_second_run_is_told(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", KEY), pytest.raises(OutputError) as error:
        RunDirectory(tmp_path / "run", KEY).__enter__()
    assert (error.value.wanted, error.value.found, error.value.todo) == (
        "a directory no other run is using",
        f"{tmp_path / 'run'}: locked by another compress",
        "wait for it, or choose another --out",
    )


def test_a_lock_that_was_removed_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever had it removes its directory, and with it the lock, between our opening it and our taking it."""
    lock, take, removed = tmp_path / "run" / "lock", fcntl.flock, []

    def removed_first(file: int, operation: int) -> None:
        if not removed:
            removed.append(file)
            lock.unlink()
        take(file, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with (
        RunDirectory(tmp_path / "run", KEY),
        pytest.raises(OutputError, match="another compress"),
        RunDirectory(tmp_path / "run", KEY),
    ):
        pass
    assert removed


def test_nobody_else_may_open_the_lock(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", KEY):
        assert (tmp_path / "run" / "lock").stat().st_mode & 0o777 == 0o600


def test_run_without_a_candidate_leaves_nothing(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", KEY):
        pass
    assert list(tmp_path.iterdir()) == []


def test_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="another place"), RunDirectory(tmp_path / "file" / "run", KEY):
        pass


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.ENOSPC, "free space"), (errno.EMFILE, "another place"), (errno.EIO, "another place")],
)
def test_space_and_permission_are_asked_for_where_they_are_missing(number: int, told: str) -> None:
    with pytest.raises(OutputError, match=told) as raised, written_safely(Path("out")):
        raise OSError(number, os.strerror(number))
    assert ("space" in str(raised.value)) is (number == errno.ENOSPC)


@pytest.mark.parametrize("name", ["history.jsonl", "run.json", "reference.json"])
def test_one_changed_bit_is_measured_again(tmp_path: Path, name: str) -> None:
    with RunDirectory(tmp_path / "run", KEY) as history:
        history.record(measured(history))
        history.keep_reference({1: Artifact(tmp_path / "fp32.onnx", "0" * 64, 5, "onnxruntime", {})})
    path = tmp_path / "run" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with RunDirectory(tmp_path / "run", KEY) as again:
        if name == "reference.json":
            again.forget_without(RECIPE)
        assert again.kept(RECIPE) is None
        assert again.damaged == (name == "history.jsonl")


def test_a_file_outside_of_the_run_is_not_taken_for_its_own(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", KEY) as history:
        candidate = measured(history)
        outside = tmp_path / "elsewhere.onnx"
        outside.write_bytes(history.path_of(candidate).read_bytes())
        history.record(replace(candidate, file="../elsewhere.onnx"))
    with RunDirectory(tmp_path / "run", KEY) as again:
        assert again.kept(RECIPE) is None
        assert again.damaged == 1


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    with RunDirectory(tmp_path / "run", KEY) as history:
        history.record(measured(history))
    (tmp_path / "run" / "lock").unlink()
    (tmp_path / "run" / "lock").symlink_to(mine)
    with pytest.raises(OutputError), RunDirectory(tmp_path / "run", KEY):
        pass
    assert mine.read_text() == "mine"


def test_a_directory_of_another_making_is_not_a_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="did not make"), RunDirectory(tmp_path / "run", KEY):
        pass
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
