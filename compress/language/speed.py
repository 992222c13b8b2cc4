"""Speed of a decoder: the first token of an answer, the tokens after it, and the memory that they take.

Every figure is measured on its own conditions: tokens in the cache, texts at once, threads. Calls are warmed up and
repeated as in :mod:`compress.profiling.latency`; :func:`compress.profiling.noise.doubts` says what speaks against one.
Tokens are seeded noise: the time of a step does not depend on which they are. To take a text apart is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.errors import UsageError
from compress.language.generation import Decoder, likeliest, open_decoder, read_prompt
from compress.language.traffic import weight_bytes
from compress.profiling.latency import Budget, summary, timed, timer
from compress.records.decoder_speed import DecoderSpeed as DecoderSpeed
from compress.records.latency import Latency

#: Time for each figure: steps are short, prompts may take seconds.
STEPS = Budget()
PROMPTS = Budget(least=6, most=100)


def measure_speed(
    path: Path,
    *,
    contexts: Sequence[int] = (128,),
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (0,),
    spinning: bool = True,
    steps: Budget = STEPS,
    prompts: Budget = PROMPTS,
) -> Iterator[DecoderSpeed]:
    """Measure a decoder under each combination of conditions; yield each as it is measured.

    Args:
        path: ONNX file of the decoder.
        contexts: Numbers of tokens of the prompt, each 1 or more and below the decoder's context.
        batches: Numbers of texts that are computed together, each 1 or more.
        threads: Threads of one operator, each 0 or more; 0 leaves the number to the runtime.
        spinning: Whether threads spin while they wait.
        steps: Time for the tokens of an answer.
        prompts: Time for the first token of an answer.

    Raises:
        UsageError: A number is out of range.
    """
    for name, numbers, least in (("context", contexts, 1), ("batch", batches, 1), ("threads", threads, 0)):
        if any(number < least for number in numbers):
            raise UsageError(f"{name} of {least} or more", str(min(numbers)), "give another number")
    weights = weight_bytes(path)
    for count in threads:
        decoder = open_decoder(path, threads=count, spinning=spinning)
        if max(contexts, default=1) >= decoder.context:
            raise UsageError(
                f"prompts of fewer tokens than the decoder's context, {decoder.context}",
                str(max(contexts)),
                "give a shorter one",
            )
        for batch in batches:
            for context in contexts:
                first, step = times_at(decoder, context, batch, steps, prompts)
                cached = decoder.cache_bytes_per_token
                read = weights + batch * context * cached
                yield DecoderSpeed(context, batch, count, first, step, cached, read)


def times_at(
    decoder: Decoder, context: int, batch: int, steps: Budget = STEPS, prompts: Budget = PROMPTS
) -> tuple[Latency, Latency]:
    """Return the times of the first token of an answer and of each token after it, of all texts together.

    Args:
        decoder: The opened decoder.
        context: Number of tokens of the prompt, 1 or more and below the decoder's context.
        batch: Number of texts that are computed together, 1 or more.
        steps: Time for the tokens of an answer.
        prompts: Time for the first token of an answer.
    """
    ids = np.random.default_rng(0).integers(0, decoder.vocabulary, (batch, context))
    cache = decoder.begin(context + 1, batch)

    def first() -> NDArray[np.int64]:
        cache.length = 0
        return read_prompt(cache, ids)

    def step() -> NDArray[np.int64]:
        cache.length = context  # the same place each time, so that all calls have one condition
        return likeliest(cache.step(ids[:, -1:]))

    times, spent = timed(timer(first), prompts)
    first_token = summary(times, batch, spent)
    times, spent = timed(timer(step), steps)
    return first_token, summary(times, batch, spent)
