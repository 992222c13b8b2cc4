from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import OutputError
from compress.history import Candidate, History
from compress.onnx_graph.files import save_model, sha256_of
from compress.recipe import Recipe, Step
from tests.graphs import classifier
from tests.records import profile

KEY = {"network": "abc", "batches": (1, 32)}
RECIPE = Recipe("int8", (Step("quantize", {"method": "mse"}),))


def measured(history: History, recipe: Recipe = RECIPE) -> Candidate:
    path = save_model(classifier(), history.directory_of(recipe) / "model.onnx")
    record = profile(recipe.name)
    return Candidate(
        recipe,
        type(record)(**{**vars(record), "artifact_sha256": sha256_of(path)}),
        str(path.relative_to(history.directory)),
        reports={"quantize": {"samples": 3}},
        seconds=1.5,
    )


def test_what_was_recorded_is_found_by_the_next_run(tmp_path: Path) -> None:
    with History(tmp_path / "run", KEY) as history:
        candidate = measured(history)
        history.record(candidate)
    with History(tmp_path / "run", KEY) as again:
        assert again.resumed == 1
        assert again.find(Recipe("another name", RECIPE.steps)) == candidate
        assert again.find(Recipe("int8")) is None


def test_what_was_tried_again_replaces_what_was_recorded_before(tmp_path: Path) -> None:
    with History(tmp_path / "run", KEY) as history:
        history.record(Candidate(RECIPE, rejected="slower in a first look"))
    with History(tmp_path / "run", KEY) as second:
        first = second.find(RECIPE)
        assert first is not None
        second.forget(first)
        assert (second.find(RECIPE), second.resumed) == (None, 0)
        candidate = measured(second)
        second.record(candidate)
    with History(tmp_path / "run", KEY) as third:
        assert third.find(RECIPE) == candidate


def test_another_key_starts_anew(tmp_path: Path) -> None:
    with History(tmp_path / "run", KEY) as history:
        history.record(measured(history))
    with History(tmp_path / "run", {"network": "def"}) as again:
        assert again.candidates == []
        assert not (tmp_path / "run" / "candidates").exists()


def test_line_cut_short_by_a_kill_is_measured_again(tmp_path: Path) -> None:
    with History(tmp_path / "run", KEY) as history:
        history.record(measured(history))
        history.record(Candidate(Recipe("other", (Step("cast"),)), rejected="failed"))
    path = tmp_path / "run" / "history.jsonl"
    path.write_text(path.read_text()[:-20])
    with History(tmp_path / "run", KEY) as again:
        assert [entry.recipe.name for entry in again.candidates] == ["int8"]
        again.record(Candidate(Recipe("other", (Step("cast"),)), rejected="failed"))
    with History(tmp_path / "run", KEY) as third:
        assert len(third.candidates) == 2


def test_artifact_that_changed_is_measured_again(tmp_path: Path) -> None:
    with History(tmp_path / "run", KEY) as history:
        candidate = measured(history)
        history.record(candidate)
    assert candidate.file is not None
    (tmp_path / "run" / candidate.file).write_bytes(b"something else")
    with History(tmp_path / "run", KEY) as again:
        assert again.candidates == []


def test_second_run_is_kept_out(tmp_path: Path) -> None:
    with (
        History(tmp_path / "run", KEY),
        pytest.raises(OutputError, match="another compress"),
        History(tmp_path / "run", KEY),
    ):
        pass


def test_run_without_a_candidate_leaves_nothing(tmp_path: Path) -> None:
    with History(tmp_path / "run", KEY):
        pass
    assert list(tmp_path.iterdir()) == []


def test_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="another place"), History(tmp_path / "file" / "run", KEY):
        pass
