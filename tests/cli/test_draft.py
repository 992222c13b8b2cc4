"""`compress optimize --draft`: a smaller model of the same vocabulary, measured, and shipped where it is proven."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.api.draft import open_draft
from compress.bundle.bundle import load_bundle
from compress.cli import main
from compress.errors import BundleError, UsageError
from compress.hosts.local import LocalHost
from compress.language.generation import Decoder
from compress.records.draft_speed import DraftSpeed
from compress.records.profile import Interval
from tests.cli.test_language_model import RECIPE
from tests.language.documents import json_lines, sentences, small_model

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("place")
    small_model(path / "model")
    small_model(path / "student", num_hidden_layers=1)
    json_lines(path / "texts", sentences(60))
    (path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return path


def optimize(place: Path, draft: Path, out: Path) -> int:
    given = ["--data", str(place / "texts"), "--seconds", "0.02", "--threads", "1", "--draft", str(draft)]
    smallest = ["--objective", "size", "--max-drop", "20", "--recipe", str(place / "recipe.toml")]
    here = ["--backend", "onnxruntime", "--out", str(out)]
    code: int = main(["optimize", str(place / "model"), *given, *smallest, *here])
    return code


def test_a_proven_draft_is_shipped_and_used(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """That it is faster is made up here: times of a machine are no test."""
    measured: list[DraftSpeed] = []
    original = LocalHost.with_draft

    def faster(self: LocalHost, *given: Any) -> DraftSpeed | None:
        speed = original(self, *given)
        assert speed is not None
        measured.append(speed)
        return replace(speed, ratio=0.5, ratio_interval=Interval(0.4, 0.6, 0.95), equal=speed.texts)

    monkeypatch.setattr(LocalHost, "with_draft", faster)
    assert optimize(place, place / "student", tmp_path / "build") == 0
    assert "20 measured texts equal to plain greedy text" in " ".join(capsys.readouterr().out.split())
    (speed,) = measured
    assert (speed.texts, speed.drafted > 0) == (20, True)
    assert speed.ratio > 0
    with load_bundle(tmp_path / "build") as bundle:
        assert bundle.manifest["draft"]["file"] == "draft/model.onnx"
        assert "draft/model.onnx" in bundle.manifest["files"]
        assert bundle.profile.draft is not None
        assert bundle.profile.draft.draft_sha256 == bundle.manifest["files"]["draft/model.onnx"]
        drafts: list[object] = []
        begin = Decoder.begin
        monkeypatch.setattr(
            Decoder, "begin", lambda self, *room: (drafts.append(self), begin(self, *room))[1]
        )
        text = "".join(bundle.generate("the old engineer", max_new_tokens=256))
        assert len(set(map(id, drafts))) == 2
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "build" / "run.py"), "the old engineer"],
        capture_output=True,
        check=True,
    )
    assert ran.stdout.decode("utf-8") == text + "\n"
    draft = tmp_path / "build" / "draft" / "model.onnx"
    draft.write_bytes(draft.read_bytes() + b" ")
    with pytest.raises(BundleError, match=r"draft/model\.onnx"):
        load_bundle(tmp_path / "build")


def test_a_draft_that_is_not_proven_stays_out(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    slower = DraftSpeed("a" * 64, 9, 2, 20, 20, 99, 9, 1, 1.1, Interval(1.0, 1.2, 0.95))
    monkeypatch.setattr(LocalHost, "with_draft", lambda self, *given: slower)
    assert optimize(place, place / "student", tmp_path / "build") == 0
    assert "so it is not shipped" in " ".join(capsys.readouterr().out.split())
    bundle = load_bundle(tmp_path / "build")
    assert "draft" not in bundle.manifest
    assert not (bundle.path / "draft").exists()
    assert bundle.profile.draft == slower


def test_drafts_that_cannot_be_used_are_told(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    other = small_model(tmp_path / "other", num_hidden_layers=1)
    words = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    words["model"]["vocab"] = {
        {"a": "b", "b": "a"}.get(word, word): number for word, number in words["model"]["vocab"].items()
    }
    (other / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    (tmp_path / "damaged.onnx").write_bytes(b"no graph")
    for draft, said in (
        (other, "a draft with the vocabulary of the model"),
        (place / "model", "a draft that is smaller than the model's"),
        (place / "texts", "a language model as --draft"),
        (tmp_path / "none", "found no "),
        (tmp_path / "damaged.onnx", "an ONNX decoder as --draft"),
    ):
        assert optimize(place, draft, tmp_path / "build") == 2
        told = capsys.readouterr().err
        assert said in told
        assert "Traceback" not in told
        assert not (tmp_path / "build").exists()


def test_other_networks_have_no_draft(place: Path):
    network: Any = SimpleNamespace(origin=SimpleNamespace(path="model.onnx"))
    with pytest.raises(
        UsageError, match=r"a decoder of text, for --draft; found model\.onnx; leave --draft out"
    ):
        open_draft(place / "student", network)
