"""Documents as samples of data: ids of tokens, filled up to one length."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.data.split import Batch, RowDigest, Split
from compress.errors import DataError
from compress.language.document_calls import beginnings, decoding_steps
from compress.language.documents import CONTEXT, IDS, LIKELIEST, LIKELIEST_LOGS, NO_TOKEN, Documents
from compress.language.likeliest import Likeliest
from compress.language.windows import Windows
from compress.metrics.agreement import agreement
from compress.metrics.output_kinds import OutputKind

if TYPE_CHECKING:
    from compress.data.task import Task
    from compress.network.states import Runs


class DocumentSplit(Split):
    """Documents, each of two tokens or more.

    The targets of a document are its tokens from the second on, int64, filled up with -1.

    Args:
        documents: Ids of the tokens of each document, int64 [tokens].
        origin: Source of the documents, as a dict that JSON can hold.
        width: Number of tokens that documents are filled up to; None for that of the longest.
        likeliest: The original's first choices behind each token but the last of each document; None where they are
            not known. They are no part of the data, and do not change its hashes.

    Attributes:
        original_nll: Mean negative log-likelihood of the original, in nats a token; None where it is not known.
    """

    default_metric = "perplexity"
    labelled = True

    def __init__(
        self,
        documents: Sequence[NDArray[np.int64]],
        origin: Mapping[str, Any],
        width: int | None = None,
        likeliest: Sequence[Likeliest] | None = None,
    ) -> None:
        self.documents = tuple(documents)
        self.origin = origin
        self._likeliest = likeliest
        self.original_nll: float | None = None
        self._width = max(map(len, self.documents), default=0) if width is None else width

    def __len__(self) -> int:
        return len(self.documents)

    def batches(self, size: int) -> Iterator[Batch]:
        """See :meth:`Split.batches`."""
        for start in range(0, len(self), size):
            some = self.documents[start : start + size]
            ids = np.full((len(some), self._width), NO_TOKEN)
            for row, document in zip(ids, some, strict=True):
                row[: len(document)] = document
            first = None if self._likeliest is None else self._likeliest[start : start + size]
            yield Batch({IDS: ids, **({} if first is None else self._filled(first))}, ids[:, 1:])

    def _filled(self, some: Sequence[Likeliest]) -> dict[str, NDArray[Any]]:
        """Return first choices as inputs, zeros where a document has no token."""
        shape = len(some), self._width - 1, some[0].ids.shape[1]
        ids, logs = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        for row, of_document in enumerate(some):
            ids[row, : len(of_document.ids)], logs[row, : len(of_document.ids)] = (
                of_document.ids,
                of_document.logs,
            )
        return {LIKELIEST: ids, LIKELIEST_LOGS: logs}

    def _taken(self, indices: NDArray[np.int64]) -> DocumentSplit:
        documents = [self.documents[row] for row in indices]
        first = None if self._likeliest is None else [self._likeliest[row] for row in indices]
        return DocumentSplit(documents, self.origin, self._width, first)

    def with_likeliest(self, network: Runs) -> DocumentSplit:
        """Return the same documents with the first choices of the original, which is run on all of them."""
        runner = Documents(0, windows=Windows.of(self.origin)).over(network)
        first: list[Likeliest] = []
        likelihoods: list[float] = []
        for document in self.documents:
            choices, judged = runner.first_choices(document)
            first.append(choices)
            likelihoods += judged
        with_reference = DocumentSplit(self.documents, self.origin, self._width, first)
        with_reference.original_nll = -float(np.mean(likelihoods))
        return with_reference

    @cached_property
    def digests(self) -> tuple[RowDigest, ...]:
        """Hashes of each document and of the windows in which it is read, not of the length that it is filled up to."""
        windows = Windows.of(self.origin)
        read = b"" if windows is None else f"{windows.length} {windows.stride}".encode()
        return tuple(
            RowDigest(hashlib.blake2b(document.tobytes() + read, digest_size=16).digest(), b"")
            for document in self.documents
        )

    def first_calls(self, network: Runs) -> Split:
        """See :meth:`Split.first_calls`: the beginnings of documents."""
        return beginnings(_read_at_once(self), self.origin, network)

    def in_calls(self, task: Task, network: Runs) -> Task:
        """See :meth:`Split.in_calls`: it is judged on whole documents, and timed in decoding steps.

        Raises:
            DataError: The calibration data is no documents.
            MetricError: The metric does not apply to documents.
        """
        calibration = task.calibration
        if not isinstance(calibration, DocumentSplit):
            kind = calibration.origin.get("kind", "another kind")
            raise DataError("texts to calibrate on, for a language model", f"data of {kind}", "give texts")
        single_texts = _read_at_once(self)
        context = max(1, min(CONTEXT, max(map(len, single_texts)) // 2))
        kept_tokens = None if self._likeliest is None else self._likeliest[0].ids.shape[1]
        windows = Windows.of(self.origin)
        documents = Documents(context, kept_tokens, self.origin.get("vocabulary"), windows)
        # Only what is evaluated runs whole, with the original's choices; the rest is single calls below.
        judged = replace(task, whole=documents, calibration=self, training=None)
        whole_task = judged.bind(documents.inputs, documents.outputs)
        logits, *cache = network.outputs
        kinds = [OutputKind(logits.name, 0, "tokens", 2, "a language model")]
        kinds += [
            OutputKind(spec.name, index, "ignore", None, "its cache")
            for index, spec in enumerate(cache, start=1)
        ]
        single = replace(
            task,
            evaluation=decoding_steps(single_texts, self.origin, network, context),
            calibration=beginnings(_read_at_once(calibration), calibration.origin, network),
            training=None,
            metric=agreement(),
            by_output={},
        )
        whole_task = replace(whole_task, calibration=calibration, training=task.training)
        # Documents to train on are whole ones, of which a technique makes what it trains with.
        bound = replace(single.bind(network.inputs, network.outputs, kinds), training=task.training)
        return replace(whole_task, single=bound)


def _read_at_once(split: DocumentSplit) -> list[NDArray[np.int64]]:
    """Return documents for single calls: of those that are read in windows the first window."""
    windows = Windows.of(split.origin)
    return [document if windows is None else document[: windows.length] for document in split.documents]
