"""ONNX Runtime's execution providers: which are installed, their options, and a check that one is really used.

https://onnxruntime.ai/docs/execution-providers/
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from importlib.metadata import distributions
from io import StringIO

from compress.core.installation import GPU_RUNTIME
from compress.errors import UnavailableError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
XNNPACK = "XnnpackExecutionProvider"

#: Those whose kernels run on an NVIDIA GPU.
NVIDIA = (CUDA, TENSORRT)
#: What takes the operators that a provider leaves, before the processor does.
_BEHIND: Mapping[str, tuple[str, ...]] = {TENSORRT: (CUDA,)}


def available() -> tuple[str, ...]:
    """Return the execution providers that the installed ONNX Runtime was built with, by its own names.

    Which of them open a session is another question: :func:`compress.backends.tried_providers.tried`.
    """
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())


@cache
def load_libraries() -> None:
    """Load CUDA and cuDNN where pip brought them, as wheels of NVIDIA's or with torch: no loader looks there.

    Cards are numbered as ``nvidia-smi`` does, by which they are asked; CUDA's own order is by speed.
    """
    import onnxruntime

    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if hasattr(onnxruntime, "preload_dlls"):  # since 1.21
        with (
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
        ):  # it prints each library that is not there
            onnxruntime.preload_dlls()


def short_name(provider: str) -> str:
    """Return a provider's short name for recipes, such as ``tensorrt`` for ``TensorrtExecutionProvider``."""
    return provider.removesuffix("ExecutionProvider").lower()


def on_nvidia_gpu(provider: str | None) -> bool:
    """Whether a provider's kernels run on an NVIDIA GPU; None stands for the processor."""
    return provider in NVIDIA


def tells_its_graph(provider: str) -> bool:
    """Whether a provider runs ONNX Runtime's own operators, and does not compile subgraphs of its own."""
    return provider in (CPU, CUDA)


def is_in_no_common_package(provider: str) -> bool:
    """Whether ONNX Runtime has to be built for it, so that most people who lack it need not be told."""
    return provider == XNNPACK


def how_to_get(provider: str) -> str:
    """Return the next step for a user without the provider."""
    if on_nvidia_gpu(provider):
        return f"{GPU_RUNTIME}, or choose --target cpu"
    return f"install an ONNX Runtime built with the {provider}, or choose another provider"


def both_installed() -> bool:
    """Whether onnxruntime and onnxruntime-gpu are installed at once, so that nobody knows which of them is run."""
    return all(any(distributions(name=name)) for name in ("onnxruntime", "onnxruntime-gpu"))


def requested(provider: str, threads: int, precision: str) -> list[tuple[str, dict[str, str]]]:
    """Return the providers of a session in order of preference, with the options of each.

    Args:
        provider: Execution provider that runs the graph.
        threads: Threads of one operator; 0 leaves the number to the runtime.
        precision: Precision of the graph: ``fp32``, ``fp16`` or ``int8``. TensorRT uses kernels of a narrower type only
            where it is told that it may, and for Q/DQ fp16 kernels beside them.

    Raises:
        UnavailableError: This ONNX Runtime has no such provider.
    """
    here = available()
    if provider not in here:
        wanted = f"ONNX Runtime with the {provider}"
        beside = "; onnxruntime is installed beside onnxruntime-gpu" if both_installed() else ""
        raise UnavailableError(wanted, f"only {', '.join(here)}{beside}", how_to_get(provider))
    if on_nvidia_gpu(provider):
        load_libraries()
    return [(name, options) for name, options in chain(provider, threads, precision) if name in here]


def chain(provider: str, threads: int, precision: str) -> list[tuple[str, dict[str, str]]]:
    """Return the same as :func:`requested`, for a machine that has all providers."""
    options: dict[str, str] = {}
    if provider == TENSORRT:
        options = {
            "trt_fp16_enable": str(int(precision in ("fp16", "int8"))),
            "trt_int8_enable": str(int(precision == "int8")),
        }
    if provider == XNNPACK:  # It has threads of its own; ONNX Runtime's would wait in their way.
        options = {"intra_op_num_threads": str(threads)}
    return [(provider, options), *((name, dict[str, str]()) for name in _BEHIND.get(provider, ()))]


def check_taken(provider: str, taken: list[str]) -> None:
    """Check that a session runs in the provider that it was opened for.

    ONNX Runtime falls back to the processor with no more than a line in its log, where a library of CUDA is missing or
    of another release: a figure of such a session would be the processor's under the GPU's name.

    Args:
        provider: Provider that was asked for.
        taken: Providers that the session reports.

    Raises:
        UnavailableError: The session fell back to another provider.
    """
    if provider not in taken:
        raise UnavailableError(
            f"a session in the {provider}",
            f"ONNX Runtime fell back to {', '.join(taken) or 'nothing'}",
            "install the libraries that it needs, in the release it was built for (for CUDA: CUDA and cuDNN)",
        )
