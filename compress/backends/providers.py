"""ONNX Runtime's execution providers: which there are, what each must be told, and that it is really taken.

https://onnxruntime.ai/docs/execution-providers/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress.errors import UnavailableError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
XNNPACK = "XnnpackExecutionProvider"

#: Those whose kernels run on an NVIDIA GPU.
_NVIDIA = (CUDA, TENSORRT)
#: What takes the operators that a provider leaves, before the processor does.
_BEHIND: Mapping[str, tuple[str, ...]] = {TENSORRT: (CUDA,)}


def available() -> tuple[str, ...]:
    """Those of the ONNX Runtime that is installed, as it names them itself."""
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())


def short_name(provider: str) -> str:
    """``tensorrt`` of ``TensorrtExecutionProvider``, for the names of recipes."""
    return provider.removesuffix("ExecutionProvider").lower()


def on_nvidia_gpu(provider: str | None) -> bool:
    """Whether its kernels run on an NVIDIA GPU; None is the processor."""
    return provider in _NVIDIA


def tells_its_graph(provider: str) -> bool:
    """Whether it runs ONNX Runtime's own operators, rather than compile subgraphs that cannot be written down."""
    return provider in (CPU, CUDA)


def is_in_no_common_package(provider: str) -> bool:
    """Whether ONNX Runtime has to be built for it, so that most people who lack it need not be told."""
    return provider == XNNPACK


def how_to_get(provider: str) -> str:
    """The next step of a person who lacks it."""
    if on_nvidia_gpu(provider):
        return "install onnxruntime-gpu in place of onnxruntime (the extra 'cuda'), or choose --target cpu"
    return f"install an ONNX Runtime built with the {provider}, or choose another provider"


def requested(settings: Mapping[str, Any], precision: str) -> list[tuple[str, dict[str, str]]]:
    """Providers in the order of preference, with the options of each, as a session takes them.

    Args:
        settings: Of the session: ``provider`` and ``intra_op_threads``.
        precision: What the graph holds: ``fp32``, ``fp16`` or ``int8``. TensorRT uses kernels of a narrower type only
            where it is told that it may, and for Q/DQ fp16 kernels beside them.

    Raises:
        UnavailableError: This ONNX Runtime has no such provider.
    """
    own, here = str(settings["provider"]), available()
    if own not in here:
        raise UnavailableError(f"ONNX Runtime with the {own}", f"only {', '.join(here)}", how_to_get(own))
    return [(name, options) for name, options in chain(settings, precision) if name in here]


def chain(settings: Mapping[str, Any], precision: str) -> list[tuple[str, dict[str, str]]]:
    """As :func:`requested`, for a machine that has them all."""
    own = str(settings["provider"])
    options: dict[str, str] = {}
    if own == TENSORRT:
        options = {
            "trt_fp16_enable": str(int(precision in ("fp16", "int8"))),
            "trt_int8_enable": str(int(precision == "int8")),
        }
    if own == XNNPACK:  # It has threads of its own; ONNX Runtime's would wait in their way.
        options = {"intra_op_num_threads": str(settings["intra_op_threads"])}
    return [(own, options), *((name, dict[str, str]()) for name in _BEHIND.get(own, ()))]


def check_taken(provider: str, taken: list[str]) -> None:
    """Make sure that a session runs in the provider that it was opened for.

    ONNX Runtime falls back to the processor with no more than a line in its log, where a library of CUDA is missing or
    of another release: a figure of such a session would be the processor's under the GPU's name.

    Args:
        provider: That was asked for.
        taken: Those of the session, as it tells them.

    Raises:
        UnavailableError: It fell back.
    """
    if provider not in taken:
        raise UnavailableError(
            f"a session in the {provider}",
            f"ONNX Runtime fell back to {', '.join(taken) or 'nothing'}",
            "install the libraries that it needs, in the release it was built for (for CUDA: CUDA and cuDNN)",
        )
