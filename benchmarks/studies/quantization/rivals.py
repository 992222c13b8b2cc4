"""Rivals of ``benchmarks run quantization``: who quantizes a network, with which settings, at what cost.

Each build is made once, in a process of its own; one that fails is kept with the reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from compress.backends.base import Artifact
from compress.bundle.bundle import load_bundle
from compress.data.task import Task
from compress.errors import CompressError
from compress.onnx_graph.files import sha256_of, size_of
from compress.target.target import Target, load_target

HERE = Path(__file__).resolve().parent
PATIENCE = 900  # seconds for one build

#: U8S8, which is what VNNI's kernels take: 7 bits of weights (``reduce_range``) are for processors without it.
_FAST = {
    "activation_type": "QUInt8",
    "weight_type": "QInt8",
    "per_channel": True,
    "reduce_range": False,
}
_METHODS = {"min-max": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}


@dataclass(frozen=True)
class Case:
    """A network and what all builders get of it.

    Attributes:
        name: Name of the network.
        fp32: The ONNX file that torch exported.
        exported: The same network as ``.pt2``.
        task: Bound to the network.
        evaluation: ``.npz`` file of the task's evaluation data.
        calibration: ``.npz`` file of the calibration data as it is given to ``compress``.
        directory: Directory that builds are written to.
        threads: Number of threads that a session runs with.
        options: Session options that ONNX Runtime runs fp32 fastest with.
    """

    name: str
    fp32: Path
    exported: Path
    task: Task
    evaluation: Path
    calibration: Path
    directory: Path
    threads: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Build:
    """One build, or why there is none.

    Attributes:
        settings: For a person to read.
        path: ONNX file, or OpenVINO's ``.xml``; None where it failed.
        backend: Back end that opens it.
        options: Session options of its own, beside those of the case.
        found: ``seconds`` and MiB of making it, and what else its builder tells.
        error: Why it failed.
    """

    settings: str
    path: Path | None = None
    backend: str = "onnxruntime"
    options: Mapping[str, Any] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    def artifact(self, case: Case) -> Artifact:
        """Return the file as a back end opens it, with the case's threads and, in ONNX Runtime, its options."""
        if self.path is None:
            raise ValueError(f"a build that failed: {self.error}")
        shared = case.options if self.backend == "onnxruntime" else {}
        options = {**shared, "intra_op_threads": case.threads, **self.options}
        files = [self.path, self.path.with_suffix(".bin")] if self.path.suffix == ".xml" else [self.path]
        size = sum(path.stat().st_size for path in files) if len(files) > 1 else size_of(self.path)
        return Artifact(self.path, sha256_of(self.path), size, self.backend, options)


def defaults(case: Case) -> list[Build]:
    """``quantize_static`` as it comes: S8S8, per tensor, min-max, every operator it knows."""
    return [_static(case, "defaults", {}, prepared=False)]


def by_hand(case: Case) -> list[Build]:
    """Return the settings that somebody who knows ONNX Runtime well would try on a processor with VNNI."""
    operators = {node.op_type for node in onnx.load(case.fp32, load_external_data=False).graph.node}
    weighted = sorted(operators & {"Conv", "Gemm", "MatMul"})
    products = sorted(operators & {"Gemm", "MatMul"})
    tried = [
        _static(case, f"U8S8, {told}", {**_FAST, "calibrate_method": method})
        for told, method in _METHODS.items()
    ]
    only = {**_FAST, "op_types_to_quantize": weighted, "extra_options": {"MatMulConstBOnly": True}}
    tried.append(_static(case, f"U8S8, only {'/'.join(weighted)}", only))
    if "MatMul" in products:
        open_ended = {"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": products}
        settings = {**_FAST, "op_types_to_quantize": products, "extra_options": open_ended}
        tried.append(_static(case, f"U8S8, only {'/'.join(products)}, outputs float", settings))
    if operators & {"MatMul", "LSTM", "GRU"}:
        out = case.directory / "dynamic.onnx"
        request = {"builder": "dynamic", "model": str(case.fp32), "out": str(out)}
        settings = {"per_channel": True, "weight_type": "QInt8"}
        tried.append(_built("dynamic", out, _ours(), {**request, "settings": settings}))
    return tried


def nncf(
    case: Case,
    python: Path | None,
    *,
    transformer: bool,
    validation: Path | None = None,
    max_drop: float = 1.0,
) -> list[Build]:
    """NNCF's defaults in OpenVINO, with what stays float in fp32 and, where the processor has it, in bf16.

    With ``validation``, an .npz file of samples with labels, its accuracy control may lose ``max_drop`` points on them.
    """
    if python is None:
        return [Build("defaults", backend="openvino", error="no --nncf-python was given")]
    out = case.directory / ("nncf.xml" if validation is None else "nncf-accuracy-control.xml")
    request: dict[str, Any] = {
        "model": str(case.fp32),
        "out": str(out),
        "calibration": str(_samples(case)),
    }
    if validation is not None:
        request |= {"validation": str(validation), "max_drop": max_drop}
    command = [str(python), str(HERE / "nncf_openvino.py")]
    made = _built("defaults", out, command, {**request, "transformer": transformer})
    settings = "transformer" if transformer else "defaults"
    settings += "" if validation is None else ", accuracy control"
    made = replace(made, backend="openvino", settings=settings)
    if made.error is not None:
        return [made]
    precisions = ["fp32", "bf16"] if "bf16" in _openvino_target().precisions else ["fp32"]
    return [
        replace(made, settings=f"{made.settings}, {precision}", options={"precision": precision})
        for precision in precisions
    ]


def ours(case: Case, *, max_drop: float, seconds: float, objective: str) -> list[Build]:
    """``compress.optimize`` with a number of threads, an objective and nothing else said."""
    out = case.directory / f"ours-{case.threads}"
    data = {"evaluation": str(case.evaluation), "calibration": str(case.calibration)}
    request = {"builder": "optimize", "model": str(case.exported), "out": str(out), **data}
    limits = {"threads": case.threads, "max_drop": max_drop, "seconds": seconds, "objective": objective}
    made = _built("optimize", out, _ours(), {**request, **limits})
    if made.error is not None:
        return [made]
    try:
        bundle = load_bundle(out)
    except CompressError as error:
        return [replace(made, path=None, error=f"{made.found.get('reason', '')} ({error})")]
    request = {"builder": "step", "model": str(case.exported), "bundle": str(out), **data}
    alone = _built("step", out, _ours(), request)
    return [
        Build(
            bundle.recipe.name,
            bundle.artifact.path,
            bundle.artifact.backend,
            bundle.artifact.options,
            {**made.found, "step": dict(alone.found), "step_error": alone.error},
        )
    ]


def _static(case: Case, told: str, settings: Mapping[str, Any], *, prepared: bool = True) -> Build:
    name = "".join(letter if letter.isalnum() else "-" for letter in told)
    out = case.directory / f"static-{name}.onnx"
    request = {"builder": "static", "model": str(case.fp32), "out": str(out), "prepared": prepared}
    request |= {"calibration": str(_samples(case)), "settings": settings}
    return _built(told, out, _ours(), request)


def _ours() -> list[str]:
    return [sys.executable, "-m", "benchmarks.studies.quantization.builders"]


def _samples(case: Case) -> Path:
    """The samples that ``compress`` calibrates on, as the network takes them, for the others."""
    path = case.directory / "samples.npz"
    if not path.exists():
        calibration = case.task.calibration
        inputs: dict[str, Any] = next(calibration.batches(len(calibration))).inputs
        np.savez(path, **inputs)
    return path


def _built(told: str, out: Path, command: Sequence[str], request: Mapping[str, Any]) -> Build:
    """Run a builder; a failure is told by the last line that it wrote."""
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
            cwd=HERE.parent,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return Build(told, error=f"not done after {PATIENCE} s")
    except OSError as error:
        return Build(told, error=f"{command[0]}: {error.strerror}")
    answer = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode or not answer.startswith("{"):
        said = [line for line in _lines(done.stderr) if not line.startswith("[")]
        return Build(told, error=(said or [f"exit code {done.returncode}"])[-1][:300])
    return Build(told, out, found=json.loads(answer))


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in text.splitlines() if line.strip())


def _openvino_target() -> Target:
    return load_target("cpu").for_backend("openvino")
