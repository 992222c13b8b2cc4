"""A sample batch, the shipped build's outputs for it, and the tolerance for another run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.core.tensor_spec import TensorSpec
    from compress.data.task import Task

Array = np.ndarray[Any, Any]

#: Largest difference that is allowed, as a share of the largest value of an output. Other processors add in another
#: order (fp32), GPUs multiply float32 in 10 bits of mantissa unless told otherwise (tf32: TensorRT's developer guide,
#: "TF32 Inference Using CUDA"), and what lies between two steps of int8 may be rounded to the other one.
SHARES: Mapping[str, float] = {"fp32": 1e-3, "tf32": 1e-2, "half": 2e-2, "int8": 5e-2}


@dataclass(frozen=True)
class Value:
    """One input or output of a sample.

    Attributes:
        name: Name in the artifact.
        array: Values of the input or output.
        file: Name of its file inside the bundle, with raw values in C order, little-endian.
        tolerance: Largest allowed difference of each value; None for an input.
    """

    name: str
    array: Array
    file: str
    tolerance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a dict, as the manifest holds it."""
        entry = {
            "name": self.name,
            "dtype": self.array.dtype.name,
            "shape": list(self.array.shape),
            "file": self.file,
        }
        return entry if self.tolerance is None else {**entry, "tolerance": self.tolerance}


@dataclass(frozen=True)
class Sample:
    """A batch and the build's outputs for it.

    Attributes:
        inputs: Values of the network's inputs, in their order.
        outputs: Values of the network's outputs, in their order.
        batch: Number of samples in the batch.
        source: Source of the batch, in words.
        share: Tolerance as a share of each output's largest value.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    batch: int
    source: str
    share: float

    @property
    def numeric(self) -> bool:
        """Whether every value can be written as raw numbers; texts cannot."""
        return all(value.array.dtype.kind in "fiub" for value in (*self.inputs, *self.outputs))

    def to_dict(self) -> dict[str, Any]:
        """Return a dict, as the manifest holds it."""
        return {
            "batch": self.batch,
            "source": self.source,
            "tolerance_share": self.share,
            "inputs": [value.to_dict() for value in self.inputs],
            "outputs": [value.to_dict() for value in self.outputs],
        }

    def files(self) -> dict[str, bytes]:
        """Return the content of every file, by its name inside the bundle."""
        return {
            value.file: value.array.astype(value.array.dtype.newbyteorder("<")).tobytes()
            for value in (*self.inputs, *self.outputs)
        }


def take_sample(session: Session, task: Task | None, share: float, narrow: bool = False) -> Sample:
    """Run the first evaluation sample, or as many as a network of fixed batch takes.

    Args:
        session: Session of the build that is shipped, on the machine where it is measured.
        task: Task whose first samples are taken; None takes seeded noise.
        share: Tolerance as a share of each output's largest value, one of :data:`SHARES`.
        narrow: Whether the deployed runtime has no int64: TensorRT before 10 reads it as int32.
    """
    from compress.profiling.latency import sample_feeds

    feeds = session.taken(sample_feeds(session, task))
    answers = session.run(feeds)
    first = session.inputs[0]
    return Sample(
        inputs=_values("input", session.inputs, [feeds[spec.name] for spec in session.inputs], None, narrow),
        outputs=_values("output", session.outputs, answers, share, narrow),
        batch=feeds[first.name].shape[first.batch_axis] if first.shape else 1,
        source="seeded noise" if task is None else "the first of the evaluation data",
        share=share,
    )


def share_of(artifact: Path, options: Mapping[str, Any], backend: str) -> float:
    """Return the tolerance for a build, by the precision it computes in.

    Args:
        artifact: ONNX file of the build.
        options: Session options of the build.
        backend: Name of the back end that runs it where it is deployed.
    """
    from compress.backends import load_backend
    from compress.backends.openvino_decoder import GRAPH, has_integers

    if artifact.name == GRAPH:
        settings = load_backend(backend).session_options.read(options).to_dict()
        exact = settings["precision"] == "fp32" and settings["cache"] == "float32"
        return SHARES["fp32" if exact and not has_integers(artifact) else "int8"]
    if artifact.suffix != ".onnx":
        # A compiled program does not tell; floats of half precision are the widest of its kind.
        return SHARES["half"]
    import onnx

    from compress.backends.providers import on_nvidia_gpu
    from compress.onnx_graph.quantized import quantized_operator

    model = onnx.load(artifact, load_external_data=False)
    if quantized_operator(model) is not None:
        return SHARES["int8"]
    half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    session = load_backend(backend).session_options.read(options)
    if session.precision == "bf16" or half & {
        initializer.data_type for initializer in model.graph.initializer
    }:
        return SHARES["half"]
    on_gpu = backend == "tensorrt" or on_nvidia_gpu(session.provider)
    return SHARES["tf32" if on_gpu else "fp32"]


def _values(
    kind: str, specs: tuple[TensorSpec, ...], arrays: list[Array], share: float | None, narrow: bool
) -> tuple[Value, ...]:
    values = []
    for index, (spec, array) in enumerate(zip(specs, arrays, strict=True)):
        plain_array = np.asarray(array)
        if narrow and plain_array.dtype == np.int64:
            plain_array = plain_array.astype(np.int32)
        tolerance = None if share is None else share * _largest(plain_array)
        values.append(Value(spec.name, plain_array, f"sample/{kind}-{index}.bin", tolerance))
    return tuple(values)


def _largest(array: Array) -> float:
    """Return the largest finite magnitude of floats; 0 for integers, which must be equal."""
    if array.dtype.kind != "f":
        return 0.0
    magnitudes = np.abs(array[np.isfinite(array)].astype(np.float64))
    return float(magnitudes.max(initial=0.0))
