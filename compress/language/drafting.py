"""A draft beside a decoder, measured: both ways of writing go on with the same texts in turns, and must write the same.

How far ahead the draft writes is chosen on the first texts, and what that brings is measured on the others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from compress.language.generation import Generator, TextDecoder
from compress.statistics.quantiles import quantile_interval

#: Numbers of tokens ahead that are tried, and of texts on which they are.
AHEAD, TUNING = (2, 4, 8), 4

#: Level of the two-sided interval.
_LEVEL = 0.95


def compared(
    decoder: TextDecoder, draft: TextDecoder, prompts: Sequence[Sequence[int]], asked: int
) -> dict[str, Any]:
    """Return how a decoder with a draft compares with the decoder alone, as the fields of a record.

    Args:
        decoder: The decoder.
        draft: The draft, of the same vocabulary.
        prompts: Ids of the tokens of beginnings of texts, more than :data:`TUNING`; each below the decoder's context.
        asked: Largest number of tokens to go on with, 1 or more.

    Returns:
        The fields of :class:`compress.records.draft_speed.DraftSpeed` but those of the draft's file.
    """
    plain = _generator(decoder)
    tuning, proving = prompts[:TUNING], prompts[TUNING:]
    ways = [_generator(decoder, draft, ahead) for ahead in AHEAD]
    for way in (plain, *ways):
        _timed(way, tuning[0], asked)  # the first calls of a session take longer
    seconds = [sum(_timed(way, prompt, asked)[0] for prompt in tuning) for way in ways]
    ahead = AHEAD[seconds.index(min(seconds))]

    drafted = _generator(decoder, draft, ahead)
    ratios, equal, tokens = [], 0, 0
    for number, prompt in enumerate(proving):
        order = (plain, drafted) if number % 2 else (drafted, plain)
        runs = {id(way): _timed(way, prompt, asked) for way in order}
        (alone_s, alone), (beside_s, beside) = runs[id(plain)], runs[id(drafted)]
        ratios.append(math.log(beside_s / alone_s))
        equal += alone == beside
        tokens += len(alone)
    between = quantile_interval(np.array(ratios), 0.5, _LEVEL)
    return {
        "ahead": ahead,
        "texts": len(proving),
        "equal": equal,
        "tokens": tokens,
        "drafted": drafted.drafted,
        "accepted": drafted.accepted,
        "ratio": math.exp(float(np.median(ratios))),
        "ratio_interval": None
        if between is None
        else {"low": math.exp(between.lower), "high": math.exp(between.upper), "level": _LEVEL},
    }


def _generator(decoder: TextDecoder, draft: TextDecoder | None = None, ahead: int = 1) -> Generator:
    return Generator(decoder, cast("Any", None), draft, ahead)  # tokens go in and come out


def _timed(way: Generator, prompt: Sequence[int], asked: int) -> tuple[float, list[int]]:
    """Return the seconds that an answer takes, and its tokens."""
    start = time.perf_counter()
    tokens = list(way.tokens(prompt, max_new_tokens=asked))
    return time.perf_counter() - start, tokens
