"""Calls of an ONNX Runtime session whose inputs and outputs lie in memory of the device that is kept from call to call.

A CUDA graph reads and writes the addresses with which it was recorded, so it needs them. Each shape has memory of its
own, and in CUDA's provider a recording of its own.
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#using-cuda-graphs-preview
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.backends.feeds import check_feeds
from compress.core.tensor_spec import TensorSpec
from compress.errors import DataError, NetworkError

if TYPE_CHECKING:
    import onnxruntime

Array = np.ndarray[Any, Any]

#: Name, type and shape of each input.
_Key = tuple[tuple[str | int, ...], ...]

#: Shapes whose memory is kept at once; each holds its inputs and outputs, and its recording.
MOST_SHAPES = 16
#: Number of a recording that CUDA's provider takes for "neither record nor replay".
_NO_GRAPH = "-1"


@dataclass
class _Bound:
    """The memory of one shape."""

    binding: Any
    inputs: dict[str, Any]
    run_options: Any


class BoundCalls:
    """Runs a session with bound memory.

    Args:
        session: Session of ONNX Runtime.
        inputs: Its inputs.
        outputs: Its outputs.
        device: Device of the memory, as ONNX Runtime names it: ``cuda``; ``cpu`` in tests.
        graph: Whether the session records CUDA graphs: then outputs are bound at fixed addresses too.
        one_shape: Whether it records a single one, so that every call must have the shape of the first.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        device: str = "cuda",
        graph: bool = False,
        one_shape: bool = False,
    ) -> None:
        self._session, self._inputs, self._outputs = session, inputs, outputs
        self._device, self._graph, self._one_shape = device, graph, one_shape
        self._bound: dict[_Key, _Bound] = {}

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run one batch: copy the inputs to the device, run, and copy the outputs back.

        Raises:
            DataError: A feed is missing or does not fit, or its shape is another than the one that was recorded.
            NetworkError: The shapes of outputs do not follow from those of the inputs, and a graph needs them.
        """
        # Checked only where memory is bound: the check would cost as much as a small network.
        key = tuple((name, array.dtype.str, *array.shape) for name, array in feeds.items())
        bound = self._bound.get(key)
        if bound is None:
            check_feeds(self._inputs, feeds)
            bound = self._bind(key, feeds)
        else:
            for name, value in bound.inputs.items():
                value.update_inplace(np.ascontiguousarray(feeds[name]))
        self._session.run_with_iobinding(bound.binding, bound.run_options)
        outputs: list[Array] = bound.binding.copy_outputs_to_cpu()
        return outputs

    def close(self) -> None:
        """Free the memory; may be called twice."""
        self._bound.clear()

    def _bind(self, key: _Key, feeds: Mapping[str, Array]) -> _Bound:
        import onnxruntime

        if self._one_shape and self._bound:
            (recorded,) = self._bound
            raise DataError(
                f"inputs of the recorded shape {_shapes(recorded)}",
                _shapes(key),
                "give the shape of the first call",
            )
        run_options = onnxruntime.RunOptions()
        kept = len(self._bound) < MOST_SHAPES
        if self._graph and not self._one_shape:
            run_options.add_run_config_entry("gpu_graph_id", str(len(self._bound) + 1) if kept else _NO_GRAPH)
        binding = self._session.io_binding()
        inputs = {
            spec.name: onnxruntime.OrtValue.ortvalue_from_numpy(
                np.ascontiguousarray(feeds[spec.name]), self._device, 0
            )
            for spec in self._inputs
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for spec in self._outputs:
            if self._graph:
                binding.bind_ortvalue_output(spec.name, self._room(spec, feeds))
            else:
                binding.bind_output(spec.name, self._device, 0)
        bound = _Bound(binding, inputs, run_options)
        if kept:
            self._bound[key] = bound
        return bound

    def _room(self, spec: TensorSpec, feeds: Mapping[str, Array]) -> Any:
        """Return memory of the device for an output, whose open axes are those of the inputs of that name."""
        import onnxruntime

        sizes = {
            axis: feeds[given.name].shape[position]
            for given in self._inputs
            for position, axis in enumerate(given.shape)
            if isinstance(axis, str)
        }
        shape = [sizes.get(axis) if isinstance(axis, str) else axis for axis in spec.shape]
        if None in shape:
            raise NetworkError(
                "outputs whose shapes follow from the inputs', to record a CUDA graph",
                str(spec),
                "set cuda_graph to false in the recipe's [session]",
            )
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(spec.dtype), self._device, 0)


def _shapes(key: _Key) -> str:
    return ", ".join(f"{name}:{'x'.join(map(str, shape))}" for name, _, *shape in key)
