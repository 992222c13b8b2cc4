"""`compress prune` and `compress distill` of a language model: from a directory to a directory that is used as it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.cli import main
from compress.language.tokenizer import open_tokenizer
from compress.language.weights import open_language_model
from tests.language.documents import json_lines, sentences, small_model

pytest.importorskip("tokenizers")
pytest.importorskip("torch")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("place")
    small_model(path / "model", num_hidden_layers=3)
    json_lines(path / "texts", sentences(12))
    json_lines(path / "training", sentences(20, seed=3))
    return path


def given(place: Path) -> list[str]:
    return [str(place / "model"), "--data", str(place / "texts")]


@pytest.fixture(scope="module")
def pruned(place: Path) -> Path:
    out = place / "pruned"
    assert main(["prune", *given(place), "--ratio", "0.5", "--seconds", "0.02", "--out", str(out)]) == 0
    return out


def test_a_pruned_model_is_a_model(pruned: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    whole, smaller = open_language_model(place / "model"), open_language_model(pruned)
    assert smaller.config.parameters < whole.config.parameters
    assert open_tokenizer(smaller).to_str() == open_tokenizer(whole).to_str()
    assert main(["inspect", str(pruned), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "decoder"


def test_a_model_is_pruned_and_trained(place: Path, capsys: pytest.CaptureFixture[str]):
    out = place / "trained"
    options = [
        "--train-data",
        str(place / "training"),
        "--epochs",
        "1",
        "--batch-size",
        "2",
        "--seconds",
        "0.02",
    ]
    options += ["--latency-share", "0.7", "--timing-precision", "int4"]
    assert main(["prune", *given(place), *options, "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == str(out)
    assert found["reports"]["prune"]["predicted"] <= 0.7
    assert found["reports"]["distill"]["training"]["losses"]
    assert [each["name"] for each in found["networks"]] == ["original", "pruned"]
    assert open_language_model(out).config.parameters < open_language_model(place / "model").config.parameters
    assert not (place / "trained.partial").exists()


def test_a_smaller_model_is_distilled(pruned: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    out = place / "student"
    options = ["--train-data", str(place / "training"), "--student", str(pruned), "--batch-size", "2"]
    assert main(["distill", *given(place), *options, "--epochs", "1", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    losses = found["report"]["training"]["held_out_losses"]
    assert min(losses) <= losses[0]
    assert open_language_model(out).config == open_language_model(pruned).config


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("prune", ["--out", "x"], "--train-data, --latency-share or --ratio, for a language model"),
        ("prune", ["--ratio", "0.5", "--out", "x.onnx"], "a directory to write a language model to"),
        ("prune", ["--ratio", "0.5", "--out", "{place}"], "a new directory to write"),
        ("prune", ["--ratio", "0.5", "--per-layer", "--out", "x"], "leave per_layer out"),
        ("prune", ["--ratio", "0.5", "--keep", "layers.0", "--out", "x"], "layers to keep by their names"),
        (
            "distill",
            ["--student", "a:b", "--train-data", "{texts}", "--out", "x"],
            "the directory of a language model",
        ),
    ],
)
def test_what_cannot_be_done_is_told(
    command: str,
    arguments: list[str],
    said: str,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    filled = [each.format(place=place, texts=place / "training") for each in arguments]
    assert main([command, *given(place), *filled]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_transformers_reads_a_pruned_model_of_one_width(place: Path):
    transformers = pytest.importorskip("transformers")
    from compress.api.decoder_files import saved
    from compress.language.decoder_network import changeable
    from compress.language.network import load_decoder
    from compress.language.structure import Structure, pruned

    network = changeable(load_decoder(place / "model").network, "prune")
    whole = Structure.whole(network.parts.config)
    two = Structure(*(each[:2] for each in (whole.layers, whole.neurons, whole.groups)))
    saved(network.with_parts(pruned(network.parts, two)), place / "two")
    module = transformers.AutoModelForCausalLM.from_pretrained(place / "two")
    assert len(module.model.layers) == 2
