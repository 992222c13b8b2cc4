"""Greedy text is what transformers writes, and comes piece by piece."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import compress.language.generation
from compress.language.generation import Decoder, GenerationError, Generator
from compress.language.graph import decoder_model, write_decoder
from compress.language.tokenizer import open_tokenizer
from compress.language.weights import open_language_model
from compress.quantization.weights import Settings, quantize_weights
from tests.language.gguf_files import smollm2
from tests.language.tiny import Tiny, tiny
from tests.language.tokens import write_tokenizer

tokenizers = pytest.importorskip("tokenizers")


def session(model: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    given = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(given, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    found = tiny(tmp_path_factory.mktemp("tiny"))
    write_tokenizer(found.path)
    return found


@pytest.fixture(scope="module")
def generator(made: Tiny) -> Generator:
    model = open_language_model(made.path)
    return Generator(session(decoder_model(model.config, model.weights)), open_tokenizer(model))


def greedy(network: Any, prompt: list[int], count: int) -> list[int]:
    """What transformers writes behind a prompt, with its end where it has one."""
    import torch

    ids = torch.tensor([prompt])
    found = network.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False)
    return [int(each) for each in found[0, len(prompt) :]]


@pytest.mark.parametrize("prompt", [[1, 5, 9, 40], [7], list(range(10, 50))])
def test_tokens_are_those_of_transformers(made: Tiny, generator: Generator, prompt: list[int]):
    wanted = greedy(made.network, prompt, 16)
    wanted = wanted[: wanted.index(2)] if 2 in wanted else wanted
    assert list(generator.tokens(prompt, max_new_tokens=16)) == wanted
    assert len(set(wanted)) > 1


def test_an_answer_ends_at_its_token(made: Tiny, generator: Generator):
    prompt = [1, 5, 9, 40]
    whole = list(generator.tokens(prompt, max_new_tokens=16))
    end = whole[3]
    model = open_language_model(made.path)
    graph = decoder_model(model.config, model.weights)
    next(each for each in graph.metadata_props if each.key == "eos_token_ids").value = f"[2, {end}]"
    ended = Generator(session(graph), generator.tokenizer)
    assert list(ended.tokens(prompt, max_new_tokens=16)) == whole[: whole.index(end)]


def test_pieces_are_the_text(generator: Generator):
    prompt = "the th"
    tokens = list(generator.tokens(generator.tokenizer.encode(prompt).ids, max_new_tokens=20))
    pieces = list(generator.generate(prompt, max_new_tokens=20))
    assert "".join(pieces) == generator.tokenizer.decode(tokens)
    assert len(pieces) > 1


def test_a_character_of_several_tokens_comes_whole(generator: Generator, monkeypatch: pytest.MonkeyPatch):
    tokenizer = open_tokenizer(open_language_model(smollm2()))
    text = "naïve 你好 🙂 end"
    ids = tokenizer.encode(text).ids
    monkeypatch.setattr(generator, "tokenizer", tokenizer)
    monkeypatch.setattr(generator, "tokens", lambda prompt, max_new_tokens: iter(ids[:max_new_tokens]))
    pieces = list(generator.generate("x"))
    assert "".join(pieces) == text
    assert not any("�" in each for each in pieces)
    assert len(pieces) < len(ids)
    cut = next(at for at in range(1, len(ids)) if "�" in tokenizer.decode(ids[:at]))
    assert "".join(generator.generate("x", max_new_tokens=cut)) == tokenizer.decode(ids[:cut])


def test_the_context_is_the_end(generator: Generator):
    assert len(list(generator.tokens([5] * 60, max_new_tokens=100))) <= 5
    with pytest.raises(GenerationError, match=r"wanted a prompt of 1 to 63 tokens, .* found 64; shorten it"):
        list(generator.tokens([5] * 64))
    with pytest.raises(GenerationError, match="found 0; write one"):
        list(generator.generate(""))


def test_a_prompt_in_pieces_is_the_whole_prompt(
    made: Tiny, generator: Generator, monkeypatch: pytest.MonkeyPatch
):
    prompt = np.random.default_rng(0).integers(3, 101, (1, 40))
    whole = generator.decoder.begin(50).step(prompt)
    np.testing.assert_allclose(whole, made.logits(prompt), atol=2e-4)
    cache = generator.decoder.begin(50)
    parts = [cache.step(prompt[:, at : at + 7]) for at in range(0, 40, 7)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=2e-4)
    assert cache.length == 40
    cache.length = 30
    np.testing.assert_allclose(cache.step(prompt[:, 30:31]), whole[:, 30:31], atol=2e-4)
    with pytest.raises(GenerationError, match="wanted 1 to 19 tokens, as there is room for; found 20"):
        cache.step(prompt[:, :20])
    before = list(generator.tokens(prompt[0].tolist(), max_new_tokens=8))
    monkeypatch.setattr(compress.language.generation, "CHUNK", 7)
    assert list(generator.tokens(prompt[0].tolist(), max_new_tokens=8)) == before


def test_several_texts_at_once(made: Tiny, generator: Generator):
    texts = np.random.default_rng(0).integers(3, 101, (3, 20))
    cache = generator.decoder.begin(20, batch=3)
    parts = [cache.step(texts[:, :18]), cache.step(texts[:, 18:19]), cache.step(texts[:, 19:])]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), made.logits(texts), atol=2e-4)


def test_a_graph_of_somebody_else(made: Tiny):
    model = open_language_model(made.path)
    graph = decoder_model(model.config, model.weights)
    del graph.metadata_props[:]
    with pytest.raises(GenerationError, match="no 'context_length' in its metadata; build it again"):
        Decoder(session(graph))


def test_the_last_logits_are_enough(made: Tiny, generator: Generator):
    model = open_language_model(made.path)
    last = Generator(
        session(decoder_model(model.config, model.weights, last_logits=True)), generator.tokenizer
    )
    prompt = [1, 5, 9, 40]
    assert last.decoder.begin(8).step(np.array([prompt])).shape == (1, 1, 101)
    wanted = list(generator.tokens(prompt, max_new_tokens=12))
    assert list(last.tokens(prompt, max_new_tokens=12)) == wanted


@pytest.mark.parametrize("algorithm", ["rtn", "gptq", "awq", "hqq"])
def test_weights_quantized_by_data_still_generate(made: Tiny, generator: Generator, algorithm: str):
    model = open_language_model(made.path)
    texts = np.random.default_rng(0).integers(3, 101, (8, 1, 20))
    empty = {
        f"past_key_values.{layer}.{kind}": np.zeros((1, 2, 0, 16), np.float32)
        for layer in (0, 1)
        for kind in ("key", "value")
    }
    batches = [{"input_ids": text, "attention_mask": np.ones((1, 20), np.int64), **empty} for text in texts]
    settings = Settings(algorithm=algorithm, group_size=16)
    quantized, report = quantize_weights(decoder_model(model.config, model.weights), batches, settings)
    assert [each.algorithm for each in report.layers] == [algorithm] * 11
    decoder = Decoder(session(quantized))
    assert (decoder.context, decoder.eos) == (generator.decoder.context, generator.decoder.eos)
    logits = [each.begin(20).step(texts[0]).ravel() for each in (decoder, generator.decoder)]
    assert np.corrcoef(*logits)[0, 1] > 0.9


def test_a_cache_is_as_large_as_is_told(made: Tiny, generator: Generator):
    model = open_language_model(made.path)
    assert generator.decoder.cache_bytes_per_token == model.config.cache_bytes_per_token == 2 * 2 * 2 * 16 * 4


def test_it_runs_where_compress_is_not_installed():
    path = Path(compress.language.generation.__file__)
    allowed = {*sys.stdlib_module_names, "numpy", "onnxruntime", "tokenizers"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {each.partition(".")[0] for each in names} <= allowed


@pytest.mark.slow
def test_the_real_model_writes_what_transformers_writes(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    file = smollm2()
    model = open_language_model(file)
    tokenizer = open_tokenizer(model)
    path = write_decoder(model.config, model.weights, tmp_path / "decoder.onnx")
    assert (tmp_path / "decoder.onnx.data").stat().st_size == pytest.approx(4 * 134_515_008, rel=0.01)
    prompt = "<|im_start|>user\nWhat is the capital of France, and how old is it?<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer.encode(prompt).ids
    found = list(Generator(session(path), tokenizer).tokens(ids, max_new_tokens=40))
    network = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype="float32"
    ).eval()
    wanted = greedy(network, ids, 40)
    assert found == (wanted[: wanted.index(2)] if 2 in wanted else wanted)
    assert "Paris" in tokenizer.decode(found)
    assert Decoder(session(path)).context == 8192
