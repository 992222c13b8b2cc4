"""Calibration: run the float network over samples and find each activation's range, in one pass.

What is kept does not grow with the number of samples: of each batch only what the observers count remains. At
its height memory holds one batch's activations, so the caller's batch size decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from compress.errors import DataError, NetworkError
from compress.onnx_graph.graph import Graph
from compress.quantization.grid import Range
from compress.quantization.observers import Observer
from compress.quantization.states import state_inputs


@dataclass(frozen=True)
class Calibration:
    """What calibration found.

    Attributes:
        ranges: Tensor → its range.
        samples: How many were seen.
    """

    ranges: Mapping[str, Range]
    samples: int


def calibrate(
    model: onnx.ModelProto,
    tensors: Iterable[str],
    batches: Iterable[Mapping[str, NDArray[Any]]],
    new_observer: Callable[[], Observer],
) -> Calibration:
    """Find the range of each tensor.

    Args:
        model: The float network.
        tensors: Names of float32 tensors, graph inputs among them.
        batches: As :func:`watch` takes them.
        new_observer: Called once a tensor.

    Raises:
        DataError: As :func:`watch`; NaN or infinity in a batch, or in an activation.
        NetworkError: As :func:`watch`.
    """
    observers = {name: new_observer() for name in tensors}
    samples = 0
    for count, seen in watch(model, list(observers), batches):
        for name, observer in observers.items():
            _observe(observer, name, seen[name])
        samples += count
        del seen  # or the next batch's activations would be made while these are still held
    return Calibration({name: observer.range() for name, observer in observers.items()}, samples)


def watch(
    model: onnx.ModelProto, tensors: Iterable[str], batches: Iterable[Mapping[str, NDArray[Any]]]
) -> Iterator[tuple[int, Mapping[str, NDArray[Any]]]]:
    """Run a network batch by batch and hand out what its tensors hold.

    Args:
        model: The float network.
        tensors: Names of float32 tensors, graph inputs among them.
        batches: For each input its array; axis 0 counts samples. Batches need not be alike: sequences of another
            length are another batch. A network with a static batch size needs every batch in that size. They are
            read once, one at a time. The first state of a recurrent operator may be left out; it is zeros then.

    Yields:
        How many samples the batch has, and tensor → its values.

    Raises:
        DataError: No batch, or one that does not fit the network.
        NetworkError: ONNX Runtime cannot run the network.
    """
    graph = Graph(model)
    wanted = list(tensors)
    computed = [name for name in wanted if name not in graph.inputs]
    session = _session(model, computed)
    inputs = [value.name for value in session.get_inputs()]
    states = state_inputs(graph)
    counted = next((name for name in inputs if name not in states), inputs[0])
    samples = 0
    for batch in batches:
        _check_names(batch, inputs, set(states))
        count = len(batch[counted])
        zeros = {name: np.zeros(states[name](count), np.float32) for name in states if name not in batch}
        feeds = {**batch, **zeros}
        yield count, {**feeds, **_run(session, computed, feeds)}
        samples += count
    if not samples:
        raise DataError("calibration samples", "none", "give at least one batch, better 100 samples or more")


def _session(model: onnx.ModelProto, computed: list[str]) -> onnxruntime.InferenceSession:
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    present = {value.name for value in observed.graph.output}
    observed.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in computed
        if name not in present
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Of a graph with Q/DQ the values are wanted as it says; fused as if it were int8, float8's makes no valid kernels.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            observed.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ReluQuantRewrite"],
        )
    except Exception as error:  # ONNX Runtime's own classes have no common root but this
        raise NetworkError(
            "a network that ONNX Runtime can run",
            str(error).strip().splitlines()[0],
            "replace the operator it names, or export the network again",
        ) from error


def _check_names(batch: Mapping[str, NDArray[Any]], inputs: list[str], optional: set[str]) -> None:
    if not set(inputs) - optional <= set(batch) <= set(inputs):
        raise DataError(
            f"calibration batches with the inputs {', '.join(inputs)}",
            f"a batch with {', '.join(batch) or 'nothing'}",
            "name the arrays like the network's inputs",
        )


def _run(
    session: onnxruntime.InferenceSession, computed: list[str], batch: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    # An empty list means every output to ONNX Runtime, so the two need not have one length.
    try:
        return dict(zip(computed, session.run(computed, dict(batch)), strict=False))
    except Exception as error:  # ONNX Runtime's own classes have no common root but this
        given = ", ".join(f"{name} {values.dtype}{list(values.shape)}" for name, values in batch.items())
        wanted = ", ".join(f"{value.name} {value.type}{value.shape}" for value in session.get_inputs())
        raise DataError(
            f"calibration batches that the network takes ({wanted})",
            f"{given}, which it refuses ({str(error).strip().splitlines()[0]})",
            "give arrays of these types and shapes",
        ) from error


def _observe(observer: Observer, name: str, values: NDArray[Any]) -> None:
    # The smallest and the largest are NaN where any value is.
    if values.size and not np.isfinite([values.min(), values.max()]).all():
        raise DataError(
            "finite activations during calibration",
            f"NaN or infinity in tensor {name!r}",
            "look for it in the samples and in the network's weights",
        )
    if values.size:
        observer.observe(values)
