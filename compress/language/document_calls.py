"""Single calls of a decoder on documents: decoding steps, which are timed, and beginnings, which are calibrated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.data.arrays import ArraySplit
from compress.data.split import Batch, Split
from compress.language.documents import IDS, MASK, empty_cache, fed

if TYPE_CHECKING:
    from compress.network.states import Runs

Documents = Sequence[NDArray[np.int64]]

#: Number of steps that are kept: their keys and values are large.
STEPS = 4

#: Largest number of tokens of a beginning.
BEGINNING = 256


def decoding_steps(documents: Documents, origin: Mapping[str, Any], network: Runs, context: int) -> Split:
    """Return steps of one token behind the first ones of a few documents, with the keys and values there.

    Args:
        documents: Ids of tokens, int64 [tokens]; one of them at least has more than ``context``.
        origin: Source of the documents.
        network: The original decoder, which gives the keys and values.
        context: Number of tokens before the step.
    """
    rows = []
    for document in [long_document for long_document in documents if len(long_document) > context][:STEPS]:
        _, *present = network.run(fed(document[None, :context], empty_cache(network)))
        past = dict(zip(empty_cache(network), present, strict=True))
        step = fed(document[None, context : context + 1], past)
        rows.append({name: array[0] for name, array in step.items()})
    return ArraySplit(_stacked(rows), {**origin, "steps": len(rows), "context": context})


def beginnings(documents: Documents, origin: Mapping[str, Any], network: Runs) -> Split:
    """Return the beginnings of documents, of one length that half of them have, without keys and values before them.

    Args:
        documents: Ids of tokens, int64 [tokens].
        origin: Source of the documents.
        network: The original decoder; it is not run.
    """
    lengths = sorted(map(len, documents))
    length = min(BEGINNING, lengths[(len(lengths) - 1) // 2])
    past = {name: array[0] for name, array in empty_cache(network).items()}
    rows = [
        {IDS: document[:length], MASK: np.ones(length, np.int64), **past}
        for document in documents
        if len(document) >= length
    ]
    return Beginnings(_stacked(rows), {**origin, "beginnings": length}, documents)


class Beginnings(ArraySplit):
    """Beginnings of documents, with the documents themselves.

    Attributes:
        documents: Ids of the tokens of each whole document, int64 [tokens].
    """

    def __init__(self, samples: Batch, origin: Mapping[str, Any], documents: Documents) -> None:
        super().__init__(samples, origin)
        self.documents = documents


def _stacked(rows: list[dict[str, Any]]) -> Batch:
    return Batch({name: np.stack([row[name] for row in rows]) for name in rows[0]}, None)
