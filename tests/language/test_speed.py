"""Speed is measured under the conditions that are asked for; nothing here says how fast anything is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import compress.language.speed
from compress.errors import UsageError
from compress.language.generation import Cache
from compress.language.graph import write_decoder
from compress.language.matrices import Form, keep_float, round_to_nearest
from compress.language.speed import measure_speed
from compress.language.traffic import weight_bytes
from compress.language.weights import LanguageModel, open_language_model
from compress.profiling.latency import Budget
from tests.language.tiny import tiny

FEW = Budget(seconds=0, least=6, most=6, warm_up_seconds=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return open_language_model(tiny(tmp_path_factory.mktemp("tiny"), "llama, tied").path)


@pytest.fixture(scope="module")
def path(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_decoder(model.config, model.weights, tmp_path_factory.mktemp("graph") / "decoder.onnx")


def test_each_combination_is_measured_and_told(path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[tuple[int, int, int]] = []
    step = Cache.step

    def recorded(self: Cache, ids: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> object:
        calls.append((self.length, *ids.shape))
        return step(self, ids)

    monkeypatch.setattr(Cache, "step", recorded)
    found = list(measure_speed(path, contexts=(5, 9), batches=(1, 3), threads=(1,), steps=FEW, prompts=FEW))
    assert [(each.context, each.batch, each.threads) for each in found] == [
        (5, 1, 1),
        (9, 1, 1),
        (5, 3, 1),
        (9, 3, 1),
    ]
    # The whole prompt from an empty cache, then one token at a time behind it: warmed up, and six calls.
    for speed in found:
        assert calls.count((0, speed.batch, speed.context)) == 8
        assert calls.count((speed.context, speed.batch, 1)) == 8
        assert speed.first_token.iterations == speed.step.iterations == 6
        assert speed.first_token.batch == speed.batch
        assert speed.prompt_tokens_per_s == pytest.approx(
            1e3 * speed.batch * speed.context / speed.first_token.p50_ms
        )
        assert speed.tokens_per_s == pytest.approx(1e3 * speed.batch / speed.step.p50_ms)
        assert json.loads(json.dumps(speed.to_dict()))["step"]["p50_ms"] == speed.step.p50_ms


def test_bytes_are_those_of_weights_and_cache(path: Path, model: LanguageModel):
    config = model.config
    (speed,) = measure_speed(path, contexts=(7,), batches=(2,), steps=FEW, prompts=FEW)
    assert speed.cache_bytes_per_token == config.cache_bytes_per_token
    assert speed.bytes_per_step == weight_bytes(path) + 2 * 7 * config.cache_bytes_per_token


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("form", "weight", "row"),
    [
        (keep_float, 4.0, 64 * 4),
        # 8 bits and a scale for each 32 weights; a row of the embedding is 4 bits and the same scales.
        (round_to_nearest(8, 32, symmetric=True, head_bits=8, embedding_bits=4), 1.125, 64 // 2 + 2 * 4),
    ],
)
def test_bytes_of_a_step(tmp_path: Path, form: Form, weight: float, row: int, tied: bool, beside: bool):
    wide = {"hidden_size": 64, "tie_word_embeddings": tied}  # all matrices are whole groups of 32
    opened = open_language_model(tiny(tmp_path / "model", "llama", **wide).path)
    config = opened.config
    path = write_decoder(config, opened.weights, tmp_path / "decoder.onnx", form, beside=beside)
    embedding = config.vocabulary * config.hidden
    matrices = config.parameters - (
        0 if tied else embedding
    )  # all but the embedding, which counts once as the head
    shared = tied and form is keep_float
    norms = (2 * config.layers + 1) * config.hidden * 4
    tables = 2 * (config.head_dim // 2) * 4
    numbers = 4 * 8 + (0 if form is keep_float else 8)
    assert weight_bytes(path) == matrices * weight + (0 if shared else row) + norms + tables + numbers


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"contexts": (0,)}, "context of 1 or more; found 0"),
        ({"batches": (1, -1)}, "batch of 1 or more; found -1"),
        ({"threads": (-1,)}, "threads of 0 or more"),
        ({"contexts": (8, 64)}, "fewer tokens than the decoder's context, 64; found 64"),
    ],
)
def test_numbers_out_of_range(path: Path, given: dict[str, tuple[int, ...]], message: str):
    with pytest.raises(UsageError, match=message):
        list(measure_speed(path, **given))


def test_the_budgets_are_kept_apart(path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    timed = compress.language.speed.timed

    def recorded(call: Callable[[], float], budget: Budget) -> object:
        asked.append(budget)
        return timed(call, budget)

    monkeypatch.setattr(compress.language.speed, "timed", recorded)
    other = Budget(seconds=0, least=7, most=7, warm_up_seconds=0)
    (speed,) = measure_speed(path, contexts=(4,), steps=other, prompts=FEW)
    assert asked == [FEW, other]
    assert (speed.first_token.iterations, speed.step.iterations) == (6, 7)
