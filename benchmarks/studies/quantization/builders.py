"""One build in a process of its own, so that its seconds and its peak of memory are its own.

    python -m benchmarks.studies.quantization.builders < request.json

Run by :mod:`benchmarks.studies.quantization.rivals`. The request names one of the functions below and its arguments;
the answer, one line of JSON, has what that function found, ``seconds``, ``peak_mib`` (the process's largest resident
memory) and ``above_mib`` (what of it came after the imports).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.calibration_memory import status

#: Samples that rivals calibrate on at once.
BATCH = 32

Found = dict[str, Any]


def main() -> None:
    request = json.load(sys.stdin)
    builders: dict[str, Callable[..., Found]] = {
        "static": static,
        "dynamic": dynamic,
        "optimize": optimized,
        "step": step,
    }
    build = builders[request.pop("builder")]
    with redirect_stdout(sys.stderr):  # what libraries print is not the answer
        found = build(**request)
    print(json.dumps(found))


def static(model: str, out: str, calibration: str, prepared: bool, settings: Mapping[str, Any]) -> Found:
    """``onnxruntime.quantization.quantize_static``.

    Args:
        model: ONNX file.
        out: ONNX file to write.
        calibration: ``.npz`` with one array ``(n, …)`` for each input.
        prepared: Run ``quant_pre_process`` first.
        settings: Keyword arguments, with types and methods by name.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static

    kinds = {
        "activation_type": QuantType,
        "weight_type": QuantType,
        "calibrate_method": CalibrationMethod,
    }
    chosen = _named(settings, kinds)
    with tempfile.TemporaryDirectory() as directory, _measured() as found:
        source = _prepared(model, Path(directory)) if prepared else model
        quantize_static(source, out, _Reader(calibration), **chosen)
    return found


def dynamic(model: str, out: str, settings: Mapping[str, Any]) -> Found:
    """``onnxruntime.quantization.quantize_dynamic``, which computes the activations' ranges in every call."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    chosen = _named(settings, {"weight_type": QuantType})
    with tempfile.TemporaryDirectory() as directory, _measured() as found:
        quantize_dynamic(_prepared(model, Path(directory)), out, **chosen)
    return found


def optimized(
    model: str,
    out: str,
    evaluation: str,
    calibration: str,
    threads: int,
    max_drop: float,
    seconds: float,
    objective: str,
) -> Found:
    """``compress.optimize`` with what its command takes by itself; the bundle is at ``out``."""
    from compress import optimize

    with _measured() as found:
        result = optimize(
            model,
            data=evaluation,
            calibration_data=calibration,
            out=out,
            threads=threads,
            max_drop=max_drop,
            seconds=seconds,
            objective=objective,
        )
    tried = {
        entry.recipe.name: {"why": result.choice.verdicts[entry.recipe.name], "seconds": entry.seconds}
        for entry in result.candidates
    }
    return {**found, "tried": tried, "reason": result.choice.reason}


def step(model: str, bundle: str, evaluation: str, calibration: str) -> Found:
    """The techniques of a bundle's recipe, without search and measurements: what the rivals do; nothing for fp32."""
    from compress.bundle.bundle import load_bundle
    from compress.data.task import load_task
    from compress.network.network import load_network
    from compress.target.target import load_target
    from compress.techniques import apply_recipe
    from compress.techniques.base import Context

    task = load_task(evaluation, calibration_data=calibration)
    network = load_network(model, example=task.example())
    task = task.bind(network.inputs, network.outputs)
    shipped = load_bundle(bundle)
    if not shipped.recipe.steps:
        return {}
    target = load_target("cpu").for_backend(shipped.artifact.backend)
    with _measured() as found:
        apply_recipe(shipped.recipe, network, Context(task, target)).to_onnx()
    return found


def _named(settings: Mapping[str, Any], kinds: Mapping[str, Any]) -> Found:
    """The settings with members of enumerations in place of their names."""
    return {key: kinds[key][value] if key in kinds else value for key, value in settings.items()}


@contextmanager
def _measured() -> Iterator[Found]:
    """Seconds and MiB of what is done inside."""
    found: Found = {}
    before, started = status("VmRSS"), time.perf_counter()
    yield found
    seconds, peak = time.perf_counter() - started, status("VmHWM")
    found.update(seconds=seconds, peak_mib=peak, above_mib=max(0.0, peak - before))


def _prepared(model: str, directory: Path) -> str:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = directory / "prepared.onnx"
    quant_pre_process(model, path)
    return str(path)


class _Reader:
    """Calibration samples as ONNX Runtime's calibrators read them; histograms fail where the last batch is smaller."""

    def __init__(self, path: str) -> None:
        with np.load(path) as arrays:
            self._arrays: dict[str, NDArray[Any]] = {name: arrays[name] for name in arrays.files}
        count = len(next(iter(self._arrays.values())))
        self._starts = iter(range(0, count - BATCH + 1, BATCH))

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        start = next(self._starts, None)
        if start is None:
            return None
        return {name: array[start : start + BATCH] for name, array in self._arrays.items()}


if __name__ == "__main__":
    main()
