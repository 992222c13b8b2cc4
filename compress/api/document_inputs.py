"""A language model and its data: the model's tokenizer reads the texts, so the model comes first."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.task import load_task
from compress.errors import DataError, UsageError
from compress.language.document_split import DocumentSplit
from compress.language.network import load_decoder
from compress.language.pair_texts import open_pairs
from compress.language.texts import SEQUENCE_LENGTH, open_documents
from compress.metrics.perplexity import AGREEMENT_NAME as TOKENS
from compress.metrics.unlabelled.rows import NAME as AGREEMENT
from compress.network.first_call import Opened
from compress.network.formats.unused_options import refuse_unused
from compress.network.preparation import prepared_faithfully

if TYPE_CHECKING:
    from collections.abc import Callable

    from compress.api.options import InputOptions
    from compress.core.progress import Reporter
    from compress.data.split import Split
    from compress.data.task import Task
    from compress.network.network import Network


def open_decoder(
    model: str | Path,
    options: InputOptions,
    reporter: Reporter,
    *,
    train_data: Any,
    calibration_data: Any,
    calibration_samples: int,
) -> tuple[Network, Task, tuple[str, ...]]:
    """Load a decoder of text, and bind documents to it.

    Args:
        model: A directory, or a GGUF file.
        options: The data, the metric, and how the network is loaded and called.
        reporter: Receives the progress.
        train_data: Texts to train on; None where nothing is trained.
        calibration_data: Texts to calibrate on; None takes them from the training data, or sets them apart.
        calibration_samples: Largest number of documents to calibrate on.

    Returns:
        The network, the task, and facts that speak against the network on these documents, a sentence each.

    Raises:
        NetworkError: The model cannot be used, or has no use for one of the options.
        DataError: The data is no texts.
        UsageError: An option cannot be used.
    """
    document_model = f"{model}, a language model"
    refuse_unused(
        document_model, factory=options.factory, weights=options.weights, batch_axis=options.batch_axis
    )
    for flag, value in (("--state", options.state), ("--classes", options.classes)):
        if value:
            raise UsageError(f"another network, for {flag}", document_model, f"leave {flag} out")
    reporter.stage("loading the network")
    decoder = load_decoder(Path(model))
    length = options.sequence_length or min(SEQUENCE_LENGTH, decoder.context)
    if length > decoder.context:
        raise UsageError(
            f"--sequence-length of at most {decoder.context}, the model's context", str(length), "correct it"
        )
    if options.stride is not None and options.stride >= length:
        stride_text = f"--stride {options.stride}"
        raise UsageError(f"--stride below {length}, the length of a window", stride_text, "correct it")
    reporter.stage("reading the data")
    read: Callable[[Any], Split]
    if decoder.answer_start is not None:
        if options.stride is not None:
            raise UsageError("a decoder, for --stride", f"{model}, an encoder–decoder", "leave --stride out")
        start = decoder.answer_start
        read = partial(open_pairs, tokenizer=decoder.tokenizer, start=start, sequence_length=length)
    else:
        read = partial(
            open_documents, tokenizer=decoder.tokenizer, sequence_length=length, stride=options.stride
        )
    task = load_task(
        read(options.data),
        metric=TOKENS if options.metric == AGREEMENT else options.metric,
        train_data=None if train_data is None else read(train_data),
        calibration_data=None if calibration_data is None else read(calibration_data),
        calibration_samples=calibration_samples,
        image_options=options.image_options,
        seed=options.seed,
    )
    documents = task.evaluation
    if not isinstance(documents, DocumentSplit):
        kind = documents.origin.get("kind", "another kind")
        raise DataError("texts, for a language model", f"data of {kind}", "give texts")
    reporter.stage("reading the documents with the original")
    original = Opened(decoder.network)
    compared = documents.with_likeliest(original)
    bound = compared.in_calls(replace(task, evaluation=compared), original)
    for note in bound.notes:
        reporter.note(note)
    network = prepared_faithfully(decoder.network, bound.calls)
    return network, bound, _doubts(compared, int(network.outputs[0].shape[-1]))


def _doubts(documents: DocumentSplit, vocabulary: int) -> tuple[str, ...]:
    """Return a sentence where the original expects the documents no better than a guess among all tokens would."""
    nll = documents.original_nll
    if nll is None or nll < math.log(vocabulary):
        return ()
    return (
        f"the original has a perplexity of {math.exp(min(nll, 700)):.4g} on the documents, and a guess among its "
        f"{vocabulary} tokens has {vocabulary}: likely causes: a tokenizer of another model, weights that are not "
        "trained, or documents that are no text",
    )
