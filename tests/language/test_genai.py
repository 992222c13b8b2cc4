"""onnxruntime-genai loads what is written and writes the same tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.language.genai import write_genai
from compress.language.generation import Generator
from compress.language.graph import write_decoder
from compress.language.matrices import keep_float, round_to_nearest
from compress.language.tokenizer import open_tokenizer
from compress.language.weights import open_language_model
from tests.language.gguf_files import smollm2
from tests.language.test_generation import session
from tests.language.tiny import tiny
from tests.language.tokens import write_tokenizer

pytest.importorskip("tokenizers")
genai = pytest.importorskip("onnxruntime_genai", reason="pip install onnxruntime-genai")


def answer(directory: Path, prompt: str, count: int) -> tuple[list[int], list[int], str]:
    """Tokens of the prompt and of the answer, and the answer, as onnxruntime-genai has them."""
    model = genai.Model(str(directory))
    tokenizer = genai.Tokenizer(model)
    ids = [int(each) for each in tokenizer.encode(prompt)]
    settings = genai.GeneratorParams(model)
    settings.set_search_options(max_length=len(ids) + count)
    run = genai.Generator(model, settings)
    run.append_tokens(ids)
    while not run.is_done():
        run.generate_next_token()
    found = [int(each) for each in run.get_sequence(0)][len(ids) :]
    return ids, found, tokenizer.decode(found)


def agree(
    path: Path, directory: Path, prompt: str, count: int, rounded: bool, last_logits: bool = False
) -> str:
    """Write a model for onnxruntime-genai and hold its tokens against ours; the answer."""
    model = open_language_model(path)
    tokenizer = open_tokenizer(model)
    form = round_to_nearest() if rounded else keep_float
    graph = write_decoder(
        model.config, model.weights, directory / "decoder.onnx", form, context=64, last_logits=last_logits
    )
    write_genai(directory, model.config, tokenizer, graph.name, 64)
    ids, found, text = answer(directory, prompt, count)
    assert ids == tokenizer.encode(prompt).ids
    ours = list(Generator(session(graph), tokenizer).tokens(ids, max_new_tokens=count))
    assert [each for each in found if each not in model.config.eos] == ours
    assert text.removeprefix(" ") == tokenizer.decode(found, skip_special_tokens=True)
    return text


FAMILIES = ["llama", "llama, tied", "mistral, window", "qwen2", "qwen3", "gemma", "smollm3", "gpt2"]
MIXTURES = ["mixtral", "qwen2_moe", "qwen3_moe"]


@pytest.mark.parametrize("kind", FAMILIES + MIXTURES)
def test_families(tmp_path: Path, kind: str):
    made = tiny(tmp_path / "model", kind)
    write_tokenizer(made.path)
    assert agree(made.path, tmp_path, "the th, that", 12, rounded=False)


def test_the_last_logits_are_enough(tmp_path: Path):
    made = tiny(tmp_path / "model")
    write_tokenizer(made.path)
    assert agree(made.path, tmp_path, "the th, that", 12, rounded=False, last_logits=True)


def test_a_conversation_becomes_a_prompt(tmp_path: Path):
    made = tiny(tmp_path / "model")
    write_tokenizer(made.path)
    model = open_language_model(made.path)
    write_decoder(model.config, model.weights, tmp_path / "decoder.onnx")
    template = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
    write_genai(tmp_path, model.config, open_tokenizer(model), "decoder.onnx", 64, template)
    tokenizer = genai.Tokenizer(genai.Model(str(tmp_path)))
    said = '[{"role": "user", "content": "that"}]'
    assert tokenizer.apply_chat_template(said, add_generation_prompt=False) == "<user>that"


@pytest.mark.slow
@pytest.mark.parametrize("rounded", [False, True])
def test_the_real_model(tmp_path: Path, rounded: bool):
    prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    assert "Paris" in agree(smollm2(), tmp_path, prompt, 24, rounded)
