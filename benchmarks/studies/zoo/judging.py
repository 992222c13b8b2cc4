"""Builds held against the file that they were made of, on samples that compress has not seen."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[np.generic]

#: One sample in, all outputs out.
Run = Callable[[Mapping[str, Array]], Sequence[Array]]

_SECONDS, _LEAST = 3.0, 10


def original(path: Path, factory: str | None) -> Run:
    """The user's own file, run as it is with all optimizations off; a state dict by torch, in its own module."""
    if factory is None and path.suffix == ".onnx":
        return of_onnx(path, optimized=False)
    return _of_torch(path, factory)


def of_onnx(path: Path, *, optimized: bool = True) -> Run:
    """An ONNX file in ONNX Runtime with one thread."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(sample: Mapping[str, Array]) -> Sequence[Array]:
        given = sample if set(names) <= set(sample) else dict(zip(names, sample.values(), strict=True))
        found: list[Array] = session.run(None, {name: given[name] for name in names})
        return found

    return run


def of_bundle(path: Path) -> Run:
    """A bundle, as whoever deploys it opens it."""
    from compress import load_bundle

    bundle = load_bundle(path)
    names = [spec.name for spec in bundle.inputs]

    def run(sample: Mapping[str, Array]) -> Sequence[Array]:
        given = sample if set(names) <= set(sample) else dict(zip(names, sample.values(), strict=True))
        return bundle.run({name: given[name] for name in names})

    return run


def differences(
    wanted: Sequence[Sequence[Array]], found: Sequence[Sequence[Array]], classes: int | None
) -> dict[str, Any]:
    """Return the distance of outputs from those wanted, over all samples.

    Args:
        wanted: All outputs of each sample.
        found: The same of a build.
        classes: The axis of the first output along which the largest is the answer; None where there is none.

    Returns:
        ``decibels`` of the signal over the error of each output (None: without any error), ``largest`` error as a
        share of the output's largest value, and ``agreement`` of the answers as a share, None without classes.

    Raises:
        ValueError: Numbers or shapes of outputs are others.
    """
    decibels: list[float | None] = []
    largest = 0.0
    for outputs in zip(zip(*wanted, strict=True), zip(*found, strict=True), strict=True):
        ours, theirs = outputs[1], outputs[0]
        shapes = [each.shape for each in theirs], [each.shape for each in ours]
        if shapes[0] != shapes[1]:
            raise ValueError(f"outputs {shapes[1][0]} where the original gives {shapes[0][0]}")
        one, other = (
            np.concatenate([np.ravel(each) for each in side]).astype(np.float64) for side in outputs
        )
        if not np.array_equal(np.isfinite(one), np.isfinite(other)):
            raise ValueError("numbers that are finite in one of the two alone")
        known = np.isfinite(one)
        error = one[known] - other[known]
        power = float((error**2).sum())
        signal = float((one[known] ** 2).sum())
        decibels.append(None if power == 0 else float(10 * np.log10(max(signal, 1e-30) / power)))
        if error.size:
            largest = max(largest, float(np.abs(error).max()) / max(float(np.abs(one[known]).max()), 1e-30))
    agreement = None
    if classes is not None:
        pairs = [
            (np.argmax(a[0], classes), np.argmax(b[0], classes)) for a, b in zip(wanted, found, strict=True)
        ]
        agreement = float(np.mean([np.mean(one == other) for one, other in pairs]))
    return {"decibels": decibels, "largest": largest, "agreement": agreement}


def time_ratio(build: Run, other: Run, samples: Sequence[Mapping[str, Array]]) -> tuple[float, float]:
    """Time of a build over that of another, call by call in turns, and milliseconds a call of the other; medians."""
    times: tuple[list[float], list[float]] = [], []
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end or len(times[0]) < _LEAST:
        sample = samples[len(times[0]) % len(samples)]
        for run, taken in zip((build, other), times, strict=True):
            begun = time.perf_counter()
            run(sample)
            taken.append(time.perf_counter() - begun)
    ours, theirs = (statistics.median(taken[len(taken) // 10 :]) for taken in times)  # without warming up
    return ours / theirs, 1000 * theirs


def _of_torch(path: Path, factory: str | None) -> Run:
    import torch

    torch.set_num_threads(1)
    module: Any
    if factory is None:
        module = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    else:
        place, _, name = factory.partition(":")
        module = getattr(importlib.import_module(place), name)()
        kept = torch.load(path, map_location="cpu", weights_only=True)
        kept = kept.get("model_state", kept)
        module.load_state_dict({key: kept[key] for key in module.state_dict() if key in kept}, strict=False)
    module.eval()

    def run(sample: Mapping[str, Array]) -> Sequence[Array]:
        with torch.no_grad():
            found = module(*(torch.from_numpy(np.ascontiguousarray(each)) for each in sample.values()))
        return [each.numpy() for each in (found if isinstance(found, tuple | list) else (found,))]

    return run
