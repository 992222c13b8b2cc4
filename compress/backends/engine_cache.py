"""Engines and measured kernels that ONNX Runtime's TensorRT provider keeps, so that a graph is built once.

Every process that opens a graph would build its engines anew, and one candidate is opened in many: to check it, for its
accuracy, and for each start in which it is timed. The provider names an engine by the structure of a graph, not by
its weights: each graph has a directory of its own, by all that an engine depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from compress.core.places import cache_directory
from compress.errors import UnavailableError
from compress.machine.machine import Gpu, gpu
from compress.onnx_graph.files import sha256_of


def engine_cache_options(path: Path, told: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the provider's options that keep engines and timings; none where the GPU is not known.

    Args:
        path: File of the graph. Its weights, the GPU, its driver and the runtime's release decide on the directory.
        told: Other options of the provider, of which the shapes that engines are built for count too; None for none.
    """
    import onnxruntime

    card = _gpu()
    if card is None:
        return {}
    parts = [sha256_of(path), onnxruntime.__version__, card.name, card.compute_capability, card.driver]
    parts += [f"{name}={value}" for name, value in sorted((told or {}).items()) if "_profile_" in name]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
    engines = cache_directory() / "engines" / f"onnxruntime-{key}"
    timings = cache_directory() / f"timing-onnxruntime-{card.compute_capability}.cache"
    for directory in (engines, timings):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(timings),
    }


@cache
def _gpu() -> Gpu | None:
    try:
        return gpu()
    except UnavailableError:
        return None
