"""TensorRT through ``trtexec``: the command that builds an engine where it will run.

Engines belong to one GPU, one TensorRT release and one driver, so none is built anywhere but on the board. Options per
release: ``trtexec --help`` of TensorRT 8.5, 8.6, 10.3, 10.16 and 11.1.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.target import Target
    from compress.tensors import TensorSpec

#: Where JetPack and NVIDIA's containers put the tool.
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"


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
    """Options of ``trtexec`` that build ``model.engine`` from the bundle's graph.

    Args:
        target: Its TensorRT release decides which options exist; ``None`` is read as 10.x.
        inputs: Those of dynamic batch get an optimization profile from batch 1 to the target's second size.
        precision: "fp32", "fp16" or "int8": what the graph holds. Releases before 10 are not strongly typed and
            need to be told.
        model: The ONNX file.
        timing_cache: Where measured kernels are kept, so that the next build is faster.
        workspace_mb: Memory that kernels may take while they are tried and run, MiB; None for all there is.
        dla_core: Deep learning accelerator to build for; what it cannot run falls back to the GPU.
        sparse: Try kernels for 2:4 weights too; each is taken only where the builder times it as faster.
    """
    release = release_of(target.tensorrt)
    arguments = [
        f"--onnx={model}",
        "--saveEngine=model.engine",
        f"--timingCacheFile={timing_cache}",
        "--profilingVerbosity=detailed",
        "--exportLayerInfo=layers.json",
    ]
    if release >= (10,):
        arguments.append("--stronglyTyped")
    else:
        arguments += {"fp32": [], "fp16": ["--fp16"], "int8": ["--int8", "--fp16"]}[precision]
    arguments.append("--skipInference" if release >= (8, 6) else "--buildOnly")
    if sparse:
        arguments.append("--sparsity=enable")
    if workspace_mb is not None:
        arguments.append(f"--memPoolSize=workspace:{workspace_mb}")
    if dla_core is not None:
        arguments += [f"--useDLACore={dla_core}", "--allowGPUFallback"]
    if any(spec.dynamic_batch for spec in inputs):
        first, second = target.batch_sizes[0], target.batch_sizes[-1]
        for option, batch in (("minShapes", first), ("optShapes", first), ("maxShapes", second)):
            arguments.append(f"--{option}={shapes(inputs, batch)}")
    return arguments


def shapes(inputs: Sequence[TensorSpec], batch: int) -> str:
    """The value of ``--shapes`` and its like: every input of dynamic batch at one size."""
    return ",".join(
        f"{spec.name}:{'x'.join(map(str, spec.with_batch(batch)))}" for spec in inputs if spec.dynamic_batch
    )


def release_of(tensorrt: str | None) -> tuple[int, ...]:
    """Major and minor number of a release; None is read as 10."""
    return tuple(int(part) for part in (tensorrt or "10").split(".")[:2])


def build_script(
    target: Target,
    inputs: Sequence[TensorSpec],
    precision: str,
    *,
    dla_core: int | None = None,
    sparse: bool = False,
) -> str:
    """A POSIX shell script that builds the engine on the board, next to itself; see :func:`build_arguments`."""
    arguments = " \\\n    ".join(
        shlex.quote(argument)
        for argument in build_arguments(target, inputs, precision, dla_core=dla_core, sparse=sparse)
    )
    return (
        "#!/bin/sh\n"
        f"# Builds model.engine for {target.name}: run it on that very board, an engine runs nowhere else.\n"
        "set -eu\n"
        'cd "$(dirname "$0")"\n'
        f'trtexec="${{TRTEXEC:-{TRTEXEC}}}"\n'
        '[ -x "$trtexec" ] || trtexec=trtexec\n'
        f'"$trtexec" \\\n    {arguments}\n'
    )
