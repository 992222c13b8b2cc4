"""Encoder–decoders like T5 compute what transformers computes, and write the same text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from compress.errors import NetworkError, UsageError
from compress.language.matrices import IntegerMatrix, Matrix, round_to_nearest
from compress.language.t5 import DECODER, ENCODER, T5Model, _buckets, open_t5
from compress.language.t5_graph import t5_graph, write_t5
from compress.language.text_to_text import TextToText, open_text_to_text
from compress.language.text_to_text_speed import measure_text_to_text
from compress.profiling.latency import Budget
from compress.quantization.weights import Settings, quantize_weights
from tests.language.tiny import Tiny

SIZES: dict[str, Any] = {
    "d_model": 48,
    "d_kv": 16,
    "d_ff": 96,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "vocab_size": 101,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "decoder_start_token_id": 0,
}
KINDS: dict[str, dict[str, Any]] = {
    "first": {},
    "gated": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "one decoder layer": {"num_decoder_layers": 1},
}


def made(path: Path, **settings: Any) -> Tiny:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = transformers.T5ForConditionalGeneration(transformers.T5Config(**SIZES | settings)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (0.5 if parameter.ndim == 1 else 0))
    network.save_pretrained(path)
    return Tiny(path, network)


@pytest.fixture(scope="module", params=KINDS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return made(tmp_path_factory.mktemp("t5"), **KINDS[request.param])


def logits(tiny: Tiny, source: NDArray[Any], mask: NDArray[Any], answer: NDArray[Any]) -> NDArray[np.float32]:
    import torch

    with torch.no_grad():
        found: NDArray[np.float32] = tiny.network(
            input_ids=torch.from_numpy(source),
            attention_mask=torch.from_numpy(mask),
            decoder_input_ids=torch.from_numpy(answer),
        ).logits.numpy()
    return found


def opened(model: T5Model, form: Any = None) -> TextToText:
    given = {} if form is None else {"form": form}
    return TextToText(
        *(
            onnxruntime.InferenceSession(
                t5_graph(model, part, **given).SerializeToString(), providers=["CPUExecutionProvider"]
            )
            for part in (ENCODER, DECODER)
        )
    )


def close(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    return float(np.abs(found - wanted).max()) <= 1e-4 * float(np.abs(wanted).max())


def test_logits_are_those_of_transformers(tiny: Tiny):
    """Of inputs longer than the largest distance, one of them filled up; whole answers, and token by token."""
    random = np.random.default_rng(0)
    source, answer = random.integers(3, 101, (2, 30)), random.integers(3, 101, (2, 26))
    mask = np.ones_like(source)
    mask[1, 17:] = 0
    wanted = logits(tiny, source, mask, answer)
    run = opened(open_t5(tiny.path))
    given, past = run.read(source, mask), run.empty(2)
    whole, _ = run.step(answer, given, past)
    assert close(whole, wanted)
    found, past = run.step(answer[:, :4], given, past)
    assert close(found, wanted[:, :4])
    for at in range(4, 26):
        found, past = run.step(answer[:, at : at + 1], given, past)
        assert close(found, wanted[:, at : at + 1])


def test_the_text_is_that_of_transformers(tiny: Tiny, tmp_path: Path):
    import torch

    files = write_t5(open_t5(tiny.path), tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["decoder.onnx", "encoder.onnx"]
    run = open_text_to_text(files[ENCODER], files[DECODER], threads=1)
    for seed in range(3):
        source = np.random.default_rng(seed).integers(3, 101, 9)
        wanted = tiny.network.generate(
            torch.from_numpy(source)[None], max_new_tokens=20, do_sample=False, num_beams=1, use_cache=False
        )
        ids = [each for each in wanted[0].tolist()[1:] if each not in run.eos]
        assert list(run.tokens(source.tolist(), max_new_tokens=20)) == ids


def test_the_graphs_are_legal(tiny: Tiny):
    model = open_t5(tiny.path)
    for part in (ENCODER, DECODER):
        onnx.checker.check_model(t5_graph(model, part), full_check=True)


def test_both_calls_are_timed(tiny: Tiny, tmp_path: Path):
    files = write_t5(open_t5(tiny.path), tmp_path)
    quick = Budget(seconds=0.02, least=6, warm_up_seconds=0.01)
    speed = measure_text_to_text(files[ENCODER], files[DECODER], source=20, answer=4, threads=1, budget=quick)
    assert (speed.source, speed.answer, speed.threads) == (20, 4, 1)
    assert speed.encoder.p50_ms > 0
    assert speed.step.p50_ms > 0
    assert json.loads(json.dumps(speed.to_dict()))["encoder"]["p50_ms"] == speed.encoder.p50_ms
    with pytest.raises(UsageError, match="source of 1 or more; found 0"):
        measure_text_to_text(files[ENCODER], files[DECODER], source=0)


@pytest.mark.parametrize("bits", [4, 8])
def test_integers_compute_what_they_stand_for(tiny: Tiny, bits: int):
    model = open_t5(tiny.path)
    rounding = round_to_nearest(bits, 16, compute="float32", head_bits=bits)

    def dequantized(name: str, values: NDArray[np.float32]) -> Matrix:
        matrix = rounding(name, values)
        assert isinstance(matrix, IntegerMatrix)
        return matrix.weight.dequantized()

    source, answer = np.arange(3, 20)[None], np.arange(30, 40)[None]
    found, wanted = (
        run.step(answer, run.read(source), run.empty())[0]
        for run in (opened(model, form) for form in (rounding, dequantized))
    )
    assert close(found, wanted)


def test_the_technique_rounds_each_part(tiny: Tiny):
    model = open_t5(tiny.path)
    for part in (ENCODER, DECODER):
        _, report = quantize_weights(t5_graph(model, part), [], Settings("onnxruntime", 8))
        layers = [name for each in report.layers for name in each.nodes]
        assert f"{part}.block.0.layer.0.SelfAttention.q.product" in layers
        assert report.bytes_after < report.bytes_before


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (8, 20), (16, 100)])
def test_distances_have_the_buckets_of_transformers(both: bool, buckets: int, farthest: int):
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    distances = np.arange(3 * farthest)
    theirs = t5.T5Attention._relative_position_bucket(
        torch.from_numpy(-distances), bidirectional=both, num_buckets=buckets, max_distance=farthest
    )
    ours = _buckets(np.minimum(distances, farthest), buckets // 2 if both else buckets, farthest)
    np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bart"}, "a decoder of a known family: t5; found .*'bart'"),
        ({"feed_forward_proj": "gated-tanh"}, "an activation function of silu"),
        ({"decoder_start_token_id": 101}, "the id of a token below 'vocab_size', 101"),
        ({"relative_attention_max_distance": 4}, "half of it below the largest distance"),
        ({"num_decoder_layers": 4}, "the tensor 'decoder.block.3.layer.0.SelfAttention.q.weight'"),
        ({"d_ff": 64}, "'encoder.block.0.layer.1.DenseReluDense.wi.weight' of shape 64×48"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, changes: dict[str, Any], message: str):
    path = made(tmp_path).path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(NetworkError, match=message):
        open_t5(tmp_path)
