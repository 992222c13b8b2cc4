"""TensorRT through ``trtexec``: the command that builds an engine where it will run.

Engines belong to one GPU, one TensorRT release and one driver, so none is built anywhere but on the board. Options per
release: ``trtexec --help`` of TensorRT 8.5, 8.6, 10.3, 10.16 and 11.1, and the source of 8.2's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from compress.core.plain_text import one_line, shell_word
from compress.errors import UsageError
from compress.target.shape_ranges import ShapeRange, shape_text

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec
    from compress.target.target import Target

#: Where JetPack and NVIDIA's containers put the tool.
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
#: Directory of the bundle that is a model for Triton Inference Server.
TRITON = "triton"


def build_arguments(
    target: Target,
    inputs: Sequence[TensorSpec],
    precision: str,
    model: str = "model.onnx",
    *,
    timing_cache: str = "timing.cache",
    workspace_mb: int | None = None,
    dla_core: int | None = None,
    sparse: bool = False,
) -> list[str]:
    """Return the options of ``trtexec`` that build ``model.engine`` from the bundle's graph.

    Args:
        target: Target, whose TensorRT release decides which options exist; no release counts as 10.x.
        inputs: Inputs of the graph; those with open axes get an optimization profile, see :func:`optimization_profile`.
        precision: Precision of the graph: "fp32", "fp16" or "int8". The builder needs to be told where the network is
            not strongly typed: in releases before 10, and on a DLA in 10.x.
        model: Name of the ONNX file.
        timing_cache: File of measured kernels, which makes the next build faster.
        workspace_mb: Memory that kernels may use, in MiB; None for all memory.
        dla_core: Number of the DLA core to build for; layers that it cannot run fall back to the GPU. None for the GPU.
        sparse: Whether to try kernels for 2:4 weights too; each is taken only where the builder times it as faster.

    Raises:
        UsageError: See :func:`optimization_profile`.
    """
    release = release_of(target.tensorrt)
    arguments = [
        f"--onnx={model}",
        "--saveEngine=model.engine",
        f"--timingCacheFile={timing_cache}",
        "--profilingVerbosity=detailed",
        "--exportLayerInfo=layers.json",
    ]
    # In 10.x a strongly typed network on a DLA is an API error.
    if release >= (11,) or (release >= (10,) and dla_core is None):
        arguments.append("--stronglyTyped")
    else:
        arguments += {"fp32": [], "fp16": ["--fp16"], "int8": ["--int8", "--fp16"]}[precision]
    arguments.append("--skipInference" if release >= (8, 6) else "--buildOnly")
    if sparse:
        arguments.append("--sparsity=enable")
    if workspace_mb is not None:
        arguments.append(
            f"--memPoolSize=workspace:{workspace_mb}" if release >= (8, 4) else f"--workspace={workspace_mb}"
        )
    if dla_core is not None:
        arguments += [f"--useDLACore={dla_core}", "--allowGPUFallback"]
    profile = optimization_profile(inputs, target, dla=dla_core is not None)
    if profile:
        for option, shapes in (
            ("minShapes", {name: shape_range.smallest for name, shape_range in profile.items()}),
            ("optShapes", {name: shape_range.usual for name, shape_range in profile.items()}),
            ("maxShapes", {name: shape_range.largest for name, shape_range in profile.items()}),
        ):
            arguments.append(f"--{option}={shapes_text(shapes)}")
    return arguments


class WantedShapes(Protocol):
    """Whoever names the shapes of calls, such as a target."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Numbers of samples in a call."""

    @property
    def input_shapes(self) -> Mapping[str, ShapeRange]:
        """Shapes of inputs with open axes, by name."""


def optimization_profile(
    inputs: Sequence[TensorSpec], target: WantedShapes, *, dla: bool = False
) -> dict[str, ShapeRange]:
    """Return the range of shapes that an engine takes, for each input with an open axis.

    Args:
        inputs: Inputs of the graph.
        target: Target, with the smallest batch size, at which the engine is fastest, and the largest one; its
            ``input_shapes`` hold the sizes of other open axes.
        dla: Whether the engine is for a deep learning accelerator, which takes one shape: that of the first batch size.

    Raises:
        UsageError: The sizes of an open axis are unknown, or several sizes are asked of the accelerator.
    """
    batches = target.batch_sizes[:1] if dla else target.batch_sizes
    profile = {}
    for spec in inputs:
        if not has_open_axis(spec):
            continue
        shape_range = target.input_shapes.get(spec.name)
        if shape_range is None or not shape_range.fits(spec):
            shape_range = _of_batches_alone(spec)
        if dla and not shape_range.one_size:
            raise UsageError(
                f"one shape of '{spec.name}' for an engine of the DLA",
                str(shape_range),
                f"give data of one size, or name it: --shape {spec.name}={shape_text(shape_range.usual)}",
            )
        counts = [*batches]
        if shape_range.samples is not None and not dla:
            counts += [
                shape[shape_range.samples]
                for shape in (shape_range.smallest, shape_range.largest)
                if shape[shape_range.samples]
            ]
        profile[spec.name] = shape_range.with_batches(min(counts), min(batches), max(counts))
    return profile


def _of_batches_alone(spec: TensorSpec) -> ShapeRange:
    """Return the shapes of an input whose only open axis counts samples; 0 stands for that axis."""
    samples = spec.batch_axis if spec.dynamic_batch else None
    shape = [0 if axis == samples else size for axis, size in enumerate(spec.shape)]
    opened = [f"{axis} ({size})" for axis, size in enumerate(shape) if isinstance(size, str)]
    if opened:
        form = shape_text(1 if axis == samples else size for axis, size in enumerate(spec.shape))
        raise UsageError(
            f"the size of axis {', '.join(opened)} of input '{spec.name}', to build an engine",
            "an open axis and no data",
            f"give data (--data), or the sizes: --shape {spec.name}={form}",
        )
    sizes = tuple(int(size) for size in shape)
    return ShapeRange(sizes, sizes, sizes, samples)


def has_open_axis(spec: TensorSpec) -> bool:
    """Whether any axis of an input is open, that of the samples included."""
    return any(isinstance(size, str) for size in spec.shape)


def shapes_text(shapes: Mapping[str, Sequence[int]]) -> str:
    """Return the value of options such as ``--shapes``: ``x:1x3x8x8,mask:1x8``."""
    return ",".join(f"{name}:{shape_text(shape)}" for name, shape in shapes.items())


def release_of(tensorrt: str | None) -> tuple[int, ...]:
    """Return the major and minor number of a release; None counts as 10."""
    return tuple(int(part) for part in (tensorrt or "10").split(".")[:2])


def build_script(
    target: Target,
    inputs: Sequence[TensorSpec],
    precision: str,
    *,
    dla_core: int | None = None,
    sparse: bool = False,
) -> str:
    """Return a POSIX shell script that builds the engine on the board, next to itself; see :func:`build_arguments`."""
    arguments = " \\\n    ".join(
        shell_word(argument)
        for argument in build_arguments(target, inputs, precision, dla_core=dla_core, sparse=sparse)
    )
    return (
        "#!/bin/sh\n"
        f"# Builds model.engine for {one_line(target.name)}: run it on that very board, an engine runs nowhere else.\n"
        "set -eu\n"
        'cd "$(dirname "$0")"\n'
        f'trtexec="${{TRTEXEC:-{TRTEXEC}}}"\n'
        '[ -x "$trtexec" ] || trtexec=trtexec\n'
        f'"$trtexec" \\\n    {arguments}\n'
        f"if [ -d {TRITON} ]; then mkdir -p {TRITON}/1 && cp model.engine {TRITON}/1/model.plan; fi\n"
    )
