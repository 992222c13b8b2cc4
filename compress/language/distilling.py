"""Training of a decoder on the user's texts to expect what the user's own model expects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.data.arrays import ArraySplit
from compress.data.split import Batch
from compress.errors import DataError
from compress.language.decoder_network import Parts
from compress.language.module import DecoderModule
from compress.language.spelling import Spelling
from compress.language.trimming import with_spelling
from compress.language.weight_rounding import Rounding
from compress.training.loop import Progress, TrainingReport, train
from compress.training.settings import TrainingOptions

IDS = "input_ids"

#: What stands behind the last token of a window that is shorter than the others.
_NO_TOKEN = -1

#: A rest of a document that is shorter is left out.
_LEAST_TOKENS = 8


@dataclass(frozen=True)
class ExpectationLoss:
    """Divergence of what a student expects at each token from what its teacher does, in nats.

    Attributes:
        temperature: Temperature by which logits are divided before they are compared, > 0.
        label_weight: Weight of the text itself, from 0, the teacher alone, to 1, the text alone.
    """

    temperature: float = 1.0
    label_weight: float = 0.0

    def __call__(self, outputs: Sequence[Tensor], taught: Sequence[Tensor], targets: Tensor | None) -> Tensor:
        """Return the mean over the tokens of a batch.

        Args:
            outputs: Logits of the student, [texts, tokens, vocabulary].
            taught: Logits of the teacher.
            targets: The next token at each, -1 behind the last one, int64 [texts, tokens].
        """
        assert targets is not None
        is_labelled = targets >= 0
        learned, taught_logits = outputs[0][is_labelled], taught[0][is_labelled]
        loss = learned.new_zeros(())
        if self.label_weight < 1:
            logs, theirs = (
                F.log_softmax(logits.float() / self.temperature, -1) for logits in (learned, taught_logits)
            )
            divergence = F.kl_div(logs, theirs, reduction="batchmean", log_target=True)
            loss = loss + (1 - self.label_weight) * self.temperature**2 * divergence
        if self.label_weight > 0:
            loss = loss + self.label_weight * F.cross_entropy(learned.float(), targets[is_labelled])
        return loss


def windows(documents: Sequence[NDArray[np.int64]], tokens: int) -> ArraySplit:
    """Cut documents into windows of one length; the last one of each is filled up.

    Args:
        documents: Ids of the tokens of each document, int64 [tokens].
        tokens: Largest number of tokens of a window whose next one is known.

    Raises:
        DataError: There are no documents.
    """
    tokens = min(tokens, max(map(len, documents), default=2) - 1)
    rows, targets = [], []
    for document in documents:
        for start in range(0, len(document) - 1, tokens):
            part = document[start : start + tokens + 1]
            if len(part) < _LEAST_TOKENS and start:
                continue
            row = np.full(tokens + 1, _NO_TOKEN, np.int64)
            row[: len(part)] = part
            rows.append(row[:-1])
            targets.append(row[1:])
    if not rows:
        raise DataError("texts to train on", "none", "give them (--train-data)")
    return ArraySplit(Batch({IDS: np.stack(rows)}, np.stack(targets)), {"kind": "windows", "tokens": tokens})


def distilled_decoder(
    student: Parts,
    teacher: Parts,
    documents: Sequence[NDArray[np.int64]],
    settings: TrainingOptions,
    loss: ExpectationLoss,
    *,
    window: int,
    rounding: Rounding | None = None,
    seed: int = 0,
    save_to: Path | None = None,
    report: Callable[[Progress], None] | None = None,
    device: torch.device | None = None,
) -> tuple[Parts, TrainingReport]:
    """Train a decoder to expect what another one expects.

    Args:
        student: The decoder; it is not modified.
        teacher: The user's model, whose vocabulary the student's may be a part of.
        documents: Ids of the tokens of each text to train on, in the student's vocabulary, int64 [tokens].
        settings: Settings of the training; a sample is a window.
        loss: Loss between the two.
        window: Largest number of tokens of a text at once.
        rounding: Rounding of the weights while they train; None trains floats.
        seed: Seed of the order of windows.
        save_to: File of a checkpoint, with which a killed training is resumed; None saves none.
        report: Function that is called after every step; None reports nothing.
        device: Device to train on; None for a GPU where there is one, else the CPU.

    Raises:
        DataError: There is too little text.
    """
    learner = DecoderModule(student.config, student.weights)
    learner.rounding = rounding
    taught = _in_vocabulary(teacher, student.spelling)
    master = DecoderModule(taught.config, taught.weights).eval().requires_grad_(False)
    data = windows(documents, min(window, student.config.context, taught.config.context))
    done = train(
        _Tuple(learner),
        _Tuple(master),
        data,
        loss,
        settings,
        inputs=[IDS],
        seed=seed,
        save_to=save_to,
        report=report,
        device=device,
    )
    return student.changed(student.config, learner.arrays(), "trained towards the original"), done


def _in_vocabulary(teacher: Parts, spelling: Spelling | None) -> Parts:
    """Return a teacher that knows the student's tokens alone."""
    if spelling is None or teacher.spelling is not None:
        return teacher
    return with_spelling(teacher, spelling)


class _Tuple(nn.Module):
    """Decoder in the form that the loop takes."""

    def __init__(self, decoder: DecoderModule) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, ids: Tensor) -> tuple[Tensor]:
        """Return the logits of a batch."""
        return (self.decoder(ids),)


def mean_loss(decoder: DecoderModule, batches: Iterable[Tensor]) -> float:
    """Return the mean negative log-likelihood of the next tokens of texts, in nats.

    Args:
        decoder: The decoder.
        batches: Ids of tokens, negative behind the last one of a text, int64 [texts, tokens].
    """
    total, count = 0.0, 0
    with torch.no_grad():
        for ids in batches:
            targets = ids[:, 1:]
            is_judged = targets >= 0
            logits = decoder(ids[:, :-1])
            total += float(F.cross_entropy(logits[is_judged], targets[is_judged], reduction="sum"))
            count += int(is_judged.sum())
    return total / count
