"""Decoders of other families than LLaMA's: optimized to a bundle, which writes the same text and passes its gate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compress.bundle.bundle import Bundle, load_bundle
from compress.cli import main
from compress.language.generation import Generator, open_decoder
from compress.language.graph import write_decoder
from compress.language.tokenizer import open_tokenizer
from compress.language.weights import open_language_model
from tests.language.documents import json_lines, sentences, small_model
from tests.language.tiny import Tiny, tiny

tokenizers = pytest.importorskip("tokenizers")

FOUR_BITS = """name = "four bits"

[[technique]]
name = "weight_only"
algorithm = "rtn"
"""


@pytest.fixture(scope="module", params=["gpt2", "mixtral", "qwen2_moe"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    path = tmp_path_factory.mktemp("place")
    small_model(path / "model")
    size = tokenizers.Tokenizer.from_file(str(path / "model" / "tokenizer.json")).get_vocab_size()
    json_lines(path / "texts", sentences(40))
    (path / "recipe.toml").write_text(FOUR_BITS, encoding="utf-8")
    sizes = {
        "hidden_size": 96,
        "moe_intermediate_size": 64,
        "max_position_embeddings": 96,
        "vocab_size": size,
    }
    return tiny(path / "model", request.param, **sizes)


@pytest.fixture(scope="module")
def bundle(made: Tiny) -> Bundle:
    """The smallest bundle of the original and a build of 4 bits, as `compress optimize` ships it."""
    place = made.path.parent
    given = ["--data", str(place / "texts"), "--seconds", "0.02", "--threads", "1", "--max-drop", "50"]
    given += ["--recipe", str(place / "recipe.toml"), "--objective", "size"]
    assert main(["optimize", str(made.path), *given, "--out", str(place / "build")]) == 0
    return load_bundle(place / "build")


def test_the_text_is_that_of_transformers(made: Tiny):
    model = open_language_model(made.path)
    tokenizer = open_tokenizer(model)
    graph = write_decoder(model.config, model.weights, made.path.parent / "float.onnx")
    prompt = tokenizer.encode("the old engineer").ids
    found = list(Generator(open_decoder(graph, threads=1), tokenizer).tokens(prompt, max_new_tokens=24))
    ids = np.array([prompt])
    for token in found:
        assert made.logits(ids)[0, -1].argmax() == token
        ids = np.append(ids, [[token]], axis=1)


def test_a_bundle_writes_text_and_passes_its_gate(
    made: Tiny, bundle: Bundle, capsys: pytest.CaptureFixture[str]
):
    with load_bundle(bundle.path) as opened:
        assert "".join(opened.generate("the old engineer", max_new_tokens=8))
    policy = made.path.parent / "gate.toml"
    policy.write_text('checks = ["accuracy", "size"]\nmax_drop_points = 50\n', encoding="utf-8")
    sides = [str(bundle.path), "--baseline", str(bundle.path), "--data", str(made.path.parent / "texts")]
    assert main(["gate", *sides, "--policy", str(policy), "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert {each["verdict"] for each in checks} == {"pass"}


def test_weights_of_4_bits_keep_the_likeliest_tokens(
    made: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    place = made.path.parent
    given = [str(made.path), "--data", str(place / "texts"), "--recipe", str(place / "recipe.toml")]
    assert main(["quantize", *given, "--out", str(tmp_path / "four.onnx"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agreement"]["mean"] > 0.2  # of 320 tokens, and random weights
