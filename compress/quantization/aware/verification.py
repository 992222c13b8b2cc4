"""Check that a module computes the same as ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from compress.errors import InternalError
from compress.onnx_module import OnnxModule


def check_agreement(
    model: onnx.ModelProto, module: OnnxModule, batch: Mapping[str, NDArray[Any]], tolerance: float
) -> None:
    """Check every float output on one batch.

    The runtime runs the graph without its own rewrites, which would change roundings.

    Args:
        model: Model that was or will be exported.
        module: Module that was trained.
        batch: Array of each input.
        tolerance: Largest norm of the difference, as a share of the output's.

    Raises:
        InternalError: An output differs by more than the tolerance.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    expected = session.run(names, dict(batch))
    module.eval()
    with torch.no_grad():
        results = module(*(torch.from_numpy(batch[name]) for name in module.input_names))
    for name, expected_array, result in zip(names, expected, results, strict=True):
        if expected_array.dtype.kind != "f":
            continue
        result_array = result.numpy()
        difference = float(np.linalg.norm((result_array - expected_array).astype(np.float64)))
        size = float(np.linalg.norm(expected_array.astype(np.float64)))
        if result_array.shape != expected_array.shape or not difference <= tolerance * max(size, 1e-6):
            raise InternalError(
                f"a simulation that agrees with ONNX Runtime within {tolerance:.0%} of an output",
                f"a difference of {difference:.3g} in '{name}', whose norm is {size:.3g}",
                "use quantize in its place: it needs no simulation",
            )
