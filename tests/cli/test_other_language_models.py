"""Language models that a command cannot take: each is told for what it is, and its texts are not taken for images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compress.cli import main
from tests.language.documents import json_lines, sentences, small_model

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("place")
    small_model(path / "model")
    json_lines(path / "texts", sentences(12))
    return path


@pytest.fixture
def model(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place / "model", tmp_path / "model"))


def with_config(**settings: Any) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        path = model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    return change


def without_weights(model: Path) -> None:
    for each in model.glob("*.safetensors"):
        each.unlink()


def with_pickled_weights(model: Path) -> None:
    without_weights(model)
    (model / "pytorch_model.bin").write_bytes(b"\x80\x02.")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_config(model_type="gpt_neox", architectures=["GPTNeoXForCausalLM"]), "gpt_neox"),
        (with_config(model_type="mistral4", architectures=["Mistral4ForCausalLM"]), "did you mean mistral"),
        (with_config(model_type="bart", architectures=["BartForConditionalGeneration"]), "bart"),
        (with_pickled_weights, "safetensors"),
        (without_weights, "config.json and no weights that belong to it"),
    ],
)
def test_a_model_that_cannot_be_taken_is_told_for_what_it_is(
    place: Path, model: Path, change: Callable[[Path], None], said: str, capsys: pytest.CaptureFixture[str]
):
    change(model)
    assert main(["optimize", str(model), "--data", str(place / "texts"), "--out", str(model / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error
    assert "images" not in error
    assert not list(model.glob("out*"))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("optimize", "--target", "jetson"), "a target that runs in ONNX Runtime, for a language model"),
        (("prune", "--ratio", "0.5"), "a directory to write a language model to"),
    ],
)
def test_a_command_that_takes_no_language_model_says_so(
    place: Path, model: Path, command: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
):
    verb, *options = command
    given = [verb, str(model), "--data", str(place / "texts"), "--out", str(model / "out.pt2"), *options]
    assert main(given) == 2
    assert said in capsys.readouterr().err
    assert not list(model.glob("out*"))


def test_texts_are_compared_tensor_by_tensor(place: Path, model: Path, capsys: pytest.CaptureFixture[str]):
    command = ["debug", str(model), str(place / "model"), "--data", str(place / "texts"), "--samples", "2"]
    assert main(command) == 0
    assert "no tensor differs, on 2 samples" in capsys.readouterr().out
