"""A decoder in OpenVINO computes what transformers and ONNX Runtime compute, and writes the same text."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from compress.backends.onnx_artifact import folded
from compress.backends.openvino_decoder import is_decoder, stateful_decoder, write_stateful_decoder
from compress.errors import NetworkError
from compress.language.generation import Decoder, Generator, likeliest
from compress.language.graph import decoder_model
from compress.language.matrices import IntegerMatrix, Matrix, round_to_nearest
from compress.language.tokenizer import open_tokenizer
from compress.language.weights import open_language_model
from compress.quantization.weights import Settings, quantize_weights
from tests.language.gguf_files import smollm2
from tests.language.tiny import KINDS, Tiny, tiny
from tests.language.tokens import write_tokenizer

openvino = pytest.importorskip("openvino")
generation = pytest.importorskip("compress.backends.openvino_generation")

IDS = np.random.default_rng(0).integers(3, 101, (2, 12))
WITH_EXPERTS = [kind for kind in KINDS if kind.startswith(("mixtral", "qwen2_moe", "qwen3_moe"))]


def opened(model: onnx.ModelProto, directory: Path, **options: str) -> Any:
    """The decoder, written and read again."""
    exact = {"cache": "float32", "compute": "float32"}
    return generation.open_decoder(write_stateful_decoder(model, directory), threads=1, **(exact | options))


def whole(decoder: Any, ids: NDArray[np.int64] = IDS) -> NDArray[np.float32]:
    return decoder.begin(ids.shape[1], len(ids)).step(ids).copy()


def close(found: NDArray[np.float32], wanted: NDArray[np.float32], part: float = 1e-4) -> bool:
    return float(np.abs(found - wanted).max()) <= part * float(np.abs(wanted).max())


def onnx_of(made: Tiny, *form: Any) -> onnx.ModelProto:
    model = open_language_model(made.path)
    return decoder_model(model.config, model.weights, *form)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(tmp_path_factory.mktemp("llama"), "llama, tied")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITH_EXPERTS])
def test_logits_are_those_of_transformers(tmp_path: Path, kind: str):
    made = tiny(tmp_path, kind)
    decoder, wanted = opened(onnx_of(made), tmp_path), made.logits(IDS)
    assert close(whole(decoder), wanted)
    cache = decoder.begin(12, 2)  # a prompt, then token by token, and once more
    assert close(cache.step(IDS[:, :5]), wanted[:, :5])
    for at in range(5, 12):
        assert close(cache.step(IDS[:, at : at + 1]), wanted[:, at : at + 1])
    for length in (7, 0):
        cache.length = length
        assert close(cache.step(IDS[:, length:]), wanted[:, length:])


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize("bits", [4, 8])
def test_integers_compute_what_they_stand_for(
    llama: Tiny, tmp_path: Path, bits: int, group_size: int, symmetric: bool
):
    rounding = round_to_nearest(bits, group_size, symmetric=symmetric, head_bits=bits, embedding_bits=bits)

    def dequantized(name: str, values: NDArray[np.float32]) -> Matrix:
        matrix = rounding(name, values)
        assert isinstance(matrix, IntegerMatrix)
        return matrix.weight.dequantized()

    wanted = whole(opened(onnx_of(llama, dequantized), tmp_path))
    model = onnx_of(llama, rounding)
    assert close(whole(opened(model, tmp_path)), wanted)
    rounded = whole(opened(model, tmp_path, cache="int8", compute="int8"))
    assert np.corrcoef(rounded.ravel(), wanted.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("algorithm", ["hqq", "rtn"])
def test_a_graph_that_techniques_rounded_and_that_was_folded(llama: Tiny, tmp_path: Path, algorithm: str):
    graph = onnx_of(llama)
    rounded, _ = quantize_weights(graph, iter(()), Settings(algorithm, 4, 32))
    cache = Decoder(session(folded(rounded))).begin(12, 2)
    decoder = opened(folded(rounded), tmp_path)
    assert close(whole(decoder), cache.step(IDS))
    executed = decoder.compiled.get_runtime_model().get_ops()
    assert Counter(node.get_rt_info()["layerType"].astype(str) for node in executed)["RMS"] == 5


def test_integers_stay_integers_and_attention_and_norms_are_fused(llama: Tiny, tmp_path: Path):
    model = onnx_of(llama, round_to_nearest(4, 32))
    decoder = opened(model, tmp_path)
    executed = decoder.compiled.get_runtime_model().get_ops()
    kinds = Counter(node.get_rt_info()["layerType"].astype(str) for node in executed)
    assert kinds["ScaledDotProductAttention"] == 2
    assert kinds["RMS"] == 5
    assert kinds["RoPE"] == 4
    assert kinds["FullyConnected"] == 11
    written = openvino.Core().read_model(str(tmp_path / "openvino_model.xml"))
    large = Counter(
        node.get_element_type().get_type_name()
        for node in written.get_ops()
        if node.get_type_name() == "Constant" and np.prod(node.get_output_shape(0)) >= 48 * 48
    )
    assert large == {"u4": 10, "u8": 1}  # the embedding, of 8 bits, is the head's, too


def test_texts_of_different_lengths_are_filled_up_on_the_right(llama: Tiny, tmp_path: Path):
    request = opened(onnx_of(llama), tmp_path).compiled.create_infer_request()
    short, mask = IDS.copy(), np.ones((2, 13), np.int64)
    short[1, 7:] = 0
    mask[1, 7:12] = 0
    positions, rows = np.tile(np.arange(12), (2, 1)), np.arange(2, dtype=np.int32)
    given = {"input_ids": short, "attention_mask": mask[:, :12], "position_ids": positions, "beam_idx": rows}
    logits = request.infer(given)["logits"].copy()
    assert close(logits[0], llama.logits(IDS)[0])
    assert close(logits[1, :7], llama.logits(IDS[1:, :7])[0])
    # The texts change places: the cache follows.
    given = {
        "input_ids": np.array([[6], [5]]),
        "attention_mask": mask[::-1].copy(),
        "position_ids": np.array([[7], [12]]),
        "beam_idx": rows[::-1].copy(),
    }
    logits = request.infer(given)["logits"]
    assert close(logits[0], llama.logits(np.append(IDS[1, :7], 6)[np.newaxis])[0, -1:])
    assert close(logits[1], llama.logits(np.append(IDS[0], 5)[np.newaxis])[0, -1:])


def test_the_text_is_that_of_onnx_runtime(tmp_path: Path):
    made = tiny(tmp_path)
    write_tokenizer(made.path)
    model = open_language_model(made.path)
    graph, tokenizer = decoder_model(model.config, model.weights), open_tokenizer(model)
    both = [Generator(each, tokenizer) for each in (session(graph), opened(graph, tmp_path))]
    prompts = ("the cat sat", "a")
    texts = [["".join(each.generate(prompt, max_new_tokens=24)) for prompt in prompts] for each in both]
    assert texts[0] == texts[1]
    assert all(texts[0])


def session(model: onnx.ModelProto) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.slow
def test_likeliest_tokens_of_a_real_model(tmp_path: Path):
    model = open_language_model(smollm2())
    graph = decoder_model(model.config, model.weights, round_to_nearest(4, 64, compute="float32"))
    prompt = np.random.default_rng(0).integers(0, model.config.vocabulary, (1, 24))
    both = [Decoder(session(graph)).begin(32), opened(graph, tmp_path).begin(32)]
    following = [likeliest(cache.step(prompt)) for cache in both]
    for _ in range(8):
        assert following[0] == following[1]
        following = [
            likeliest(cache.step(each[:, np.newaxis])) for cache, each in zip(both, following, strict=True)
        ]


@pytest.mark.parametrize("kind", WITH_EXPERTS[:1])
def test_experts_are_refused(tmp_path: Path, kind: str):
    model = onnx_of(tiny(tmp_path, kind))
    assert is_decoder(model)
    with pytest.raises(NetworkError, match=r"wanted .* for OpenVINO; found MoE; choose"):
        stateful_decoder(model)


def test_wrong_options_and_other_networks(llama: Tiny, tmp_path: Path):
    decoder = opened(onnx_of(llama), tmp_path)
    with pytest.raises(ValueError, match="wanted a cache of float32, float16, int8"):
        opened(onnx_of(llama), tmp_path, cache="int4")
    cache = decoder.begin(4)
    with pytest.raises(ValueError, match="wanted 1 to 4 tokens, as there is room for; found 5"):
        cache.step(IDS[:1, :5])
    with pytest.raises(ValueError, match="wanted a length of 0 to 0 tokens; found 1"):
        cache.length = 1
    model = openvino.Core().read_model(str(tmp_path / "openvino_model.xml"))
    other = openvino.Model(model.get_results(), model.get_sinks(), model.get_parameters(), "other")
    with pytest.raises(ValueError, match="wanted a decoder that compress wrote"):
        generation.OpenVinoDecoder(other, decoder.compiled)


def test_it_needs_the_runtime_alone():
    path = Path(generation.__file__)
    allowed = {*sys.stdlib_module_names, "numpy", "openvino"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {name.partition(".")[0] for name in names} <= allowed
