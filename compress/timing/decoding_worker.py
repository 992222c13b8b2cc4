"""The process of a decoder of text: what it answers where no calls are asked for, but how it writes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compress.language.generation import CHUNK, open_decoder
from compress.language.speed import times_at
from compress.profiling.bandwidth import measure_bandwidth
from compress.profiling.latency import Budget

#: Bytes of logits, one for each token of the vocabulary at each token of a prompt, beyond which nothing is measured.
MOST_LOGITS = 2 << 30

#: Calls at the least: a prompt may take seconds.
_LEAST_PROMPTS, _LEAST_STEPS = 6, 30


def answer_to(request: Mapping[str, Any], peak_mb: Callable[[], float | None]) -> dict[str, Any]:
    """Return the figures that a request asks for, in the worker; none where there is no memory for a condition.

    Args:
        request: The worker's first request: ``decoding`` holds ``bandwidth``, ``draft``, or ``decoder`` with the
            conditions.
        peak_mb: Function that returns the peak resident memory of this process in MiB; None where it is unknown.
    """
    asked = request["decoding"]
    if "bandwidth" in asked:
        return asdict(measure_bandwidth(**asked["bandwidth"]))
    if "draft" in asked:
        return _against_draft(Path(request["artifact"]["path"]), **asked["draft"])
    condition = asked["decoder"]
    importlib.import_module("onnxruntime")
    idle = peak_mb()
    path = Path(request["artifact"]["path"])
    decoder = open_decoder(path, threads=condition["threads"], spinning=condition["spinning"])
    seconds, batch, context = (condition[name] for name in ("seconds", "batch", "context"))
    at_once = batch * context if batch > 1 else min(context, CHUNK)
    if 4 * decoder.vocabulary * at_once > MOST_LOGITS:
        return {}
    steps, prompts = (
        Budget(seconds=seconds, least=least, warm_up_seconds=min(seconds, 1.0))
        for least in (_LEAST_STEPS, _LEAST_PROMPTS)
    )
    first, step = times_at(decoder, context, batch, steps, prompts)
    peak = peak_mb()
    return {
        "first_token": asdict(first),
        "step": asdict(step),
        "cache_bytes_per_token": decoder.cache_bytes_per_token,
        "peak_mb": None if idle is None or peak is None else peak - idle,
    }


def _against_draft(
    path: Path, draft: str, prompts: Sequence[Sequence[int]], asked: int, threads: int, spinning: bool
) -> dict[str, Any]:
    from compress.language.drafting import compared

    opened = [open_decoder(file, threads=threads, spinning=spinning) for file in (path, Path(draft))]
    return compared(opened[0], opened[1], prompts, asked)
