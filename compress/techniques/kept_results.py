"""Results of recipes' steps in the cache, for the next run that needs them: an ONNX model and its reports.

A technique that trains keeps checkpoints in the same directory itself; a finished one is taken over like any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.content_cache import STEPS
from compress.core.digests import content_as_written, line_with_digest
from compress.core.replacing import replaced_whole
from compress.errors import OutputError

if TYPE_CHECKING:
    from compress.network.network import Network
    from compress.recipe import Step
    from compress.techniques.base import Context, Technique

_MODEL, _RECORD = "result.onnx", "result.json"

#: Bytes of a model up to which it is kept: protobuf holds 2 GiB.
_MOST_BYTES = 1_000_000_000


def directory_of(network: Network, steps: Sequence[Step], context: Context) -> Path | None:
    """Return the directory in the cache for the last of some steps; None where there is no cache.

    Its name tells the network that the step gets, the step and the data. What the target decides is in the keys of the
    files there, so that targets share what does not depend on it.

    Args:
        network: The network before the last step.
        steps: Steps of the recipe up to this one.
        context: Data and tools of the step.
    """
    if context.steps is None:
        return None
    task = context.task
    content = {
        "network": network.identity,
        "inputs": [str(spec) for spec in (*network.inputs, *network.outputs)],
        "rearranged": network.rearranged,
        # The identity of a graph is its content; that of an ONNX model is the user's file before any step.
        "before": [] if network.trainable else [_told(step) for step in steps[:-1]],
        "step": _told(steps[-1]),
        "calibration": task.calibration.sha256,
        "training": None if task.training is None else task.training.sha256,
        "metrics": task.metrics_sha256,
        "seed": context.seed,
        "device": context.device,
    }
    return context.steps.directory(STEPS, content)


def kept_result(directory: Path, network: Network, technique: Technique, context: Context) -> Network | None:
    """Return what the technique made of this network before, its reports added to the context's; None without it.

    Args:
        directory: The step's directory in the cache.
        network: The network before the step.
        technique: Technique of the step.
        context: Data and tools of the step.
    """
    model_path, record_path = _paths(directory, technique, context)
    if not record_path.exists():
        return None
    import onnx

    try:
        record = content_as_written(record_path.read_bytes())
        serialized = model_path.read_bytes()
        if record["model"] != hashlib.sha256(serialized).hexdigest():
            raise ValueError("another model")
        result = network.with_onnx(onnx.load_from_string(serialized))
        context.reports.update(record["reports"])
    except (OSError, ValueError, KeyError, TypeError):
        if context.steps is not None:
            context.steps.say(f"a damaged entry of the cache is made again: {directory}")
        return None
    return result


def keep_result(
    directory: Path, before: Network, result: Network, technique: Technique, context: Context
) -> None:
    """Keep what a technique made, where it is an ONNX model and nothing else of the network has changed.

    Args:
        directory: The step's directory in the cache.
        before: The network before the step.
        result: The network after it.
        technique: Technique of the step.
        context: Data and tools of the step, with its reports.
    """
    if result.trainable or result.companions != before.companions:
        return
    model = result.to_onnx()
    if model.ByteSize() > _MOST_BYTES:
        return
    serialized = model.SerializeToString()
    model_path, record_path = _paths(directory, technique, context)
    record = {"model": hashlib.sha256(serialized).hexdigest(), "reports": context.reports}
    try:
        for path, content in ((model_path, serialized), (record_path, line_with_digest(record).encode())):
            with replaced_whole(path) as written:
                written.write_bytes(content)
                written.chmod(0o600)
    except OutputError as error:
        if context.steps is not None:
            context.steps.say(f"the cache cannot be written: {error.found}")


def _paths(directory: Path, technique: Technique, context: Context) -> tuple[Path, Path]:
    """Return the files of a result; their names tell what the target decides of it."""
    decided = hashlib.sha256(repr(technique.result_follows(context)).encode()).hexdigest()[:12]
    return directory / f"{decided}-{_MODEL}", directory / f"{decided}-{_RECORD}"


def _told(step: Step) -> list[Any]:
    return [step.technique, dict(step.settings)]
