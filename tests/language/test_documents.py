"""A document's value is what its logits say, whatever stands beside it, and steps that are timed are real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from compress.data.task import Task, load_task
from compress.errors import DataError, MetricError
from compress.language.document_split import DocumentSplit
from compress.language.documents import NO_TOKEN, PAST, Documents, empty_cache, fed
from compress.language.network import LoadedDecoder, is_decoder, load_decoder
from compress.language.texts import open_documents
from compress.metrics import load_metric
from compress.network.first_call import Opened
from compress.profiling.accuracy import accuracy_of, outcomes_of
from tests.language.documents import sentences, small_model


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> LoadedDecoder:
    return load_decoder(small_model(tmp_path_factory.mktemp("model"), max_position_embeddings=600))


@pytest.fixture(scope="module")
def opened(decoder: LoadedDecoder) -> Opened:
    return Opened(decoder.network)


@pytest.fixture(scope="module")
def task(decoder: LoadedDecoder, opened: Opened) -> Task:
    found = load_task(open_documents(sentences(20), decoder.tokenizer, 96))
    bound = found.evaluation.in_calls(found, opened)
    assert bound is not None
    return bound


def logits_of(decoder: LoadedDecoder, ids: np.ndarray) -> np.ndarray:
    """The logits of a whole text at once, without a cache."""
    session = onnxruntime.InferenceSession(decoder.network.to_onnx().SerializeToString())
    cache = empty_cache(Opened(decoder.network))
    found: np.ndarray = session.run(["logits"], fed(ids[None], cache))[0][0]
    return found


@pytest.mark.parametrize("length", [2, 40, 300])
def test_likelihoods_are_those_of_the_logits(decoder: LoadedDecoder, opened: Opened, length: int):
    torch = pytest.importorskip("torch")
    ids = np.random.default_rng(0).integers(0, 300, length)
    nll, choice = Documents(1).over(opened).run({"input_ids": ids[None]})
    logits = torch.from_numpy(logits_of(decoder, ids)).double()[:-1]
    wanted = torch.nn.functional.cross_entropy(logits, torch.from_numpy(ids[1:]), reduction="none").numpy()
    assert nll.shape == (1, length - 1)
    np.testing.assert_allclose(nll[0], wanted, rtol=1e-4, atol=1e-4)
    assert (choice[0] == logits.argmax(dim=1).numpy()).mean() > 0.99


def test_a_document_does_not_depend_on_its_neighbours(opened: Opened, task: Task):
    runner = Documents(1).over(opened)
    (batch,) = task.evaluation.batches(100)
    ids = batch.inputs["input_ids"]
    together, _ = runner.run({"input_ids": ids})
    for row, document in enumerate(ids):
        own = document[document != NO_TOKEN]
        alone, _ = runner.run({"input_ids": own[None]})
        np.testing.assert_array_equal(together[row, : len(own) - 1], alone[0])
        assert not together[row, len(own) - 1 :].any()


def test_perplexity_is_that_of_all_documents(opened: Opened, task: Task):
    (found,) = outcomes_of(opened, task)
    runner = Documents(1).over(opened)
    split = task.evaluation
    wanted = []
    for batch in split.batches(1):
        ids = batch.inputs["input_ids"]
        wanted.append(runner.run({"input_ids": ids[ids != NO_TOKEN][None]})[0].mean())
    np.testing.assert_allclose(found.values, wanted)
    told = accuracy_of([found], None, split.sha256)
    assert told.mean == pytest.approx(np.exp(np.mean(wanted)))
    assert told.kept == pytest.approx(np.mean(wanted))
    assert told.interval.low < told.mean < told.interval.high
    assert not told.higher_is_better


def test_what_the_original_held_likely_comes_with_its_documents(decoder: LoadedDecoder, opened: Opened):
    loaded = load_task(open_documents(sentences(20), decoder.tokenizer, 96))
    split = loaded.evaluation
    assert isinstance(split, DocumentSplit)
    compared = split.with_likeliest(opened)
    assert compared.sha256 == split.sha256
    bound = compared.in_calls(replace(loaded, evaluation=compared), opened)
    assert bound is not None
    (found,) = outcomes_of(opened, bound)
    assert found.beside["divergence"] == pytest.approx(0, abs=1e-6)
    assert found.beside["token-agreement"] == 1
    (other,) = outcomes_of(Warmer(opened), bound)
    assert other.beside["divergence"] > 0.01
    assert 0.99 < other.beside["token-agreement"] <= 1  # a temperature changes no order
    agreement = load_metric("token-agreement").fitted(bound.whole.outputs if bound.whole else ())
    (batch,) = bound.evaluation.batches(100)
    outputs = Documents(1, 64).over(Backwards(opened)).run(batch.inputs)
    values = agreement.per_sample(outputs, batch.targets, None)
    known = batch.inputs["input_ids"][:, 1:] != NO_TOKEN
    wanted = [
        (row_choice[row_known] == row_first[row_known]).mean()
        for row_choice, row_first, row_known in zip(
            outputs[1], batch.inputs["likeliest"][..., 0], known, strict=True
        )
    ]
    np.testing.assert_allclose(values, wanted)


class Warmer:
    """A decoder with its logits divided by 2."""

    def __init__(self, network: Opened) -> None:
        self.inputs, self.outputs = network.inputs, network.outputs
        self._network = network

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        logits, *cache = self._network.run(feeds)
        return [self.changed(logits), *cache]

    def changed(self, logits: np.ndarray) -> np.ndarray:
        return logits / 2


class Backwards(Warmer):
    """A decoder that holds the likeliest for the least likely in every other place."""

    def changed(self, logits: np.ndarray) -> np.ndarray:
        signs = np.where(np.arange(logits.shape[1]) % 2, 1, -1)
        return np.asarray(logits * signs[:, None], np.float32)


def test_steps_that_are_timed_continue_a_document(decoder: LoadedDecoder, opened: Opened, task: Task):
    calls = task.calls
    (step,) = calls.evaluation.take([0]).batches(1)
    context = step.inputs[f"{PAST}0.key"].shape[2]
    assert step.inputs["input_ids"].shape == (1, 1)
    assert step.inputs["attention_mask"].shape == (1, context + 1)
    logits = opened.run(step.inputs)[0][0, 0]
    document = next(
        document
        for batch in task.evaluation.batches(1)
        for document in batch.inputs["input_ids"]
        if (document != NO_TOKEN).sum() > context
    )
    np.testing.assert_allclose(logits, logits_of(decoder, document[: context + 1])[-1], rtol=1e-3, atol=1e-3)
    assert all(batch.inputs[f"{PAST}0.key"].shape[2] == 0 for batch in calls.calibration.batches(4))


def test_judging_takes_as_many_steps_as_its_tokens_are_worth(task: Task):
    tokens = sum(int((batch.inputs["input_ids"] != NO_TOKEN).sum()) for batch in task.evaluation.batches(7))
    assert task.judging_calls == tokens // 12 > len(task.evaluation)
    assert task.calls.judging_calls == len(task.calls.evaluation)


def test_hashes_do_not_depend_on_the_length_that_documents_are_filled_up_to():
    documents = [np.arange(2, 2 + length) for length in (3, 5, 9)]
    split = DocumentSplit(documents, {})
    assert split.sha256 == DocumentSplit(documents, {}, width=20).sha256
    assert split.take([0, 1]).sha256 == DocumentSplit(documents[:2], {}).sha256
    assert split.take([1, 0]).sha256 != split.take([0, 1]).sha256


def test_other_data_and_other_networks_are_refused(opened: Opened):
    arrays = load_task({"x": np.eye(8, dtype=np.float32)})
    assert arrays.evaluation.in_calls(arrays, opened) is None
    documents = DocumentSplit([np.arange(4), np.arange(5)], {})
    with pytest.raises(DataError, match="texts to calibrate on, for a language model; found data of arrays"):
        documents.in_calls(replace(arrays, evaluation=documents), opened)
    with pytest.raises(MetricError, match="a language model and documents, for perplexity"):
        load_metric("perplexity").fitted(opened.outputs)
    with pytest.raises(MetricError, match="the original language model, for token-agreement"):
        load_metric("token-agreement").fitted(Documents(1).outputs)


def test_a_decoder_is_known_by_its_config(decoder: LoadedDecoder, tmp_path: Path):
    assert is_decoder(decoder.network.origin.path)
    assert not is_decoder(tmp_path)
    assert not is_decoder(small_model(tmp_path / "classes", architectures=["LlamaForSequenceClassification"]))
    assert not is_decoder(small_model(tmp_path / "other", model_type="llama") / "config.json")
