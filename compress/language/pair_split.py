"""Inputs with their answers as samples of data, and single calls of an encoder–decoder on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.data.arrays import ArraySplit
from compress.data.split import Batch, RowDigest, Split
from compress.errors import DataError
from compress.language.document_split import DocumentSplit
from compress.language.documents import IDS, NO_TOKEN, empty_cache
from compress.language.likeliest import Likeliest
from compress.language.pairs import (
    MASK,
    SOURCE_FEATURES,
    SOURCE_IDS,
    SOURCE_MASK,
    PairRunner,
    Pairs,
    keys_of,
    read_inputs,
    source_of,
)
from compress.metrics.agreement import agreement
from compress.metrics.output_kinds import OutputKind

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec
    from compress.data.task import Task
    from compress.network.states import Runs

#: Number of answers that are kept to be timed.
_TIMED = 4


class PairSplit(DocumentSplit):
    """Inputs with their answers.

    Args:
        sources: The inputs: ids of tokens, int64 [tokens] each, or spectra of one shape, float32.
        answers: Ids of the tokens of each answer, int64 [tokens], behind the token that begins every answer.
        origin: Source of the samples, as a dict that JSON can hold; its ``answer_begin`` is the number of tokens of an
            answer that are given and not judged.
        width: Number of tokens that answers are filled up to; None for that of the longest.
        likeliest: See :class:`DocumentSplit`.
        source_width: Number of tokens that inputs are filled up to; None for that of the longest.
    """

    def __init__(
        self,
        sources: Sequence[NDArray[Any]],
        answers: Sequence[NDArray[np.int64]],
        origin: Mapping[str, Any],
        width: int | None = None,
        likeliest: Sequence[Likeliest] | None = None,
        source_width: int | None = None,
    ) -> None:
        super().__init__(answers, origin, width, likeliest)
        self.sources = tuple(sources)
        self._source_width = source_width or max(map(len, self.sources), default=0)

    def batches(self, size: int) -> Iterator[Batch]:
        """See :meth:`Split.batches`."""
        begin = int(self.origin.get("answer_begin", 0))
        for number, batch in enumerate(super().batches(size)):
            targets = np.array(batch.targets)
            targets[:, :begin] = NO_TOKEN
            some = self.sources[number * size : number * size + len(targets)]
            yield Batch({**batch.inputs, self.origin["source"]: self._filled_sources(some)}, targets)

    def _filled_sources(self, some: Sequence[NDArray[Any]]) -> NDArray[Any]:
        if self.origin["source"] != SOURCE_IDS:
            return np.stack(some)
        filled = np.full((len(some), self._source_width), NO_TOKEN)
        for row, source in zip(filled, some, strict=True):
            row[: len(source)] = source
        return filled

    def _with(self, rows: Sequence[int], likeliest: Sequence[Likeliest] | None) -> PairSplit:
        """Return some of the pairs, with the original's first choices."""
        sources, answers = ([column[row] for row in rows] for column in (self.sources, self.documents))
        return PairSplit(sources, answers, self.origin, self._width, likeliest, self._source_width)

    def _taken(self, indices: NDArray[np.int64]) -> PairSplit:
        first = None if self._likeliest is None else [self._likeliest[row] for row in indices]
        return self._with(indices.tolist(), first)

    def with_likeliest(self, network: Runs) -> PairSplit:
        """See :meth:`DocumentSplit.with_likeliest`."""
        runner = PairRunner(network, Pairs(0, source=self._source_of(network)))
        first, likelihoods = [], []
        for source, answer in zip(self.sources, self.documents, strict=True):
            runner.read(source)
            choices, judged = runner.first_choices(answer)
            first.append(choices)
            likelihoods += judged
        compared = self._with(range(len(self)), first)
        compared.original_nll = -float(np.mean(likelihoods))
        return compared

    def _source_of(self, network: Runs) -> TensorSpec:
        """Return the network's input for the inputs.

        Raises:
            DataError: The network takes inputs of another kind.
        """
        source = source_of(network)
        if source.name != self.origin["source"]:
            kinds = {SOURCE_IDS: "texts, or ids of tokens,", SOURCE_FEATURES: "spectra"}
            wanted = f"{kinds[source.name]} as inputs, which this network reads"
            raise DataError(wanted, kinds[self.origin["source"]].removesuffix(","), "give such data")
        return source

    @cached_property
    def digests(self) -> tuple[RowDigest, ...]:
        """Hashes of each input and of its answer, not of the lengths that they are filled up to."""
        return tuple(
            RowDigest(*(_hash(array) for array in pair))
            for pair in zip(self.sources, self.documents, strict=True)
        )

    def first_calls(self, network: Runs) -> Split:
        """See :meth:`Split.first_calls`: an input with its answer in one call."""
        return AnswerCalls(self._taken(np.array([0])), network, runs=False)

    def in_calls(self, task: Task, network: Runs) -> Task:
        """See :meth:`Split.in_calls`: it is judged on whole answers, and they are timed.

        Raises:
            DataError: The calibration data is no pairs, or the network takes inputs of another kind.
            MetricError: The metric does not apply to answers.
        """
        calibration = task.calibration
        if not isinstance(calibration, PairSplit):
            kind = calibration.origin.get("kind", "another kind")
            raise DataError("inputs with their answers to calibrate on", f"data of {kind}", "give such")
        source = self._source_of(network)
        kept = None if self._likeliest is None else self._likeliest[0].ids.shape[1]
        timed = AnswerCalls(self._taken(np.arange(len(self))[:_TIMED]), network, like=self)
        whole_answers = Pairs(
            timed.answer, kept, self.origin.get("vocabulary"), source=source, read=timed.read
        )
        judged = replace(task, whole=whole_answers, calibration=self, training=None)
        whole = judged.bind(whole_answers.inputs, whole_answers.outputs)
        kinds = [
            OutputKind(spec.name, at, "ignore", None, "its cache")
            if at
            else OutputKind(spec.name, 0, "tokens", 2, "an encoder–decoder")
            for at, spec in enumerate(network.outputs)
        ]
        single = replace(
            task,
            evaluation=timed.computed(),
            calibration=AnswerCalls(calibration, network),
            training=None,
            metric=agreement(),
            by_output={},
        )
        bound = single.bind(network.inputs, network.outputs, kinds)
        return replace(whole, calibration=calibration, training=task.training, single=bound)


class AnswerCalls(Split):
    """Calls of both parts: an input, and its answer behind the keys and values that the original makes of the input.

    Inputs and answers are cut, or repeated, to one length, which half of them have; a batch is computed when it is
    read.

    Args:
        pairs: The pairs.
        network: The original encoder–decoder.
        like: Pairs whose usual lengths are taken; None for ``pairs`` themselves.
        runs: Whether the network is run; if not, the keys and values are 0.

    Attributes:
        answer: Number of tokens of an answer, with the one that begins it and without its last.
        read: Number of tokens of an input; None where inputs are no tokens.
    """

    def __init__(
        self, pairs: PairSplit, network: Runs, like: PairSplit | None = None, *, runs: bool = True
    ) -> None:
        like = pairs if like is None else like
        self._pairs, self._network, self._like, self._runs = pairs, network, like, runs
        self.answer = max(1, _usual(like.documents) - 1)
        self.read = _usual(like.sources) if pairs.origin["source"] == SOURCE_IDS else None
        self.origin = {**pairs.origin, "answer_tokens": self.answer, "input_tokens": self.read}

    def __len__(self) -> int:
        return len(self._pairs)

    def batches(self, size: int) -> Iterator[Batch]:
        """See :meth:`Split.batches`."""
        for start in range(0, len(self), size):
            sources = self._pairs.sources[start : start + size]
            answers = self._pairs.documents[start : start + size]
            yield Batch(self._call(sources, answers), None)

    def computed(self) -> Split:
        """Return the same calls, computed now and kept, so that the network may be closed."""
        calls = self._call(self._pairs.sources, self._pairs.documents)
        return ArraySplit(Batch(calls, None), self.origin)

    def _call(
        self, sources: Sequence[NDArray[Any]], answers: Sequence[NDArray[np.int64]]
    ) -> dict[str, NDArray[Any]]:
        name = self._pairs.origin["source"]
        if self.read is None:
            read = {name: np.stack(sources)}
        else:
            ids = np.stack([np.resize(source, self.read) for source in sources])
            read = {name: ids, SOURCE_MASK: np.ones_like(ids)}
        if self._runs:
            given = read_inputs(self._network, {name: read[name]})
        else:
            given = keys_of(self._network, len(sources), self.read or 1)
            given |= {MASK: read[SOURCE_MASK]} if self.read is not None else {}
        written = np.stack([np.resize(answer, self.answer) for answer in answers])
        return {**read, **given, IDS: written, **empty_cache(self._network, len(sources))}

    def _taken(self, indices: NDArray[np.int64]) -> AnswerCalls:
        return AnswerCalls(self._pairs._taken(indices), self._network, self._like, runs=self._runs)

    @cached_property
    def digests(self) -> tuple[RowDigest, ...]:
        """Hashes of the pairs, and of the lengths that they have in a call."""
        lengths = f"{self.read} {self.answer}".encode()
        return tuple(RowDigest(digest.inputs + lengths, digest.targets) for digest in self._pairs.digests)


def _usual(arrays: Sequence[NDArray[Any]]) -> int:
    """Return a length that half of some arrays have at least."""
    lengths = sorted(map(len, arrays))
    return lengths[len(lengths) // 2]


def _hash(array: NDArray[Any]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()
