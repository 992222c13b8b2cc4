"""The documents of a task, and the task of a decoder that was changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compress.data.binding import BoundSplit, bind_split
from compress.errors import DataError
from compress.language.document_calls import Beginnings, beginnings
from compress.language.document_split import DocumentSplit

if TYPE_CHECKING:
    from compress.data.task import Task
    from compress.network.network import Network

Document = NDArray[np.int64]


def calibration_documents(task: Task) -> Sequence[Document]:
    """Return the whole documents that a decoder is calibrated on, each int64 [tokens].

    Args:
        task: The task of a decoder's single calls.

    Raises:
        DataError: The calibration data is no documents.
    """
    split = task.calibration
    source = split.source if isinstance(split, BoundSplit) else split
    if not isinstance(source, Beginnings):
        raise DataError("documents to calibrate on", f"data of {source.origin.get('kind')}", "give texts")
    return source.documents


def training_documents(task: Task) -> Sequence[Document]:
    """Return the whole documents that a decoder may be trained on; none where there are none."""
    return task.training.documents if isinstance(task.training, DocumentSplit) else ()


def refitted(task: Task, network: Network, spelled: Callable[[Document], Document] | None = None) -> Task:
    """Return the task with the calibration and training data of a decoder that was changed.

    Args:
        task: The task of its single calls, before.
        network: The changed decoder.
        spelled: Function that writes a document with the tokens that were kept; None where tokens are the same.
    """
    spell = spelled or (lambda document: document)
    calibration = [spell(document) for document in calibration_documents(task)]
    training = task.training
    if isinstance(training, DocumentSplit) and spelled is not None:
        training = DocumentSplit([spell(document) for document in training.documents], training.origin)
    calls = beginnings(calibration, task.calibration.origin, network)  # type: ignore[arg-type]
    return replace(task, calibration=bind_split(calls, network.inputs, "calibration data"), training=training)
