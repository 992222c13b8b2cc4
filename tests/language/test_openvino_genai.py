"""openvino-genai loads the directory, and writes the same text."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from compress.backends.openvino_decoder import write_stateful_decoder
from compress.errors import NetworkError, UnavailableError
from compress.language import openvino_genai
from compress.language.generation import Generator
from compress.language.graph import decoder_model
from compress.language.openvino_genai import write_openvino_genai
from compress.language.tokenizer import open_tokenizer
from compress.language.weights import open_language_model
from tests.language.tiny import tiny
from tests.language.tokens import write_tokenizer

pytest.importorskip("openvino")


@pytest.mark.parametrize("attention", ["SDPA", "PA"])
def test_it_writes_the_same_text(tmp_path: Path, attention: str):
    pytest.importorskip("openvino_tokenizers", reason="needs pip install openvino-tokenizers")
    genai = pytest.importorskip("openvino_genai", reason="needs pip install openvino-genai")
    from compress.backends.openvino_generation import open_decoder

    write_tokenizer(tiny(tmp_path).path)
    model = open_language_model(tmp_path)
    tokenizer, directory = open_tokenizer(model), tmp_path / "openvino"
    directory.mkdir()
    path = write_stateful_decoder(decoder_model(model.config, model.weights), directory)
    write_openvino_genai(directory, model.config, tokenizer)
    options = {"ATTENTION_BACKEND": attention, "INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    pipeline = genai.LLMPipeline(str(directory), "CPU", **options)
    settings = pipeline.get_generation_config()
    settings.max_new_tokens, settings.apply_chat_template = 12, False
    assert settings.eos_token_id == 2
    generator = Generator(open_decoder(path, cache="float32", compute="float32"), tokenizer)
    for prompt in ("the cat sat", "a"):
        wanted = "".join(generator.generate(prompt, max_new_tokens=12))
        assert wanted
        assert pipeline.generate(prompt, settings) == wanted


def test_a_tokenizer_that_is_read_wrongly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("openvino_tokenizers", reason="needs pip install openvino-tokenizers")
    from tokenizers import Tokenizer, normalizers

    write_tokenizer(tiny(tmp_path).path)
    model = open_language_model(tmp_path)
    tokenizer = open_tokenizer(model)
    other = Tokenizer.from_str(tokenizer.to_str())
    other.normalizer = normalizers.Replace("cats", "dogs")
    converted = openvino_genai._converted(model.config, other, None)
    monkeypatch.setattr(openvino_genai, "_converted", lambda *_: converted)
    with pytest.raises(NetworkError, match=r"wanted tokens \[.* after openvino_tokenizers; found \["):
        write_openvino_genai(tmp_path, model.config, tokenizer)
    assert not (tmp_path / "openvino_tokenizer.xml").exists()


def test_what_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_tokenizer(tiny(tmp_path).path)
    model = open_language_model(tmp_path)
    really = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "openvino_tokenizers":
            raise ImportError("No module named 'openvino_tokenizers'")
        return really(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnavailableError, match="pip install openvino-tokenizers transformers"):
        write_openvino_genai(tmp_path, model.config, open_tokenizer(model))
