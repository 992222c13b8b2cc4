"""Speed of a decoder of text under several conditions, each in a process of its own, beside the memory's own rate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.backends import session_options_of
from compress.core.progress import Reporter
from compress.language.traffic import weight_bytes
from compress.records.decoder_speed import Bandwidth, DecoderSpeed
from compress.records.draft_speed import DraftSpeed
from compress.records.latency import latency_of
from compress.timing.decoding_worker import MOST_LOGITS
from compress.timing.processes import Worker

if TYPE_CHECKING:
    from compress.backends.base import Artifact

#: Tokens of prompts, and numbers of texts, where none are given.
CONTEXTS, BATCHES = (16, 128, 512), (1, 4)


def decoding_speeds(
    artifact: Artifact,
    longest: int,
    *,
    contexts: Sequence[int] = (),
    batches: Sequence[int] = (),
    cores: int,
    seconds: float,
    reporter: Reporter,
) -> tuple[DecoderSpeed, ...]:
    """Measure a decoder under each combination of conditions that has room.

    Args:
        artifact: The build, for ONNX Runtime on a processor.
        longest: Largest number of tokens of prompt and answer together, 2 or more.
        contexts: Numbers of tokens of the prompt, each 1 or more and below the decoder's context; empty takes some.
        batches: Numbers of texts that are computed together, each 1 or more; empty takes some.
        cores: Number of the processor's cores, which read memory where the runtime chooses the threads.
        seconds: Time for each figure, in seconds; also the longest warm-up.
        reporter: Receives the progress, and a note on what was left out.

    Raises:
        NetworkError: The build cannot be opened or run, or its process crashed.
    """
    options, weights = session_options_of(artifact), weight_bytes(artifact.path)
    threads, spinning = options.intra_op_threads or 0, options.spinning is not False
    reporter.step("reading memory")
    asked = {"threads": threads or cores, "seconds": min(seconds, 0.5)}
    bandwidth = Bandwidth.from_dict(_asked(artifact, {"bandwidth": asked}))
    speeds = []
    lengths = contexts or [length for length in CONTEXTS if length < longest] or [longest // 2]
    for batch, context in product(batches or BATCHES, lengths):
        reporter.step(f"writing behind {context} tokens, {batch} at once")
        condition = {"context": context, "batch": batch, "threads": threads, "spinning": spinning}
        figures = _asked(artifact, {"decoder": {**condition, "seconds": seconds}})
        if not figures:
            reporter.note(
                f"not measured: prompts of {batch} × {context} tokens, whose logits take more than "
                f"{MOST_LOGITS >> 30} GiB"
            )
            continue
        first, step = (replace(latency_of(figures[name]), starts=1) for name in ("first_token", "step"))
        cached = figures["cache_bytes_per_token"]
        read = weights + batch * context * cached
        speeds.append(
            DecoderSpeed(context, batch, threads, first, step, cached, read, figures["peak_mb"], bandwidth)
        )
    return tuple(speeds)


def draft_speed(artifact: Artifact, draft: Path, prompts: Sequence[Sequence[int]], asked: int) -> DraftSpeed:
    """Measure a decoder with a draft against the decoder alone, in turns, in one process of their own.

    Args:
        artifact: The decoder, for ONNX Runtime on a processor.
        draft: ONNX file of the draft.
        prompts: Ids of the tokens of beginnings of texts, more than :data:`compress.language.drafting.TUNING`.
        asked: Largest number of tokens to go on with.

    Raises:
        NetworkError: One of the two cannot be opened or run, or the process crashed.
    """
    options = session_options_of(artifact)
    request = {
        "draft": str(draft.absolute()),
        "prompts": [list(prompt) for prompt in prompts],
        "asked": asked,
        "threads": options.intra_op_threads or 0,
        "spinning": options.spinning is not False,
    }
    content = draft.read_bytes()
    return DraftSpeed.from_dict(
        {
            **_asked(artifact, {"draft": request}),
            "draft_sha256": hashlib.sha256(content).hexdigest(),
            "draft_bytes": len(content),
        }
    )


def _asked(artifact: Artifact, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a worker of its own answers to a request."""
    with Worker(artifact, {}, {"decoding": request}) as worker:
        return worker.answer()
