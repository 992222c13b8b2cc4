"""Torch-TensorRT: the graph compiled in this process on an NVIDIA GPU, for datacenter GPUs and Jetson Thor.

The artifact is the ONNX graph, as for every back end here, so that it can be looked into, checked and gated without a
GPU. An engine belongs to one GPU, one TensorRT release and one driver: it is built from the graph where it runs, once
for each batch size, and kept as an exported program in the user's cache directory. What Torch-TensorRT leaves in
PyTorch is told by :mod:`compress.backends.torch_tensorrt_partition`.

This is the one back end that imports torch, and only inside of functions. Int8 is TensorRT's own back end's
(``tensorrt``), which reads Q/DQ from ONNX; Torch-TensorRT would need them as operators of NVIDIA's ModelOpt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.backends.base import Artifact, Backend, Session
from compress.backends.feeds import check_feeds
from compress.backends.session_options import SessionOptions
from compress.core.installation import install_command
from compress.core.options import KEY, Option, option
from compress.core.tensor_spec import TensorSpec, take_samples
from compress.errors import NetworkError, RecipeError, UnavailableError

if TYPE_CHECKING:
    import onnx

    from compress.target.target import Target

#: What float operators compute in, chosen operator by operator by Torch-TensorRT's own autocast.
PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True, kw_only=True)
class TorchTensorRtOptions(SessionOptions):
    """Session options of Torch-TensorRT."""

    precision: str = option("Precision that float operators compute in", "fp32", choices=PRECISIONS)
    batch_sizes: Sequence[int] = option(
        "Batch sizes that engines are built for, in samples, each from 1; other batches are run in such parts",
        (1, 8),
        low=1,
        high=65_536,
    )
    shapes: Mapping[str, Sequence[int]] = field(
        default_factory=dict,
        metadata={
            KEY: Option(
                "The one shape of each input with further open axes, by its name; its number of samples counts not",
                low=1,
                high=2**31 - 1,
            )
        },
    )
    arguments: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={KEY: Option("Further keyword arguments of torch_tensorrt.dynamo.compile, by name")},
    )

    def __post_init__(self) -> None:
        sizes = self.batch_sizes
        if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
            raise RecipeError("batch_sizes of 1 or more", repr(sizes), "write batch_sizes = [1, 8]")

    def to_dict(self) -> dict[str, Any]:
        """See :meth:`SessionOptions.to_dict`; with the lists and tables that JSON and TOML have."""
        return {
            **super().to_dict(),
            "batch_sizes": list(self.batch_sizes),
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "arguments": dict(self.arguments),
        }


class TorchTensorRt(Backend):
    """Torch-TensorRT on this machine's GPU."""

    name: ClassVar[str] = "torch-tensorrt"
    runtime: ClassVar[str] = "torch_tensorrt"
    title: ClassVar[str] = "Torch-TensorRT"
    computes: ClassVar[tuple[str, ...]] = PRECISIONS  # it reads no Q/DQ of ONNX; TensorRT's own back end does
    beside_only: ClassVar[bool] = True
    builds_engines: ClassVar[bool] = True
    session_options: ClassVar[type[SessionOptions]] = TorchTensorRtOptions

    def how_to_install(self) -> str:
        """See :meth:`Backend.how_to_install`."""
        return install_command(self.name)

    def not_supported_reasons(self, model: onnx.ModelProto, target: Target) -> tuple[str, ...]:
        """See :meth:`Backend.not_supported_reasons`: it reads no quantized graph."""
        from compress.onnx_graph.quantized import quantized_operator

        operator = quantized_operator(model)
        return (
            ()
            if operator is None
            else (
                f"it reads no Q/DQ of ONNX, and the graph is quantized ({operator}); the back end tensorrt reads them",
            )
        )

    def installed(self) -> bool:
        """See :meth:`Backend.installed`: with a torch that sees a GPU; without one the package cannot even load."""
        if not super().installed():
            return False
        import torch

        return torch.cuda.is_available()

    def compile(self, model: onnx.ModelProto, directory: Path, options: Mapping[str, Any]) -> Artifact:
        """See :meth:`Backend.compile`; the folded graph is written as ``model.onnx``, and its engines are built.

        Raises:
            NetworkError: The graph is quantized, has open axes of unknown size, or an operator that cannot be run.
            UsageError: An argument that the installed ``dynamo.compile`` does not take.
            UnavailableError: There is no Torch-TensorRT or no GPU.
        """
        from compress.backends.onnx_artifact import folded, write_artifact

        settings = TorchTensorRtOptions.read(options)
        check_gpu()
        check_float(model)

        def check(artifact: Artifact) -> None:
            with self.open(artifact) as session:
                for batch in session.batches:
                    session.build(batch)

        return write_artifact(folded(model), directory, self.name, settings.to_dict(), check)

    def open(self, artifact: Artifact) -> TorchTensorRtSession:
        """See :meth:`Backend.open`."""
        check_gpu()
        return TorchTensorRtSession(artifact)

    def default_options(self, target: Target, threads: int | None = None) -> dict[str, Any]:
        """See :meth:`Backend.default_options`: fp32, built for the target's batch sizes, and one size of other axes."""
        shapes = {
            name: list(shape_range.usual)
            for name, shape_range in target.input_shapes.items()
            if shape_range.one_size
        }
        return TorchTensorRtOptions(batch_sizes=target.batch_sizes, shapes=shapes).to_dict()

    def variants(
        self, options: Mapping[str, Any], target: Target, threads: int | None = None
    ) -> list[dict[str, Any]]:
        """See :meth:`Backend.variants`: TensorRT tries its kernels itself."""
        return []

    def coverage(self, artifact: Artifact) -> None:
        """See :meth:`Backend.coverage`: not told; what stays in PyTorch is what ``compress lint`` tells."""
        return


class TorchTensorRtSession(Session):
    """A graph with an engine for each batch size, built or found in the cache when it is first needed.

    Args:
        artifact: Artifact with the graph and its session options.

    Attributes:
        batches: Batch sizes that engines are built for, smallest first; one size where the network has a fixed one.

    Raises:
        BundleError: The file is damaged.
    """

    def __init__(self, artifact: Artifact) -> None:
        from compress.backends.torch_tensorrt_program import read_graph

        self._artifact = artifact
        self._settings = TorchTensorRtOptions.read(artifact.options)
        self._model: onnx.ModelProto | None
        self._model, self.inputs, self.outputs = read_graph(artifact.path)
        self._fixed = fixed(self.inputs, self._settings.shapes)
        dynamic = any(spec.dynamic_batch for spec in self.inputs)
        self.batches = tuple(sorted(set(self._settings.batch_sizes))) if dynamic else (1,)
        self._built: dict[int, Any] = {}

    def build(self, batch: int) -> Any:
        """Return the compiled program for a batch size: a callable of CUDA tensors, in the order of :attr:`inputs`."""
        from compress.backends.torch_tensorrt_program import compiled

        if self._model is None:
            raise RuntimeError("the session is closed")
        if batch not in self._built:
            self._built[batch] = compiled(
                self._model, self._fixed, batch, self._artifact.sha256, self._settings
            )
        return self._built[batch]

    def run(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """See :meth:`Session.run`: host to host, copies included; a batch of another size is run in parts."""
        if self._model is None:
            raise RuntimeError("the session is closed")
        check_feeds(self._fixed, feeds)
        size = next(
            (feeds[spec.name].shape[spec.batch_axis] for spec in self.inputs if spec.dynamic_batch), 1
        )
        batch = next(
            (compiled_batch for compiled_batch in self.batches if compiled_batch >= size), self.batches[-1]
        )
        if size == batch or not any(spec.dynamic_batch for spec in self.inputs):
            return self._answer(feeds, batch)
        return self._in_parts(feeds, size, batch)

    def close(self) -> None:
        """See :meth:`Session.close`."""
        self._model = None
        self._built = {}

    def _in_parts(
        self, feeds: Mapping[str, np.ndarray[Any, Any]], size: int, batch: int
    ) -> list[np.ndarray[Any, Any]]:
        """Run samples in as many full batches as needed; the last sample fills up the last batch."""
        parts = []
        for start in range(0, size, batch):
            rows = np.minimum(np.arange(start, start + batch), size - 1)
            part = {
                spec.name: take_samples(feeds[spec.name], rows, spec.batch_axis)
                if spec.dynamic_batch
                else feeds[spec.name]
                for spec in self.inputs
            }
            parts.append(self._answer(part, batch))
        return [
            take_samples(
                np.concatenate([part[index] for part in parts], spec.batch_axis), slice(size), spec.batch_axis
            )
            if spec.dynamic_batch
            else parts[0][index]
            for index, spec in enumerate(self.outputs)
        ]

    def _answer(self, feeds: Mapping[str, np.ndarray[Any, Any]], batch: int) -> list[np.ndarray[Any, Any]]:
        from compress.backends.torch_tensorrt_program import answers

        return answers(self.build(batch), [feeds[spec.name] for spec in self.inputs])


def check_gpu() -> None:
    """Check that engines can be built and run in this process.

    Raises:
        UnavailableError: torch sees no NVIDIA GPU, or Torch-TensorRT cannot be loaded.
    """
    import torch

    from compress.backends.torch_tensorrt_program import package

    if not torch.cuda.is_available():
        raise UnavailableError(
            "an NVIDIA GPU that torch sees, for the back end 'torch-tensorrt'",
            f"none with torch {torch.__version__}",
            f"run it where the GPU is, with a torch built for CUDA: {install_command('torch-tensorrt')}",
        )
    package()


def check_float(model: onnx.ModelProto) -> None:
    """Check that a graph computes in floats.

    Raises:
        NetworkError: The graph has a quantized operator, which is named.
    """
    from compress.onnx_graph.quantized import quantized_operator

    operator = quantized_operator(model)
    if operator is not None:
        raise NetworkError(
            "a network in floats for Torch-TensorRT, which reads no Q/DQ of ONNX",
            f"a quantized one ({operator})",
            "build it with the back end tensorrt",
        )


def fixed(inputs: Sequence[TensorSpec], shapes: Mapping[str, Sequence[int]]) -> tuple[TensorSpec, ...]:
    """Return the inputs with only the number of samples open; an engine has one size for each other axis.

    Args:
        inputs: Inputs of the graph.
        shapes: Shape of each input, by its name.

    Raises:
        NetworkError: Another axis is open, and its size is unknown.
    """
    samples = []
    for spec in inputs:
        full_shape: Sequence[int | str] = shapes.get(spec.name, spec.shape)
        if len(full_shape) != len(spec.shape):
            full_shape = spec.shape
        sizes = [
            size
            if isinstance(size, int) or (axis == spec.batch_axis and spec.dynamic_batch)
            else full_shape[axis]
            for axis, size in enumerate(spec.shape)
        ]
        sample = TensorSpec(spec.name, spec.dtype, tuple(sizes))
        if any(isinstance(size, str) for size in sample.sample_shape):
            raise NetworkError(
                "inputs of one size but for the number of samples: Torch-TensorRT builds an engine for each",
                str(spec),
                "use the back end tensorrt, or give data of one size",
            )
        samples.append(sample)
    return tuple(samples)
