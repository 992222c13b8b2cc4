"""Speed of an encoder–decoder: the call that reads an input, and the step of each token of the answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import UsageError
from compress.language.text_to_text import open_text_to_text
from compress.profiling.latency import Budget, summary, timed, timer
from compress.records.profile import Latency


@dataclass(frozen=True)
class TextToTextSpeed:
    """Speed of an encoder–decoder under one set of conditions.

    Attributes:
        source: Number of tokens of the input.
        answer: Number of tokens of the answer before the step that is timed.
        threads: Threads of one operator; 0 for as many as the runtime chooses.
        encoder: Time of the call that reads the input.
        step: Time of one token more.
    """

    source: int
    answer: int
    threads: int
    encoder: Latency
    step: Latency

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return asdict(self)


def measure_text_to_text(
    encoder: Path,
    decoder: Path,
    *,
    source: int = 64,
    answer: int = 16,
    threads: int = 0,
    budget: Budget | None = None,
) -> TextToTextSpeed:
    """Measure an encoder–decoder; tokens are seeded noise, on which no time depends.

    Args:
        encoder: ONNX file of the encoder.
        decoder: ONNX file of the decoder.
        source: Number of tokens of the input, 1 or more.
        answer: Number of tokens of the answer before the step that is timed, 1 or more.
        threads: Threads of one operator, 0 or more; 0 leaves the number to the runtime.
        budget: Time for each figure; None takes the usual one.

    Raises:
        UsageError: A number is out of range.
    """
    for name, number, least in (("source", source, 1), ("answer", answer, 1), ("threads", threads, 0)):
        if number < least:
            raise UsageError(f"{name} of {least} or more", str(number), "give another number")
    run, budget = open_text_to_text(encoder, decoder, threads=threads), budget or Budget()
    random = np.random.default_rng(0)
    ids = random.integers(0, run.vocabulary, (1, source))
    encoded = run.read(ids)
    _, past = run.step(random.integers(0, run.vocabulary, (1, answer)), encoded, run.empty())
    figures = []
    for call in (lambda: run.read(ids), lambda: run.step(ids[:, :1], encoded, past)):
        times, spent = timed(timer(call), budget)
        figures.append(summary(times, 1, spent))
    return TextToTextSpeed(source, answer, threads, *figures)
