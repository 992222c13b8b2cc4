"""A draft changes no token of greedy text, whatever it writes; only how many calls the decoder needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compress.language import drafting
from compress.language.drafting import compared
from compress.language.generation import Decoder, GenerationError, Generator
from compress.language.graph import decoder_model
from compress.language.weights import open_language_model
from tests.language.tiny import tiny


def plain(decoder: Any, prompt: Sequence[int], count: int) -> list[int]:
    """Greedy text as the definition says it, one token a call."""
    cache, written = decoder.begin(decoder.context), list[int]()
    logits = cache.step(np.array([prompt], np.int64))
    while len(written) < count:
        token = int(logits[0, -1].argmax())
        if token in decoder.eos:
            break
        written.append(token)
        if cache.length == cache.room:
            break
        logits = cache.step(np.array([[token]], np.int64))
    return written


def beside(decoder: Any, draft: Any = None, ahead: int = 4) -> Generator:
    nothing: Any = None
    return Generator(decoder, nothing, draft, ahead)


class Table:
    """A decoder whose next token is that of a table, by the last token and the place; it counts its calls.

    Args:
        seed: Seed of the table.
        right: Share of the entries that are those of ``like``.
        like: Another one.
    """

    vocabulary = 12

    def __init__(
        self,
        seed: int,
        context: int = 40,
        eos: Sequence[int] = (),
        like: Table | None = None,
        right: float = 0.0,
    ) -> None:
        random = np.random.default_rng(seed)
        self.context, self.eos, self.calls = context, frozenset(eos), list[int]()
        self.following = random.integers(0, self.vocabulary, (64, self.vocabulary))
        if like is not None:
            self.following = np.where(
                random.random(self.following.shape) < right, like.following, self.following
            )

    def begin(self, room: int, batch: int = 1) -> TableCache:
        assert 0 < room <= self.context
        return TableCache(self, room)


class TableCache:
    """Its cache, which holds what it read: a place that was forgotten and not read again gives another text."""

    def __init__(self, decoder: Table, room: int) -> None:
        self.decoder, self.room, self.length = decoder, room, 0
        self.read = np.full(room, -1)

    def step(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        count = ids.shape[1]
        assert 0 < count <= self.room - self.length
        self.read[self.length : self.length + count] = ids[0]
        logits = np.zeros((1, count, self.decoder.vocabulary), np.float32)
        for row in range(count):
            place = self.length + row
            seen = int(self.read[: place + 1].sum())  # depends on the whole text before
            logits[0, row, self.decoder.following[place, (seen + ids[0, row]) % self.decoder.vocabulary]] = 1
        self.length += count
        self.decoder.calls.append(count)
        return logits


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1000),
    right=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    ahead=st.integers(1, 9),
    prompt=st.lists(st.integers(0, 11), min_size=1, max_size=39),
    count=st.integers(1, 50),
    ends=st.lists(st.integers(0, 11), max_size=2),
    draft_context=st.integers(1, 60),
)
def test_the_text_is_plain_greedy_text(
    seed: int, right: float, ahead: int, prompt: list[int], count: int, ends: list[int], draft_context: int
):
    decoder = Table(seed, eos=ends)
    draft = Table(seed + 1, context=draft_context, like=decoder, right=right)
    wanted = plain(Table(seed, eos=ends), prompt, count)
    way = beside(decoder, draft, ahead)
    assert list(way.tokens(prompt, max_new_tokens=count)) == wanted
    assert 0 <= way.accepted <= way.drafted
    if right == 1.0:
        assert way.accepted == way.drafted


def test_a_draft_that_is_right_saves_calls():
    decoder = Table(3)
    way = beside(decoder, Table(4, like=decoder, right=1.0), 4)
    written = list(way.tokens([1, 2], max_new_tokens=21))
    assert len(written) == 21
    assert decoder.calls == [2, 5, 5, 5, 5]  # the prompt gives one token, and each call five
    assert (way.drafted, way.accepted) == (16, 16)


def test_a_draft_that_is_never_right_is_no_worse_than_a_call_a_token():
    decoder = Table(3)
    wrong = Table(3)
    wrong.following = (decoder.following + 1) % 12
    way = beside(decoder, wrong, 3)
    assert list(way.tokens([1, 2], max_new_tokens=10)) == plain(Table(3), [1, 2], 10)
    assert len(decoder.calls) == 10
    assert (way.accepted, way.drafted) == (0, 3 * 6 + 2 + 1)  # the last tokens need none


@pytest.fixture(scope="module")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Decoder]:
    made = {}
    for name, kind, changes in (
        ("large", "llama", {}),
        ("window", "mistral, window", {}),
        ("gpt2", "gpt2", {}),
        ("small", "llama", {"num_hidden_layers": 1, "intermediate_size": 32}),
        ("short", "llama", {"num_hidden_layers": 1, "max_position_embeddings": 20}),
    ):
        model = open_language_model(tiny(tmp_path_factory.mktemp(name), kind, **changes).path)
        made[name] = opened(decoder_model(model.config, model.weights))
    return made


def opened(graph: onnx.ModelProto) -> Decoder:
    return Decoder(
        onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    )


@pytest.mark.parametrize("ahead", [1, 2, 3, 7])
@pytest.mark.parametrize("draft", ["large", "small", "short"])
@pytest.mark.parametrize("large", ["large", "window", "gpt2"])
def test_decoders_in_the_runtime_write_the_same(
    decoders: dict[str, Decoder], large: str, draft: str, ahead: int
):
    random = np.random.default_rng(ahead)
    decoder = decoders[large]
    for length in (1, 5, 30, 58):
        prompt = random.integers(3, 101, length).tolist()
        way = beside(decoder, decoders[draft], ahead)
        assert list(way.tokens(prompt, max_new_tokens=40)) == plain(decoder, prompt, 40)[:40]
        if large == draft:
            assert way.accepted == way.drafted


def test_last_logits_are_too_few(tmp_path: Path, decoders: dict[str, Decoder]):
    model = open_language_model(tiny(tmp_path).path)
    last = opened(decoder_model(model.config, model.weights, last_logits=True))
    with pytest.raises(GenerationError, match="build it without last_logits"):
        list(beside(last, decoders["small"]).tokens([5, 6], max_new_tokens=8))


def test_both_ways_are_compared_in_turns(monkeypatch: pytest.MonkeyPatch):
    decoder = Table(3, context=60)
    draft = Table(4, context=60, like=decoder, right=0.9)
    order: list[tuple[int, bool]] = []

    def timed(way: Generator, prompt: Sequence[int], asked: int) -> tuple[float, list[int]]:
        tokens = list(way.tokens(prompt, max_new_tokens=asked))
        order.append((way.ahead, way.draft is not None))
        calls = len(tokens) - way.accepted if way.draft is not None else len(tokens)
        return {2: 0.5, 4: 0.4, 8: 0.6}.get(way.ahead, 1.0) if way.draft is not None else float(
            calls > 0
        ), tokens

    monkeypatch.setattr(drafting, "_timed", timed)
    found = compared(decoder, draft, [[at, at + 1] for at in range(12)], 20)
    assert (found["ahead"], found["texts"], found["equal"]) == (4, 8, 8)
    assert found["tokens"] == 8 * 20
    assert found["ratio"] == pytest.approx(0.4)
    assert found["ratio_interval"]["low"] <= found["ratio"] <= found["ratio_interval"]["high"]
    assert 0 < found["accepted"] < found["drafted"]
    proof = [is_drafted for ahead, is_drafted in order[4 + 3 * 4 :]]
    assert proof == [True, False, False, True] * 4


def test_texts_that_differ_are_counted(monkeypatch: pytest.MonkeyPatch):
    decoder = Table(3, context=60)
    draft = Table(4, context=60, like=decoder, right=0.5)
    original = drafting._timed

    def other(way: Generator, prompt: Sequence[int], asked: int) -> tuple[float, list[int]]:
        seconds, tokens = original(way, prompt, asked)
        return seconds, [*tokens, 1] if way.draft is not None and prompt[0] == 7 else tokens

    monkeypatch.setattr(drafting, "_timed", other)
    found = compared(decoder, draft, [[at, at] for at in range(12)], 10)
    assert (found["texts"], found["equal"]) == (8, 7)
    assert math.isfinite(found["ratio"])
