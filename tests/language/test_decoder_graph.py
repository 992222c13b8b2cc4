"""The graph computes what transformers computes: whole texts at once, and token by token with the cache."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from compress.errors import OutputError, RecipeError, UnavailableError
from compress.language.generation import Decoder, GenerationError
from compress.language.graph import decoder_model, write_decoder
from compress.language.matrices import EMBEDDING, HEAD, IntegerMatrix, Matrix, round_to_nearest
from compress.language.weight_file import WeightFile
from compress.language.weights import open_language_model
from compress.onnx_graph.external_data import external_files
from tests.language.tiny import KINDS, Tiny, tiny

IDS = np.random.default_rng(0).integers(3, 101, (2, 12))


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(tmp_path_factory.mktemp("tiny"), request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(tmp_path_factory.mktemp("llama"), "llama, tied")


def session(model: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    given = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(given, providers=["CPUExecutionProvider"])


def start(run: onnxruntime.InferenceSession, batch: int) -> dict[str, NDArray[np.float32]]:
    """An empty cache."""
    return {
        each.name: np.zeros((batch, each.shape[1], 0, each.shape[3]), np.float32)
        for each in run.get_inputs()
        if each.name.startswith("past_key_values.")
    }


def step(
    run: onnxruntime.InferenceSession, ids: NDArray[Any], mask: NDArray[Any], past: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
    logits, *present = run.run(None, {"input_ids": ids, "attention_mask": mask, **past})
    names = [each.name.replace("present", "past_key_values") for each in run.get_outputs()[1:]]
    return logits, dict(zip(names, present, strict=True))


def whole(run: onnxruntime.InferenceSession, ids: NDArray[Any]) -> NDArray[np.float32]:
    return step(run, ids, np.ones_like(ids), start(run, len(ids)))[0]


def close(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    return float(np.abs(found - wanted).max()) <= 1e-4 * float(np.abs(wanted).max())


def test_logits_are_those_of_transformers(made: Tiny):
    opened = open_language_model(made.path)
    run = session(decoder_model(opened.config, opened.weights))
    wanted = made.logits(IDS)
    assert close(whole(run, IDS), wanted)
    # A prompt, then token by token.
    logits, past = step(run, IDS[:, :5], np.ones((2, 5), np.int64), start(run, 2))
    assert close(logits, wanted[:, :5])
    for at in range(5, 12):
        logits, past = step(run, IDS[:, at : at + 1], np.ones((2, at + 1), np.int64), past)
        assert close(logits, wanted[:, at : at + 1])


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_the_graph_is_legal_and_its_norms_are_fused(tmp_path: Path, kind: str):
    opened = open_language_model(tiny(tmp_path, kind).path)
    model = decoder_model(opened.config, opened.weights)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    made = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert made["SimplifiedLayerNormalization"] == (5 if kind == "qwen3" else 1)
    assert made["SkipSimplifiedLayerNormalization"] == 4
    assert made["GroupQueryAttention"] == 2
    assert made["Pow"] == made["Div"] == 0


def test_texts_of_different_lengths_are_filled_up_on_the_right(llama: Tiny):
    opened = open_language_model(llama.path)
    run = session(decoder_model(opened.config, opened.weights))
    short, mask = IDS.copy(), np.ones((2, 13), np.int64)
    short[1, 7:] = 0
    mask[1, 7:12] = 0
    logits, past = step(run, short, mask[:, :12], start(run, 2))
    assert close(logits[0], llama.logits(IDS)[0])
    assert close(logits[1, :7], llama.logits(IDS[1:, :7])[0])
    logits, _ = step(run, np.array([[5], [6]]), mask, past)
    assert close(logits[1], llama.logits(np.append(IDS[1, :7], 6)[np.newaxis])[0, -1:])


def test_a_tied_head_is_one_copy(llama: Tiny):
    opened = open_language_model(llama.path)
    model = decoder_model(opened.config, opened.weights)
    large = [each.name for each in model.graph.initializer if 101 in each.dims]
    assert large == ["model.embed_tokens.weight"]


def test_weights_beside_the_graph_are_the_same(llama: Tiny, tmp_path: Path):
    opened = open_language_model(llama.path)
    path = write_decoder(opened.config, opened.weights, tmp_path / "decoder.onnx", beside=True)
    assert external_files(path) == (tmp_path / "decoder.onnx.data",)
    assert path.stat().st_size < 40_000 < external_files(path)[0].stat().st_size
    assert sorted(each.name for each in tmp_path.iterdir()) == ["decoder.onnx", "decoder.onnx.data"]
    inside = write_decoder(opened.config, opened.weights, tmp_path / "inside.onnx")
    assert external_files(inside) == ()
    np.testing.assert_array_equal(whole(session(path), IDS), whole(session(inside), IDS))


def test_a_disk_without_space(llama: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened = open_language_model(llama.path)

    def full(path: Path, location: str, journal: Path | None) -> WeightFile:
        file = WeightFile(path, location, journal)
        file._file.close()
        file._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - the file closes it
        return file

    monkeypatch.setattr("compress.language.graph.WeightFile", full)
    with pytest.raises(OutputError, match=r"space and permission to write; found .*No space left"):
        write_decoder(opened.config, opened.weights, tmp_path / "decoder.onnx", beside=True)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_where_writing_fails(llama: Tiny, tmp_path: Path):
    opened = open_language_model(llama.path)

    def failing(name: str, values: NDArray[np.float32]) -> Matrix:
        if name == HEAD:
            raise RuntimeError("no")
        return values

    with pytest.raises(RuntimeError):
        write_decoder(opened.config, opened.weights, tmp_path / "decoder.onnx", failing, beside=True)
    assert list(tmp_path.iterdir()) == []


def test_a_form_is_asked_once_for_each_matrix_as_it_runs(llama: Tiny):
    opened = open_language_model(llama.path)
    asked = []

    def asking(name: str, values: NDArray[np.float32]) -> Matrix:
        asked.append((name, values.shape))
        return values

    decoder_model(opened.config, opened.weights, asking)
    layer = [
        ("self_attn.qkv_proj", (128, 48)),
        ("self_attn.o_proj", (48, 64)),
        ("mlp.gate_proj", (96, 48)),
        ("mlp.up_proj", (96, 48)),
        ("mlp.down_proj", (48, 96)),
    ]
    assert asked == [
        (EMBEDDING, (101, 48)),
        *((f"model.layers.{at}.{name}", shape) for at in (0, 1) for name, shape in layer),
        (HEAD, (101, 48)),
    ]


@pytest.mark.parametrize("compute", ["float32", "int8"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize("bits", [4, 8])
def test_integers_compute_what_they_stand_for(
    llama: Tiny, bits: int, group_size: int, symmetric: bool, compute: str
):
    opened = open_language_model(llama.path)
    rounding = round_to_nearest(
        bits, group_size, symmetric=symmetric, compute=compute, head_bits=bits, embedding_bits=bits
    )

    def dequantized(name: str, values: NDArray[np.float32]) -> Matrix:
        matrix = rounding(name, values)
        assert isinstance(matrix, IntegerMatrix)
        return matrix.weight.dequantized()

    model = decoder_model(opened.config, opened.weights, rounding)
    made = {each.op_type for each in model.graph.node}
    assert {"MatMulNBits", "GatherBlockQuantized"} <= made
    assert not {"MatMul", "FusedMatMul"} & made
    wanted = whole(session(decoder_model(opened.config, opened.weights, dequantized)), IDS)
    found = whole(session(model), IDS)
    if compute == "float32":
        assert close(found, wanted)
    else:  # what is multiplied is rounded too
        assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99


def test_a_tied_head_of_the_same_integers_is_one_copy_too(llama: Tiny):
    opened = open_language_model(llama.path)
    shared = decoder_model(opened.config, opened.weights, round_to_nearest(head_bits=4, embedding_bits=4))
    apart = decoder_model(opened.config, opened.weights, round_to_nearest(head_bits=8, embedding_bits=4))
    assert [each.name for each in shared.graph.initializer if "packed" in each.name and 101 in each.dims] == [
        "model.embed_tokens.packed"
    ]
    assert [each.name for each in apart.graph.initializer if "packed" in each.name and 101 in each.dims] == [
        "model.embed_tokens.packed",
        "lm_head.packed",
    ]


@pytest.mark.parametrize("release", ["1.22.1", "1.26.0", "0.99", ""])
def test_a_runtime_that_computes_wrongly_is_refused(
    llama: Tiny, release: str, monkeypatch: pytest.MonkeyPatch
):
    opened = open_language_model(llama.path)
    run = session(decoder_model(opened.config, opened.weights))
    monkeypatch.setattr(onnxruntime, "__version__", release)
    with pytest.raises(
        UnavailableError, match=rf"onnxruntime 1\.27 or later.*; found {release}; pip install"
    ):
        decoder_model(opened.config, opened.weights)
    with pytest.raises(
        GenerationError, match=rf"wanted onnxruntime 1\.27 or later; found {release}; upgrade"
    ):
        Decoder(run)
    monkeypatch.setattr(onnxruntime, "__version__", "1.27.0")
    Decoder(run)


def test_the_context_may_be_shorter(llama: Tiny):
    opened = open_language_model(llama.path)
    model = decoder_model(opened.config, opened.weights, context=20)
    tables = {each.name: list(each.dims) for each in model.graph.initializer}
    assert tables["rope.cos"] == [20, 8]
    assert {each.key: each.value for each in model.metadata_props} == {
        "context_length": "20",
        "eos_token_ids": "[2]",
    }
    with pytest.raises(RecipeError, match="wanted a context of 1 to 64 tokens; found 65"):
        decoder_model(opened.config, opened.weights, context=65)
