"""Greedy answers of a build to the beginnings of documents, held against those of the original."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.core.decoder_texts import CONTEXT_KEY, EOS_KEY, PARTS_KEY
from compress.data.binding import BoundSplit
from compress.language.document_split import DocumentSplit
from compress.language.documents import Documents, empty_cache, fed, spelling_of
from compress.records.greedy import GreedyText

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.data.task import Task

Ids = NDArray[np.int64]

#: Number of beginnings, tokens of one at most, and tokens that are asked for.
PROMPTS, PROMPT, ASKED = 16, 32, 64


def greedy_text(session: Session, task: Task | None, answers: GreedyText | None = None) -> GreedyText | None:
    """Return what a decoder answers to the beginnings of documents.

    Args:
        session: The opened build.
        task: The documents that it is judged on.
        answers: Answers of the original; None where the build is the original.

    Returns:
        The answers; None where the build is no decoder that is judged on documents, or the original answered others.
    """
    documents = documents_of(task)
    if (
        documents is None
        or not {CONTEXT_KEY, EOS_KEY} <= set(session.metadata)
        or PARTS_KEY in session.metadata
    ):
        return None
    prompts = beginnings(documents)
    sha256 = hashlib.sha256(b"".join(prompt.tobytes() + b"|" for prompt in prompts)).hexdigest()
    if answers is None:
        asked = max(1, min(ASKED, int(session.metadata[CONTEXT_KEY]) - max(map(len, prompts))))
        given = tuple(tuple(_answer(session, prompt, asked)) for prompt in prompts)
        return GreedyText(asked, sha256, given)
    if answers.prompts_sha256 != sha256:
        return None
    whole = task.whole if task is not None else None
    spelling = spelling_of(session, whole) if isinstance(whole, Documents) else None
    same = []
    for prompt, answer in zip(prompts, answers.answers, strict=True):
        wanted, starts = np.array(answer, np.int64), np.arange(len(answer))
        if spelling is not None:
            prompt, _ = spelling.spelled(prompt)
            # What the trimmed vocabulary cannot write, the build cannot answer.
            can_write = [bool(spelling.pieces[token]) for token in answer]
            wanted, starts = spelling.spelled(wanted[: [*can_write, False].index(False)])
        given_count = _same(_answer(session, prompt, len(wanted)), wanted)
        ends = np.append(starts[1:], len(wanted))
        same.append(int((ends <= given_count).sum()))  # of a token in several pieces every piece counts
    return GreedyText(answers.asked, sha256, answers.answers, tuple(same))


def beginnings(documents: Sequence[Ids], most: int = PROMPTS) -> list[Ids]:
    """Return the beginnings of the first documents, half of each at most.

    Args:
        documents: Ids of the tokens of each document.
        most: Largest number of documents.
    """
    return [document[: max(1, min(PROMPT, len(document) // 2))] for document in documents[:most]]


def documents_of(task: Task | None) -> Sequence[Ids] | None:
    """Return the documents that a decoder is judged on; None for other data."""
    if task is None or type(task.whole) is not Documents:  # those of encoder–decoders are of a class below it
        return None
    split = task.evaluation
    source = split.source if isinstance(split, BoundSplit) else split
    return source.documents if isinstance(source, DocumentSplit) and len(source) else None


def _answer(session: Session, prompt: Ids, most: int) -> Iterator[int]:
    """Yield the likeliest next tokens, up to one that ends an answer, or as far as the context reaches."""
    context, ends = int(session.metadata[CONTEXT_KEY]), frozenset(json.loads(session.metadata[EOS_KEY]))
    past: dict[str, NDArray[Any]] = empty_cache(session)
    ids = prompt
    for _ in range(min(most, context - len(prompt))):
        logits, *present = session.run(fed(ids[None], past))
        past = dict(zip(past, present, strict=True))
        token = int(logits[0, -1].argmax())
        yield token
        if token in ends:
            return
        ids = np.array([token], np.int64)


def _same(given: Iterator[int], wanted: Ids) -> int:
    """Return how many tokens of an answer are the wanted ones; no more of it is computed than that needs."""
    count = 0
    for token, other in zip(given, wanted.tolist(), strict=False):
        if token != other:
            break
        count += 1
    return count
