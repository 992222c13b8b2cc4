"""Greedy text of a build against the original's: as long as both are the same, by plain generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from compress.backends.onnxruntime import DEFAULTS, OnnxRuntimeSession
from compress.language.document_split import DocumentSplit
from compress.language.documents import Documents
from compress.language.generation import Generator
from compress.language.graph import decoder_model
from compress.language.greedy import beginnings, greedy_text
from compress.language.matrices import round_to_nearest
from compress.language.spelling import Spelling
from compress.language.weights import LanguageModel, open_language_model
from tests.language.tiny import tiny

RANDOM = np.random.default_rng(0)
DOCUMENTS = [RANDOM.integers(3, 101, length) for length in (2, 9, 30, 50, 50, 60)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return open_language_model(tiny(tmp_path_factory.mktemp("tiny")).path)


def opened(graph: onnx.ModelProto, path: Path) -> OnnxRuntimeSession:
    onnx.save(graph, path)
    return OnnxRuntimeSession(path, DEFAULTS)


def task(documents: list[Any] = DOCUMENTS) -> Any:
    return SimpleNamespace(whole=Documents(8, vocabulary=101), evaluation=DocumentSplit(documents, {}))


def test_the_original_answers_as_it_generates(model: LanguageModel, tmp_path: Path):
    session = opened(decoder_model(model.config, model.weights), tmp_path / "fp32.onnx")
    greedy = greedy_text(session, task())
    assert greedy is not None
    assert greedy.same is None
    assert greedy.asked == 64 - 30  # what the context has room for behind the longest beginning
    plain = Generator(session.native, None)  # type: ignore[arg-type]
    for prompt, answer in zip(beginnings(DOCUMENTS), greedy.answers, strict=True):
        wanted = list(plain.tokens(prompt.tolist(), max_new_tokens=greedy.asked))
        assert list(answer)[: len(wanted)] == wanted
        assert set(answer[len(wanted) :]) <= {2}  # the token that ends it


def test_a_build_is_held_against_it(model: LanguageModel, tmp_path: Path):
    original = opened(decoder_model(model.config, model.weights), tmp_path / "fp32.onnx")
    rounded = decoder_model(model.config, model.weights, round_to_nearest(4, 16))
    build = opened(rounded, tmp_path / "int4.onnx")
    answers = greedy_text(original, task())
    greedy = greedy_text(build, task(), answers)
    itself = greedy_text(original, task(), answers)
    assert answers is not None
    assert greedy is not None
    assert itself is not None
    assert itself.same == tuple(map(len, answers.answers))
    assert greedy.same is not None
    assert greedy.same != itself.same
    plain = Generator(build.native, None)  # type: ignore[arg-type]
    for prompt, answer, count in zip(beginnings(DOCUMENTS), answers.answers, greedy.same, strict=True):
        written = list(plain.tokens(prompt.tolist(), max_new_tokens=answers.asked))
        assert written[:count] == list(answer[:count])
        assert count == len(answer) or written[count : count + 1] != [answer[count]]


@dataclass
class Renumbered:
    """A decoder whose vocabulary is the whole one's in another order, with a token that is written in two pieces."""

    decoder: OnnxRuntimeSession
    spelling: Spelling
    metadata: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.metadata = {**self.decoder.metadata, "spelling": self.spelling.to_text()}
        self.inputs, self.outputs = self.decoder.inputs, self.decoder.outputs

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        kept = np.array(self.spelling.kept)
        logits, *present = self.decoder.run({**feeds, "input_ids": kept[feeds["input_ids"]]})
        return [logits[:, :, kept], *present]


def test_a_trimmed_vocabulary_counts_whole_tokens(model: LanguageModel, tmp_path: Path):
    session = opened(decoder_model(model.config, model.weights), tmp_path / "fp32.onnx")
    answers = greedy_text(session, task())
    assert answers is not None
    used = {token for document in DOCUMENTS for token in document.tolist()}
    lost = next(token for answer in answers.answers for token in answer[1:] if token not in used | {0, 1, 2})
    kept = [token for token in range(101) if token != lost]
    trimmed: Any = Renumbered(session, Spelling.of(kept, {lost: (5, 6)}, 101))
    greedy = greedy_text(trimmed, task(), answers)
    assert greedy is not None
    assert greedy.same is not None
    for answer, count in zip(answers.answers, greedy.same, strict=True):
        assert count == (answer.index(lost) if lost in answer else len(answer))
    without: Any = Renumbered(session, Spelling.of(kept, {}, 101))
    unwritable = greedy_text(without, task(), answers)
    assert unwritable is not None
    assert unwritable.same == greedy.same


def test_other_documents_are_not_compared(model: LanguageModel, tmp_path: Path):
    session = opened(decoder_model(model.config, model.weights), tmp_path / "fp32.onnx")
    answers = greedy_text(session, task())
    assert greedy_text(session, task(DOCUMENTS[1:]), answers) is None
    assert greedy_text(session, None, answers) is None
