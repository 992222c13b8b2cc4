"""Encoder–decoders like Whisper compute what transformers computes, and write the same tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compress.errors import NetworkError
from compress.language.matrices import IntegerMatrix, Matrix, round_to_nearest
from compress.language.text_to_text import open_text_to_text
from compress.language.whisper import open_whisper
from compress.language.whisper_graph import whisper_graph, write_whisper
from tests.language.test_t5 import close
from tests.language.tiny import Tiny

PARTS = ("encoder", "decoder")
SIZES: dict[str, Any] = {
    "d_model": 48,
    "num_mel_bins": 20,
    "max_source_positions": 15,
    "max_target_positions": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 64,
    "vocab_size": 101,
    "decoder_start_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "bos_token_id": 2,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}


def made(path: Path, **settings: Any) -> Tiny:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    config = transformers.WhisperConfig(**SIZES | settings)
    network = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (0.5 if parameter.ndim == 1 else 0))
    network.save_pretrained(path)
    return Tiny(path, network)


# transformers reads scale_embedding, and scales nothing.
@pytest.fixture(scope="module", params=[{}, {"scale_embedding": True}, {"tie_word_embeddings": False}])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return made(tmp_path_factory.mktemp("whisper"), **request.param)


def features(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal((count, 20, 30)).astype(np.float32)


def test_logits_are_those_of_transformers(tiny: Tiny, tmp_path: Path):
    import torch

    heard, answer = features(2), np.random.default_rng(1).integers(3, 101, (2, 12))
    with torch.no_grad():
        wanted = tiny.network(
            input_features=torch.from_numpy(heard), decoder_input_ids=torch.from_numpy(answer)
        ).logits.numpy()
    files = write_whisper(open_whisper(tiny.path), tmp_path)
    run = open_text_to_text(files["encoder"], files["decoder"], threads=1)
    given, past = run.read(heard), run.empty(2)
    assert close(run.step(answer, given, past)[0], wanted)
    found, past = run.step(answer[:, :4], given, past)
    assert close(found, wanted[:, :4])
    for at in range(4, 12):
        found, past = run.step(answer[:, at : at + 1], given, past)
        assert close(found, wanted[:, at : at + 1])


def test_the_greedy_answer_is_that_of_transformers(tiny: Tiny, tmp_path: Path):
    import torch

    files = write_whisper(open_whisper(tiny.path), tmp_path)
    run = open_text_to_text(files["encoder"], files["decoder"], threads=1)
    for begin in ([], [7, 9]):
        found = list(run.answer(features(1), begin=begin, max_new_tokens=20))
        ids = [run.start, *begin]
        for token in [*found, *([] if len(found) == 20 else [2])]:
            with torch.no_grad():
                logits = tiny.network(
                    input_features=torch.from_numpy(features(1)), decoder_input_ids=torch.tensor([ids])
                ).logits
            assert int(logits[0, -1].argmax()) == token
            ids.append(token)


def test_the_graphs_are_legal_and_round(tiny: Tiny):
    model = open_whisper(tiny.path)
    for part in PARTS:
        onnx.checker.check_model(whisper_graph(model, part), full_check=True)
        rounded = whisper_graph(model, part, round_to_nearest(8, 16))
        assert "MatMul" not in {each.op_type for each in rounded.graph.node}
        assert "MatMulNBits" in {each.op_type for each in rounded.graph.node}


def test_integers_compute_what_they_stand_for(tiny: Tiny, tmp_path: Path):
    model = open_whisper(tiny.path)
    rounding = round_to_nearest(4, 16, compute="float32", head_bits=8)

    def dequantized(name: str, values: np.ndarray[Any, Any]) -> Matrix:
        matrix = rounding(name, values)
        assert isinstance(matrix, IntegerMatrix)
        return matrix.weight.dequantized()

    found = []
    for number, form in enumerate((rounding, dequantized)):
        (tmp_path / str(number)).mkdir()
        files = write_whisper(model, tmp_path / str(number), form)
        run = open_text_to_text(files["encoder"], files["decoder"], threads=1)
        found.append(run.step(np.arange(3, 13)[None], run.read(features(1)), run.empty())[0])
    assert close(*found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "t5"}, "a decoder of a known family: whisper; found .*'t5'"),
        ({"encoder_attention_heads": 5}, "a divisor of 'd_model', 48,"),
        ({"decoder_start_token_id": 101}, "a whole number from 0 to 100"),
        ({"activation_function": "tanh"}, "an activation function of silu"),
        ({"max_source_positions": 16}, "'model.encoder.embed_positions.weight' of shape 16×48"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, changes: dict[str, Any], message: str):
    path = made(tmp_path).path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(NetworkError, match=message):
        open_whisper(tmp_path)
